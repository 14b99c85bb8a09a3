"""``python -m sfloop.bench``."""

from __future__ import annotations

import sys

from sfloop.bench import main

sys.exit(main())
