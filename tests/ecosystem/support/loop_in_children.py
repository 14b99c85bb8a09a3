"""A pytest plugin: the Python processes that the tests start use the loop under test, too."""

from __future__ import annotations

import os
from pathlib import Path

_FOLDER = Path(__file__).with_name("children")

os.environ["PYTHONPATH"] = os.pathsep.join([str(_FOLDER), os.environ.get("PYTHONPATH", "")])
