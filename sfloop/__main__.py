"""``python -m sfloop``: the same as the ``sfloop`` command."""

import sys

from sfloop.cli import main

if __name__ == "__main__":
    sys.exit(main())
