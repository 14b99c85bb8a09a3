"""``python -m sfloop``: the same as the ``sfloop`` command."""

import sys

from sfloop.commands.cli import main

if __name__ == "__main__":
    sys.exit(main())
