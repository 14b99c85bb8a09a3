"""``python tools/check_layers.py [ROOT]``: check the source against the layers of docs/architecture.md.

Prints one line for each breach. The exit status is 1 if there is one.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from layers import native, python


def main(argv: Sequence[str]) -> int:
    root = Path(argv[0]) if argv else Path(__file__).parents[1]
    if not (root / "sfloop").is_dir():
        print(f"check_layers: {root} has no folder sfloop; give the root of the repository", file=sys.stderr)
        return 2
    found = [*native.breaches(root), *python.breaches(root)]
    for breach in found:
        print(breach)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
