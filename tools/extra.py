"""``python tools/extra.py EXTRA``: the requirements of one of the package's extras, one per line.

If an extra names another one, the requirements of that one are inserted.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

PYPROJECT = Path(__file__).parents[1] / "pyproject.toml"


def requirements(extra: str) -> list[str]:
    """The requirements of an extra in pyproject.toml.

    :raises LookupError: the extra does not exist.
    """
    # Not with tomllib, which Python 3.10 does not have, because this runs before anything is installed.
    table = PYPROJECT.read_text().split("[project.optional-dependencies]")[1].split("\n[")[0]
    found = re.search(rf"^{re.escape(extra)} = \[(.*?)\]$", table, re.MULTILINE | re.DOTALL)
    if found is None:
        raise LookupError(f"pyproject.toml has no extra {extra!r}")
    wanted: list[str] = []
    for requirement in re.findall(r'"([^"]+)"', found[1]):
        own = re.fullmatch(r"sfloop\[(\w+)\]", requirement)
        wanted += requirements(own[1]) if own else [requirement]
    return wanted


if __name__ == "__main__":
    print("\n".join(requirements(sys.argv[1])))
