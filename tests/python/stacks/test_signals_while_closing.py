"""Signals while loop.close() waits for a peer to acknowledge the data of closed connections."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import wire
from test_tcp_over_shm import far_server

import sfloop


@contextmanager
def unanswered(linger: float) -> Iterator[sfloop.Loop]:
    """A loop with a closed connection whose peer has stopped acknowledging."""
    name, blocked, go_on = wire.new_name(), threading.Event(), threading.Event()
    near = wire.open_side(name, wire.NEAR, linger=linger)

    def stay() -> None:
        blocked.set()
        go_on.wait(20)

    async def block() -> None:
        asyncio.get_running_loop().call_later(0.01, stay)

    with wire.running_in_thread(wire.open_side(name, wire.FAR)) as far:
        address = far_server(far)

        async def main() -> None:
            _, writer = await asyncio.open_connection(*address)
            far(block())
            assert blocked.wait(10)
            writer.write(bytes(10_000))
            writer.close()
            await asyncio.sleep(0.01)

        near.run_until_complete(asyncio.wait_for(main(), 10))
        try:
            yield near
        finally:
            go_on.set()
            near.close()


@contextmanager
def a_signal(handler: Any) -> Iterator[list[float]]:
    """Send SIGUSR1 after the block has run for 50 ms. Yields a list and appends the time of the signal."""
    sent: list[float] = []

    def kill() -> None:
        time.sleep(0.05)
        sent.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGUSR1)

    thread = threading.Thread(target=kill)
    previous = signal.signal(signal.SIGUSR1, handler)
    thread.start()
    try:
        yield sent
    finally:
        thread.join()
        signal.signal(signal.SIGUSR1, previous)


def test_a_handler_that_raises_ends_the_wait() -> None:
    """The handler ends the wait at once, as Ctrl-C does, and the loop is closed all the same."""
    seen: list[float] = []

    def handler(*_: Any) -> None:
        seen.append(time.monotonic())
        raise KeyboardInterrupt

    with unanswered(20) as loop:
        with a_signal(handler) as sent, pytest.raises(KeyboardInterrupt):
            loop.close()
        assert loop.is_closed() and loop.stats() == {}
        assert seen[0] - sent[0] < 0.2  # half a millisecond on an idle machine


def test_a_handler_that_returns_does_not() -> None:
    seen: list[float] = []
    with unanswered(0.5) as loop, a_signal(lambda *_: seen.append(time.monotonic())) as sent:
        start = time.monotonic()
        loop.close()
        assert 0.5 <= time.monotonic() - start < 2
        assert seen[0] - sent[0] < 0.2


def test_handlers_of_the_loop_are_gone_by_then() -> None:
    """A signal has its default action, because the loop calls no handlers any more."""
    with unanswered(0.2) as loop:
        loop.add_signal_handler(signal.SIGUSR2, print)
        during: list[Any] = []
        with a_signal(lambda *_: during.append(signal.getsignal(signal.SIGUSR2))):
            loop.close()
        assert during == [signal.SIG_DFL]
