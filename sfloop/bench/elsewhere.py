"""Runs in another build's interpreter, by its path: this checkout's sfloop.bench over that build's sfloop.

``VENV/bin/python .../sfloop/bench/elsewhere.py --loop sfloop --program udp.echo``, with the options of
:mod:`sfloop.bench.serve`; ``--describe`` says which sfloop it is. So both builds run the same programs.
"""

from __future__ import annotations

import sys

if __name__ == "__main__":
    del sys.path[0]  # this file's folder, whose modules have names of the standard library

import importlib.abc
import importlib.machinery
import json
import os
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

HERE = Path(__file__).resolve().parent
PACKAGE = "sfloop.bench"


class Finder(importlib.abc.MetaPathFinder):
    """Finds sfloop.bench and what is in it here, wherever the rest of sfloop is.

    An editable build has a finder of its own for all of sfloop, so this one has to come first.
    """

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name == PACKAGE:
            return importlib.machinery.PathFinder.find_spec(name, [str(HERE.parent)])
        if name.startswith(f"{PACKAGE}."):
            return importlib.machinery.PathFinder.find_spec(name, path)
        return None


def prepare() -> None:
    """From now on sfloop.bench is this checkout's. PYTHONPATH, which is the other interpreter's, names no module."""
    given = {os.path.abspath(entry) for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry}
    sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry) not in given]
    sys.meta_path.insert(0, Finder())


def describe() -> dict[str, str]:
    """Which sfloop this interpreter has, after one of its loops was made and closed."""
    import sfloop

    sfloop.new_event_loop().close()
    package = os.path.dirname(os.path.abspath(sfloop.__file__ or ""))
    return {"python": sys.version, "version": sfloop.__version__, "package": package}


def main(argv: list[str]) -> int:
    """Runs a program of the bench, or says which sfloop it would run on."""
    prepare()
    if argv == ["--describe"]:
        print(json.dumps(describe()))
        return 0
    from sfloop.bench import serve

    return serve.main(argv)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
