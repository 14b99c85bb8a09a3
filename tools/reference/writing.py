"""The command of the programs that write pages and drawings: write the files, or check that they are up to date."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

_ROOT = Path(__file__).parents[2]


def command(program: str, argv: Sequence[str], texts: Mapping[str, str]) -> int:
    """Write the texts by their paths in the repository. With ``--check``, name the files that differ instead.

    Returns the exit status.
    """
    if list(argv) not in ([], ["--check"]):
        print(f"{program}: --check is the only option", file=sys.stderr)
        return 2
    status = 0
    for name, text in texts.items():
        path = _ROOT / name
        if not argv:
            path.write_text(text, encoding="utf-8")
        elif not path.exists() or path.read_text(encoding="utf-8") != text:
            print(f"{name} is not up to date: run python tools/{program}.py")
            status = 1
    return status
