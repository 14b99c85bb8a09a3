"""Runs within runs: a callback runs the loop that has called it.

asyncio forbids that. ``nest_asyncio.apply()`` and ``nest_asyncio2.apply()``, which ib_async, ib_insync and many
notebooks call, allow it: they replace methods of the loop's class by versions in Python that look into asyncio's own
queues. sfloop's queues are native. Its loops therefore say that they are patched as soon as asyncio is, and allow such
runs themselves.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from asyncio import events, tasks
from collections.abc import Awaitable, Generator
from contextlib import contextmanager
from typing import Any, TypeVar, cast

from sfloop.mixins.unixloop import UnixLoop
from sfloop.native.cores.descriptors import WatchingCore

__all__ = ["NestedRuns"]

_T = TypeVar("_T")

# nest_asyncio and nest_asyncio2 leave this name in asyncio, and look for it on loops.
_MARK = "_nest_patched"
_asyncio_names = vars(asyncio)


@contextmanager
def _between_tasks(loop: NestedRuns) -> Generator[None]:
    """The task that runs the loop is not the current one meanwhile: each task that runs within will be."""
    known: Any = tasks
    if sys.version_info >= (3, 14):
        running = events._get_running_loop()  # a thread has one current task there, which belongs to this loop
        if running is None:
            yield
            return
        task = known._swap_current_task(running, None)
        try:
            yield
        finally:
            events._set_running_loop(running)
            known._swap_current_task(running, task)
        return
    task = known._current_tasks.pop(loop, None)
    try:
        yield
    finally:
        if task is not None:
            known._current_tasks[loop] = task


class NestedRuns(WatchingCore, UnixLoop):
    """What a loop allows once nest_asyncio was applied, whichever loop it was applied to."""

    __slots__ = ()

    @property
    def _nest_patched(self) -> bool:
        if _MARK not in _asyncio_names:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {_MARK!r}")
        self._allow_nesting()  # apply() looks here: data that arrives from now on is safe from runs in its callback
        return True

    def _allow_nesting(self) -> None:
        from sfloop.native.cores import nesting  # not before it is needed

        nesting.allow(self)

    def _check_running(self) -> None:
        if _MARK not in _asyncio_names:
            super()._check_running()
            return
        if self._thread_id not in (None, threading.get_ident()):
            raise RuntimeError("This event loop is already running in another thread")
        self._allow_nesting()

    def run_until_complete(self, future: Generator[Any, None, _T] | Awaitable[_T]) -> _T:
        """Run until a future or coroutine is done, and return its result. As ``asyncio.loop.run_until_complete``."""
        if _MARK not in _asyncio_names:
            return super().run_until_complete(future)
        self._check_closed()
        self._check_running()
        is_new = not asyncio.isfuture(future)
        awaited: Any = tasks.ensure_future(cast("Any", future), loop=self)
        if is_new:
            awaited._log_destroy_pending = False  # an exception ends the run before it; there is no need to complain
        try:
            self._run_until(awaited)
        except BaseException:
            if is_new and awaited.done() and not awaited.cancelled():
                awaited.exception()  # it is the one that is raised: no need to report that nobody has asked for it
            raise
        if not awaited.done():
            raise RuntimeError("Event loop stopped before Future completed.")
        return cast("_T", awaited.result())

    def _run_until(self, future: asyncio.Future[Any]) -> None:
        if self._thread_id is not None:
            self._run_nested(future)
            return
        # Not by stop(), which would end a run within this one that is not over.
        future.add_done_callback(self._outermost_done)
        try:
            with _between_tasks(self):  # where the run is in a callback of another loop
                self.run_forever()
        finally:
            future.remove_done_callback(self._outermost_done)

    def _outermost_done(self, future: asyncio.Future[Any]) -> None:
        if not future.cancelled() and isinstance(future.exception(), (SystemExit, KeyboardInterrupt)):
            return  # it has ended the run already
        from sfloop.native.cores import nesting

        nesting.stop_outermost(self)

    def _run_nested(self, future: asyncio.Future[Any] | None, *, once: bool = False) -> None:
        """Runs the loop in one of its own callbacks: until the future is done, or stop() is called."""
        from sfloop.native.cores import nesting

        running = events._get_running_loop()
        events._set_running_loop(self)
        try:
            with _between_tasks(self):
                nesting.run(self, future, once)
        finally:
            events._set_running_loop(running)
            if future is None and not once:
                self._stopping = False

    def _run_once(self) -> None:
        """One turn."""
        if self._thread_id is None:
            super()._run_once()
        else:
            self._run_once_nested()

    def _run_once_nested(self) -> None:
        self._allow_nesting()
        self._run_nested(None, once=True)
