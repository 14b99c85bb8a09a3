"""``python tools/check_structure.py [ROOT]``: hold the source to the layers and the sizes of docs/architecture.md.

Exit status 1, and one line for each breach, when something uses what its layer may not, or is larger than its limit.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from layers import native, python, sizes


def main(argv: Sequence[str]) -> int:
    root = Path(argv[0]) if argv else Path(__file__).parents[1]
    if not (root / "sfloop").is_dir():
        print(f"check_structure: {root} has no folder sfloop; give the root of the repository", file=sys.stderr)
        return 2
    found = [*native.breaches(root), *python.breaches(root), *sizes.breaches(root)]
    for breach in found:
        print(breach)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
