"""``python tools/write_counters.py [--check]``: write docs/counters.md from the texts in tools/reference.

``--check`` writes nothing. The exit status is 1 if the page is out of date.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from reference import page

PAGE = Path(__file__).parents[1] / "docs" / "counters.md"


def main(argv: Sequence[str]) -> int:
    """Write the page, or check it."""
    if list(argv) not in ([], ["--check"]):
        print("write_counters: --check is the only option", file=sys.stderr)
        return 2
    if not argv:
        PAGE.write_text(page.text(), encoding="utf-8")
        return 0
    if PAGE.exists() and PAGE.read_text(encoding="utf-8") == page.text():
        return 0
    print("docs/counters.md is not up to date: run python tools/write_counters.py")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
