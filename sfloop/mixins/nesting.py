"""Nested runs: a callback of a loop runs the same loop again.

asyncio forbids nested runs. ``nest_asyncio.apply()`` and ``nest_asyncio2.apply()``, which ib_async, ib_insync and many
notebooks call, allow them: they replace methods of the loop's class by Python versions that use asyncio's own queues.
sfloop's queues are native, so these versions cannot work. sfloop's loops therefore claim to be patched as soon as
asyncio is, and run nested themselves.
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

# nest_asyncio and nest_asyncio2 set this name in asyncio, and look for it on loops.
_MARK = "_nest_patched"
_asyncio_names = vars(asyncio)


@contextmanager
def _between_tasks(loop: NestedRuns) -> Generator[None]:
    """Unset the current task for a nested run, because each task that runs in it becomes the current one."""
    known: Any = tasks
    if sys.version_info >= (3, 14):
        running = events._get_running_loop()  # from 3.14 on, a thread has one current task, which belongs to this loop
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
    """Nested runs, allowed once nest_asyncio was applied to any loop."""

    __slots__ = ()

    @property
    def _nest_patched(self) -> bool:
        if _MARK not in _asyncio_names:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {_MARK!r}")
        # Apply() reads this, so from now on protect received data from nested runs in its callback.
        self._allow_nesting()
        return True

    def _allow_nesting(self) -> None:
        from sfloop.native.cores import nesting  # only here, because few programs need it

        nesting.allow(self)

    def _check_running(self) -> None:
        if _MARK not in _asyncio_names:
            super()._check_running()
            return
        if self._thread_id not in (None, threading.get_ident()):
            raise RuntimeError("This event loop is already running in another thread")
        self._allow_nesting()

    def run_until_complete(self, future: Generator[Any, None, _T] | Awaitable[_T]) -> _T:
        """Run until a future or coroutine is done, and return its result (asyncio: ``loop.run_until_complete``)."""
        if _MARK not in _asyncio_names:
            return super().run_until_complete(future)
        self._check_closed()
        self._check_running()
        is_new = not asyncio.isfuture(future)
        awaited: Any = tasks.ensure_future(cast("Any", future), loop=self)
        if is_new:
            awaited._log_destroy_pending = False  # no warning if an exception ends the run before the task
        try:
            self._run_until(awaited)
        except BaseException:
            if is_new and awaited.done() and not awaited.cancelled():
                awaited.exception()  # it is raised below, so do not report it as never retrieved
            raise
        if not awaited.done():
            raise RuntimeError("Event loop stopped before Future completed.")
        return cast("_T", awaited.result())

    def _run_until(self, future: asyncio.Future[Any]) -> None:
        if self._thread_id is not None:
            self._run_nested(future)
            return
        # Do not use stop(), which would also end a nested run that is still going on.
        future.add_done_callback(self._outermost_done)
        try:
            with _between_tasks(self):  # the run may be inside a callback of another loop
                self.run_forever()
        finally:
            future.remove_done_callback(self._outermost_done)

    def _outermost_done(self, future: asyncio.Future[Any]) -> None:
        if not future.cancelled() and isinstance(future.exception(), (SystemExit, KeyboardInterrupt)):
            return  # the exception has already ended the run
        from sfloop.native.cores import nesting

        nesting.stop_outermost(self)

    def _run_nested(self, future: asyncio.Future[Any] | None, *, once: bool = False) -> None:
        """Run the loop in one of its own callbacks, until the future is done or stop() is called."""
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
        """Run one turn."""
        if self._thread_id is None:
            super()._run_once()
        else:
            self._run_once_nested()

    def _run_once_nested(self) -> None:
        self._allow_nesting()
        self._run_nested(None, once=True)
