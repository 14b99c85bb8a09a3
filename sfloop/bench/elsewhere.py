"""Runs this checkout's sfloop.bench, with sfloop.common, on another build's sfloop, in that build's interpreter.

``VENV/bin/python .../sfloop/bench/elsewhere.py --loop sfloop --program udp.echo``, with the options of
:mod:`sfloop.bench.serve`. ``--describe`` prints which sfloop it is. So both builds run the same programs.
"""

from __future__ import annotations

import sys

if __name__ == "__main__":
    del sys.path[0]  # this folder has modules with names of the standard library

import importlib.abc
import importlib.machinery
import json
import os
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

HERE = Path(__file__).resolve().parent
#: Packages of this checkout. Both import nothing else of sfloop but its public names, so they run on any build.
PACKAGES = ("sfloop.bench", "sfloop.common")


class Finder(importlib.abc.MetaPathFinder):
    """Finds PACKAGES and their modules here, wherever the rest of sfloop is.

    It has to be the first finder, because an editable build has its own finder for all of sfloop.
    """

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name in PACKAGES:
            return importlib.machinery.PathFinder.find_spec(name, [str(HERE.parent)])
        if name.rpartition(".")[0].startswith(PACKAGES):
            return importlib.machinery.PathFinder.find_spec(name, path)
        return None


def prepare() -> None:
    """Make sfloop.bench this checkout's from now on. Ignore PYTHONPATH, which is meant for the other interpreter."""
    given = {os.path.abspath(entry) for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry}
    sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry) not in given]
    sys.meta_path.insert(0, Finder())


def describe() -> dict[str, str]:
    """Describe this interpreter's sfloop, after making and closing a loop."""
    import sfloop

    sfloop.new_event_loop().close()
    package = os.path.dirname(os.path.abspath(sfloop.__file__ or ""))
    return {"python": sys.version, "version": sfloop.__version__, "package": package}


def main(argv: list[str]) -> int:
    """Run a program of the bench, or describe the sfloop that it would run on."""
    prepare()
    if argv == ["--describe"]:
        print(json.dumps(describe()))
        return 0
    from sfloop.bench import serve

    return serve.main(argv)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
