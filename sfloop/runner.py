"""Make a loop and run a coroutine on it: :func:`new_event_loop`, :func:`run`, :class:`Runner`."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Any, TypeVar

from sfloop.options.options import Options

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from contextvars import Context
    from types import TracebackType

    from typing_extensions import Self, Unpack

    from sfloop.loop import Loop
    from sfloop.options.options import OptionKeywords

__all__ = ["Runner", "make_loop", "new_event_loop", "run"]

T = TypeVar("T")


def make_loop(options: Options) -> Loop:
    """Make a :class:`sfloop.Loop` from resolved options. All other functions that make a loop call this one."""
    from sfloop import loop  # only here, because it loads the native engine

    return loop.Loop(options)


if sys.version_info >= (3, 11):
    _AsyncioRunner = asyncio.Runner
else:

    class _AsyncioRunner:
        """A substitute for ``asyncio.Runner`` on Python 3.10, with the semantics of that version's ``asyncio.run``:
        Ctrl-C raises ``KeyboardInterrupt`` out of :meth:`run`, and :meth:`close` cancels the tasks that are left."""

        def __init__(
            self, *, debug: bool | None = None, loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None
        ) -> None:
            self._debug = debug
            self._loop_factory = loop_factory or asyncio.new_event_loop
            self._loop: asyncio.AbstractEventLoop | None = None
            self._closed = False

        def __enter__(self) -> Self:
            self.get_loop()
            return self

        def __exit__(
            self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
        ) -> None:
            self.close()

        def get_loop(self) -> asyncio.AbstractEventLoop:
            if self._closed:
                raise RuntimeError("Runner is closed")
            if self._loop is None:
                self._loop = self._loop_factory()
                asyncio.set_event_loop(self._loop)
                if self._debug is not None:
                    self._loop.set_debug(self._debug)
            return self._loop

        def run(self, coro: Coroutine[Any, Any, T], *, context: Context | None = None) -> T:
            if not asyncio.iscoroutine(coro):
                raise ValueError(f"a coroutine was expected, got {coro!r}")
            if context is not None:
                coro.close()
                raise NotImplementedError(
                    "Runner.run(context=...) needs Python 3.11 or later: tasks take no context here"
                )
            if asyncio._get_running_loop() is not None:
                raise RuntimeError("Runner.run() cannot be called from a running event loop")
            return self.get_loop().run_until_complete(coro)

        def close(self) -> None:
            loop, self._loop = self._loop, None
            if loop is None:
                return
            self._closed = True
            try:
                _cancel_all_tasks(loop)
                loop.run_until_complete(loop.shutdown_asyncgens())
                loop.run_until_complete(loop.shutdown_default_executor())
            finally:
                asyncio.set_event_loop(None)
                loop.close()

    def _cancel_all_tasks(loop: asyncio.AbstractEventLoop) -> None:
        tasks = asyncio.all_tasks(loop)
        if not tasks:
            return
        for task in tasks:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        for task in tasks:
            if not task.cancelled() and task.exception() is not None:
                loop.call_exception_handler(
                    {
                        "message": "unhandled exception during sfloop.run() shutdown",
                        "exception": task.exception(),
                        "task": task,
                    }
                )


class Runner(_AsyncioRunner):  # type: ignore[misc, unused-ignore]  # typeshed has it final; only its constructor changes here
    """An ``asyncio.Runner`` whose loop is an :class:`sfloop.Loop`: ``with sfloop.Runner(spin="always") as runner: …``.

    The options are checked when the runner is made; the loop is made on first use. On Python 3.10, which has no
    ``asyncio.Runner``, the class has the same methods with the semantics of that version's ``asyncio.run``.

    :raises ValueError: an option has a value that is not allowed.
    :raises TypeError: an option does not exist or has the wrong type.
    """

    def __init__(
        self, options: Options | None = None, /, *, debug: bool | None = None, **keywords: Unpack[OptionKeywords]
    ) -> None:
        resolved = Options.resolve(options, **keywords)
        super().__init__(debug=debug, loop_factory=lambda: make_loop(resolved))


def new_event_loop(options: Options | None = None, /, **keywords: Unpack[OptionKeywords]) -> Loop:
    """Make a :class:`sfloop.Loop`. Can be passed as ``loop_factory=`` to ``asyncio.Runner`` and ``asyncio.run``.

    :raises ValueError: an option has a value that is not allowed.
    :raises TypeError: an option does not exist or has the wrong type.
    :raises OSError: the stack asked for cannot be used and ``fallback`` is ``"error"``, or the interface does not
        exist.
    """
    return make_loop(Options.resolve(options, **keywords))


def run(main: Coroutine[Any, Any, T], *, debug: bool | None = None, **options: Unpack[OptionKeywords]) -> T:
    """Run a coroutine on a new :class:`sfloop.Loop` and return its result, like ``asyncio.run``.

    :raises ValueError: an option has a value that is not allowed, or ``main`` is not a coroutine.
    :raises TypeError: an option does not exist; from Python 3.14 on, which accepts any awaitable, ``main`` is not one.
    :raises RuntimeError: a loop is already running in this thread.
    """
    if asyncio._get_running_loop() is not None:
        if asyncio.iscoroutine(main):
            main.close()  # prevents a second warning that the coroutine was never awaited
        raise RuntimeError("sfloop.run() cannot be called from a running event loop")
    with Runner(debug=debug, **options) as runner:
        return runner.run(main)
