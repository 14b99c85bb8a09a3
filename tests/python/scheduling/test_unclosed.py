"""Loops that are not closed, and reference cycles through loops."""

from __future__ import annotations

import asyncio
import gc
import signal
import warnings
import weakref

import pytest
from harness.loops import close, new_loop


def test_an_unclosed_loop_warns_and_leaks_nothing(loop_kind: str) -> None:
    loop = new_loop(loop_kind)
    loop.run_until_complete(asyncio.sleep(0))
    text = repr(loop)
    with pytest.warns(ResourceWarning, match="unclosed event loop") as caught:
        with warnings.catch_warnings(record=False):
            warnings.simplefilter("always")
            del loop
            gc.collect()
    assert any(text in str(entry.message) for entry in caught)
    del caught


def test_an_unclosed_loop_with_work_pending(loop_kind: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        loop = new_loop(loop_kind)
        for i in range(100):
            loop.call_soon(print, i)
            loop.call_later(i, print, loop)
        gone = weakref.ref(loop)
        del loop
        gc.collect()
        assert gone() is None


def test_a_closed_loop_is_freed(loop_kind: str) -> None:
    loop = new_loop(loop_kind)
    loop.call_later(1, print, loop)
    close(loop)
    gone = weakref.ref(loop)
    del loop
    gc.collect()
    assert gone() is None


@pytest.mark.parametrize("what", ["nothing", "tasks", "server", "executor", "signals"])
def test_a_closed_loop_needs_no_collector(loop_kind: str, what: str) -> None:
    loop = new_loop(loop_kind)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        if what == "tasks":
            await asyncio.gather(*(asyncio.sleep(0.001) for _ in range(3)))
        elif what == "server":
            server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
            _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            writer.close()
            await writer.wait_closed()
            server.close()
        elif what == "executor":
            await loop.run_in_executor(None, int)
        elif what == "signals":
            loop.add_signal_handler(signal.SIGUSR1, int)

    loop.run_until_complete(main())
    gc.collect()
    gc.disable()
    try:
        close(loop)
        gone = weakref.ref(loop)
        del loop, main
        assert gone() is None
    finally:
        gc.enable()


def test_a_subclass_may_override_methods(loop_kind: str) -> None:
    """Programs subclass the loop to instrument it."""
    base: type[asyncio.AbstractEventLoop]
    if loop_kind == "asyncio":
        base = asyncio.SelectorEventLoop
    else:
        import sfloop

        base = sfloop.Loop
    seen: list[str] = []

    class Counting(base):  # type: ignore[misc, valid-type]
        def call_soon(self, callback: object, *args: object, context: object = None) -> object:
            seen.append("call_soon")
            return super().call_soon(callback, *args, context=context)

    loop = Counting()
    loop.call_soon(int)
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    assert seen and seen[0] == "call_soon"


def test_attributes_may_be_set_on_a_loop(loop: asyncio.AbstractEventLoop) -> None:
    """Some libraries keep their state on the loop."""
    loop.of_some_library = 5  # type: ignore[attr-defined]
    assert loop.of_some_library == 5  # type: ignore[attr-defined]
