"""A task whose next message has always arrived already is served without suspension, and gives way to all other
work."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from harness.observed import Run

Pair = tuple[socket.socket, socket.socket]
Stop = Callable[[], None]


@pytest.fixture
def pairs() -> Iterator[Callable[[], Pair]]:
    with ExitStack() as stack:

        def new() -> Pair:
            pair = socket.socketpair()
            for sock in pair:
                stack.enter_context(sock).setblocking(False)
            return pair

        yield new


def by_timer(loop: asyncio.AbstractEventLoop, stop: Stop, pair: Pair) -> None:
    loop.call_later(0.01, stop)


def by_thread(loop: asyncio.AbstractEventLoop, stop: Stop, pair: Pair) -> None:
    threading.Timer(0.01, loop.call_soon_threadsafe, (stop,)).start()


def by_socket(loop: asyncio.AbstractEventLoop, stop: Stop, pair: Pair) -> None:
    def readable() -> None:
        loop.remove_reader(pair[0])
        stop()

    loop.add_reader(pair[0], readable)
    threading.Timer(0.01, pair[1].send, (b"!",)).start()


def by_signal(loop: asyncio.AbstractEventLoop, stop: Stop, pair: Pair) -> None:
    def received() -> None:
        loop.remove_signal_handler(signal.SIGUSR1)
        stop()

    loop.add_signal_handler(signal.SIGUSR1, received)
    threading.Timer(0.01, os.kill, (os.getpid(), signal.SIGUSR1)).start()


@pytest.mark.sfloop_only("asyncio gives way to nothing while there is something to receive")
@pytest.mark.parametrize("method", ["sock_recv", "sock_recv_into"])
@pytest.mark.parametrize("stopped", [by_timer, by_thread, by_socket, by_signal])
def test_others_get_their_turn(run: Run, pairs: Any, stopped: Callable[..., None], method: str) -> None:
    async def main() -> int:
        loop = asyncio.get_running_loop()
        over = False

        def stop() -> None:
            nonlocal over
            over = True

        (a, b), buffer, messages = pairs(), bytearray(10), 0
        stopped(loop, stop, pairs())
        while not over:
            a.send(b"data")
            if method == "sock_recv":
                assert await loop.sock_recv(b, 10) == b"data"
            else:
                assert await loop.sock_recv_into(b, buffer) == 4
                assert buffer[:4] == b"data"
            messages += 1
        return messages

    assert run(main()) > 1


def test_two_such_tasks_alternate(run: Run, pairs: Any) -> None:
    async def exchange(pair: Pair, seen: list[int], name: int) -> None:
        loop = asyncio.get_running_loop()
        for number in range(200):
            pair[0].send(b"%d" % number)
            assert await loop.sock_recv(pair[1], 10) == b"%d" % number
            seen.append(name)

    async def main() -> None:
        seen: list[int] = []
        await asyncio.wait_for(asyncio.gather(exchange(pairs(), seen, 1), exchange(pairs(), seen, 2)), 10)
        assert sorted(seen) == [1] * 200 + [2] * 200

    run(main())


def test_nothing_comes(run: Run, pairs: Any) -> None:
    """The wait in place ends, and the task is suspended and cancelled as usual."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        a, b = pairs()
        for _ in range(3):
            a.send(b"data")
            assert await loop.sock_recv(b, 10) == b"data"
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(loop.sock_recv(b, 10), 0.01)
        a.send(b"more")
        assert await loop.sock_recv(b, 10) == b"more"

    run(main())


def test_stop_is_obeyed(loop: asyncio.AbstractEventLoop, pairs: Any) -> None:
    """A task that stops the loop runs only to its next wait."""
    a, b = pairs()
    received: list[bytes] = []

    async def main() -> None:
        for _ in range(3):
            a.send(b"data")
            received.append(await loop.sock_recv(b, 10))
        loop.stop()
        await asyncio.sleep(0)
        received.append(await loop.sock_recv(b, 10))

    task = loop.create_task(main())
    loop.run_forever()
    assert received == [b"data"] * 3
    a.send(b"last")
    loop.run_until_complete(task)
    assert received == [b"data"] * 3 + [b"last"]
