"""``python tools/write_drawings.py [--check]``: write the drawings in docs/images that tools/reference describes.

``--check`` writes nothing. The exit status is 1 if a drawing is out of date.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from reference import packet_way, tcp_states

IMAGES = Path(__file__).parents[1] / "docs" / "images"


def main(argv: Sequence[str]) -> int:
    """Write the drawings, or check them."""
    if list(argv) not in ([], ["--check"]):
        print("write_drawings: --check is the only option", file=sys.stderr)
        return 2
    status = 0
    for name, text in (("tcp-states.svg", tcp_states.svg()), ("packet-way.svg", packet_way.svg())):
        path = IMAGES / name
        if not argv:
            path.write_text(text, encoding="utf-8")
        elif not path.exists() or path.read_text(encoding="utf-8") != text:
            print(f"docs/images/{name} is not up to date: run python tools/write_drawings.py")
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
