"""A loop that is never idle polls the kernel rarely, and still sees urgent events at once."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
from collections.abc import Callable

import pytest

BUSY = 0.01  # seconds of callbacks alone, after which the interval between two polls is the longest


class Turns:
    """A callback that runs in each turn. After a while it acts, and then counts the turns until stop() is called."""

    def __init__(self, loop: asyncio.AbstractEventLoop, act: Callable[[], object]) -> None:
        self._loop = loop
        self._act = act
        self._begin = time.perf_counter() + BUSY
        self._acted = False
        self.since = 0

    def step(self) -> None:
        self.since += self._acted
        if not self._acted and time.perf_counter() > self._begin:
            self._acted = True
            self._act()
        self._loop.call_soon(self.step)

    def run(self) -> int:
        self._loop.call_soon(self.step)
        self._loop.run_forever()
        return self.since


def test_signals(loop: asyncio.AbstractEventLoop) -> None:
    loop.add_signal_handler(signal.SIGUSR1, loop.stop)
    assert Turns(loop, lambda: os.kill(os.getpid(), signal.SIGUSR1)).run() <= 3


def test_a_descriptor_that_is_watched_from_now_on(loop: asyncio.AbstractEventLoop) -> None:
    near, far = socket.socketpair()
    with near, far:
        far.send(b"x")
        assert Turns(loop, lambda: loop.add_reader(near, loop.stop)).run() <= 3
        loop.remove_reader(near)


def test_a_timer(loop: asyncio.AbstractEventLoop) -> None:
    ends: list[float] = []

    def end() -> None:
        ends.append(loop.time())
        loop.stop()

    best = 1.0
    for _ in range(20):  # the machine may take the CPU away at any time
        Turns(loop, lambda: loop.call_at(loop.time() + 0.0003, end) and ends.append(loop.time() + 0.0003)).run()
        due, ended = ends
        best = min(best, ended - due)
        ends.clear()
        if best < 0.00002:
            return
    pytest.fail(f"{best * 1e6:.0f} us late")
