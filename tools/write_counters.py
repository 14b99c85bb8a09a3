"""``python tools/write_counters.py [--check]``: write docs/counters.md from the texts in tools/reference.

``--check`` writes nothing. The exit status is 1 if the page is out of date.
"""

from __future__ import annotations

import sys

from reference import page, writing

if __name__ == "__main__":
    sys.exit(writing.command("write_counters", sys.argv[1:], {"docs/counters.md": page.text()}))
