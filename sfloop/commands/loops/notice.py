"""One line on standard error about the loop of a process, if it is not the loop that the process would have had.

``sfloop run`` offers a program sfloop's loop, but the program may choose another one: uvicorn takes uvloop if it is
installed. The program then runs as if sfloop were not there, so the line says so, once in each process.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import wraps
from typing import Any

__all__ = ["say_forced", "watch"]

#: Module of a program → how its user chooses sfloop. The first one that the process has imported counts, so a program
#: that imports another one stands before it.
_HOW = {
    "gunicorn.workers.gasgi": "`sfloop run --force`",
    "gunicorn": "`gunicorn -k sfloop.workers.UvicornWorker`, or `sfloop run --force`",
    "uvicorn": "`uvicorn --loop sfloop:new_event_loop`, or `sfloop run --force`",
}
_HOW_ELSE = "`sfloop run --force`"


@dataclass
class _Watched:
    """What this process and its forked children know of themselves."""

    is_child: bool = False
    is_forced: bool = False
    is_heard: Callable[[], bool] = lambda: True
    said_foreign: int = 0  # the process that has said it: a forked child says it for itself
    said_forced: int = 0


_watched: _Watched | None = None


def watch(*, child: bool, forced: bool, is_heard: Callable[[], bool] = lambda: True) -> None:
    """Say it if a loop runs that is not sfloop's, in this process and in those that it forks.

    :param child: this process is a new interpreter that the program has started.
    :param is_heard: whether a line on standard error reaches the user.
    """
    # Not above, because the import of asyncio calls this function in a child process.
    import asyncio
    from asyncio import events

    global _watched
    hooked = _watched is not None
    _watched = _Watched(child, forced, is_heard)
    if not hooked:
        # asyncio's loops call it through the module, uvloop's through the package.
        events._set_running_loop = asyncio._set_running_loop = _hooked(events._set_running_loop)


def _hooked(original: Callable[[Any], None]) -> Callable[[Any], None]:
    @wraps(original)
    def _set_running_loop(loop: Any, /) -> None:
        if loop is not None and not _is_ours(loop):
            _say_foreign(type(loop))
        original(loop)

    return _set_running_loop


def _is_ours(loop: Any) -> bool:
    ours = getattr(sys.modules.get("sfloop.loop"), "Loop", None)
    return ours is not None and isinstance(loop, ours)


def _say_foreign(kind: type) -> None:
    if _watched is None or _watched.said_foreign == os.getpid():
        return
    _watched.said_foreign = os.getpid()
    is_asyncios = kind.__module__.startswith("asyncio.")
    name = "asyncio's own loop" if is_asyncios else f"{kind.__module__}.{kind.__qualname__}"
    if _watched.is_forced and is_asyncios:
        why = "because the program has a selector or a policy of its own, which --force leaves"
    elif _watched.is_forced:
        why = "because --force replaces only the loops of asyncio and uvloop"
    elif _watched.is_child and is_asyncios:
        why = "because it is a new interpreter. To change that: `sfloop run --force`"
    else:
        how = next((how for module, how in _HOW.items() if module in sys.modules), _HOW_ELSE)
        why = f"because the program chooses its loop itself. To change that: {how}"
    _print(_watched, f"{_process(_watched)} runs on {name}, not on sfloop, {why}")


def say_forced(asked: str | None) -> None:
    """Say that this process gets sfloop's loop. ``asked``: the class that the program asked for; None: the default."""
    if _watched is None or _watched.said_forced == os.getpid():
        return
    _watched.said_forced = os.getpid()
    instead = "" if asked is None else f" in place of {asked}"
    _print(_watched, f"{_process(_watched)} runs on sfloop{instead} (--force)")


def _process(watched: _Watched) -> str:
    return f"child process {os.getpid()}" if watched.is_child else f"process {os.getpid()}"


def _print(watched: _Watched, line: str) -> None:
    if sys.stderr is not None and watched.is_heard():
        with suppress(OSError, ValueError):  # a pipe without a reader, or a closed file
            print(f"sfloop: {line}", file=sys.stderr, flush=True)
