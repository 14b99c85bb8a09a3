"""How ``sfloop run`` reaches the Python processes that the program starts.

A forked child inherits everything. A new interpreter (``multiprocessing`` by ``spawn``, ``subprocess``) inherits the
environment: PYTHONPATH leads it to ``startup/sitecustomize.py``, which calls :func:`enter` when the process imports
asyncio. An interpreter that ignores the environment (``python -I``, ``-E``, ``-S``) is not reached.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from sfloop.commands.loops import notice
from sfloop.commands.loops.startup.sfloop_startup import VARIABLE, is_heard, value_of

__all__ = ["enter", "enter_uvloop", "is_forced", "variables"]

STARTUP = str(Path(__file__).resolve().parent / "startup")


def is_forced() -> bool:
    """Whether this process is a child of ``sfloop run --force``."""
    return os.environ.get(VARIABLE, "").split(",")[0] == "force"


def variables(*, forced: bool) -> dict[str, str]:
    """The environment variables by which a child process knows of ``sfloop run``."""
    others = [each for each in os.environ.get("PYTHONPATH", "").split(os.pathsep) if each != STARTUP]
    paths = [STARTUP] if others == [""] else [STARTUP, *others]
    return {VARIABLE: value_of("force" if forced else "say"), "PYTHONPATH": os.pathsep.join(paths)}


def enter() -> None:
    """Do in a child process what its parent's ``sfloop run`` was asked to do. asyncio has just been imported."""
    forced = is_forced()
    notice.watch(child=True, forced=forced, is_heard=is_heard)
    if forced:
        from sfloop.commands.loops.force import force

        force()


def enter_uvloop(uvloop: Any) -> None:
    """The same for uvloop, which has just been imported."""
    if is_forced():
        from sfloop.commands.loops.force import force_uvloop

        force_uvloop(uvloop)
