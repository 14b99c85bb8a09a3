"""Two loops joined by a wire in shared memory, one in the test's thread, the other in its own thread."""

from __future__ import annotations

import asyncio
import itertools
import os
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

import sfloop

NEAR, FAR = "127.77.0.1", "127.77.0.2"
_numbers = itertools.count()
open_transports: list[Any] = []  # the far side's thread has to close them
open_servers: list[Any] = []


def new_name() -> str:
    return f"t{os.getpid()}-{next(_numbers)}"


def open_side(name: str, address: str, **options: Any) -> sfloop.Loop:
    options.setdefault("linger", 0.1)  # at a test's end no loop runs on the far side to acknowledge a FIN
    return sfloop.Loop(sfloop.Options(driver="shm", interface=f"{name}@{address}", fallback="error", **options))


async def serve_echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """The default handler of a stream server: an echo."""
    while data := await reader.read(1 << 16):
        writer.write(data)
        await writer.drain()
    writer.close()


async def served() -> None:
    """Wait until the running loop's servers have noticed the end of their connections."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    if others:
        _, late = await asyncio.wait(others, timeout=5)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)


@contextmanager
def running_in_thread(loop: asyncio.AbstractEventLoop) -> Iterator[Callable[[Coroutine[Any, Any, Any]], Any]]:
    """Run the loop in a thread. Yields a function that runs a coroutine there and returns its result."""
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield lambda coroutine: asyncio.run_coroutine_threadsafe(coroutine, loop).result(20)
    finally:
        for transport in open_transports:
            loop.call_soon_threadsafe(transport.abort)
        for server in open_servers:
            loop.call_soon_threadsafe(server.close)
        open_transports.clear()
        open_servers.clear()
        asyncio.run_coroutine_threadsafe(served(), loop).result(20)
        loop.call_soon_threadsafe(loop.call_later, 0.01, loop.stop)
        thread.join()
        loop.close()


class Echo(asyncio.DatagramProtocol):
    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.received = 0
        open_transports.append(transport)

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.received += 1
        self.transport.sendto(data, addr)


class Inbox(asyncio.DatagramProtocol):
    """Keeps received datagrams. `get()` waits for the next."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[tuple[bytes, Any]] = asyncio.Queue()
        self.errors: asyncio.Queue[Exception] = asyncio.Queue()

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.queue.put_nowait((data, addr))

    def error_received(self, exc: Exception) -> None:
        self.errors.put_nowait(exc)

    async def get(self, seconds: float = 5) -> tuple[bytes, Any]:
        return await asyncio.wait_for(self.queue.get(), seconds)


class Flow(asyncio.Protocol):
    """Records whether to pause writing, and the end of the connection."""

    def __init__(self) -> None:
        self.paused = False
        self.lost: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set_result(exc)


@contextmanager
def silent_far_side(near: sfloop.Loop) -> Iterator[None]:
    """The wire's far side is open but never reads, so nothing that is sent to it is answered."""
    name = str(near.options.interface).partition("@")[0]
    other = open_side(name, FAR)
    try:
        yield
    finally:
        other.close()
