"""The cost of ten thousand idle connections of the tcpip stack: time of a turn, and memory."""

from __future__ import annotations

import asyncio
import ctypes
import os
import socket
import struct
import time
from collections.abc import Mapping
from typing import Any

import sfloop
from sfloop.bench.serve import say
from sfloop.native.cores import stackstream
from sfloop.native.cores.core import measure_idle
from sfloop.native.cores.stackstream import StackListener, StackStream

_CLIENT, _SERVER = "127.77.0.1", "127.77.0.2"
#: Connections that are opened at once.
_BATCH = 100
#: Seconds after which an idle connection has freed its buffers.
_UNTIL_IDLE = 2.5


class _Mallinfo2(ctypes.Structure):
    """struct mallinfo2 of <malloc.h>, glibc 2.33."""

    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in (
            "arena",
            "ordblks",
            "smblks",
            "hblks",
            "hblkhd",
            "usmblks",
            "fsmblks",
            "uordblks",
            "fordblks",
            "top",
        )
    )


def _allocated() -> int:
    """Bytes that malloc has allocated. Small Python objects are not included, because CPython has its own allocator."""
    mallinfo2 = ctypes.CDLL(None).mallinfo2
    mallinfo2.restype = _Mallinfo2
    found = mallinfo2()
    return int(found.uordblks + found.hblkhd)


class _Pair:
    """Both ends of a wire in one thread, and streams between them without transports."""

    def __init__(self) -> None:
        wire = f"idle{os.getpid()}"
        self.client, self.server = (
            sfloop.Loop(sfloop.Options(driver="shm", interface=f"{wire}@{address}", fallback="error", linger=0))
            for address in (_CLIENT, _SERVER)
        )
        self.streams: list[StackStream] = []
        listening = socket.create_server((_SERVER, 0))
        self.port = listening.getsockname()[1]
        self._listeners = stackstream.listen(self.server, listening.fileno(), 4096, self._accept)
        listening.close()
        for _ in range(3):  # each end looks for the other once in a millisecond
            time.sleep(0.002)
            self.turn()

    def _accept(self, listener: StackListener) -> None:
        while (stream := listener.accept()) is not None:
            self.streams.append(stream)

    def open(self, number: int) -> None:
        address = (
            struct.pack("=H", socket.AF_INET) + struct.pack("!H", self.port) + socket.inet_aton(_SERVER) + bytes(8)
        )
        wanted = len(self.streams) + 2 * number
        waiters = []
        for _ in range(number):
            with socket.socket() as reserving:
                waiter: asyncio.Future[bool] = self.client.create_future()
                stream = stackstream.connect(self.client, reserving.fileno(), address, waiter)
                assert stream is not None, "the wire leads to the server"
                self.streams.append(stream)
                waiters.append(waiter)
        while len(self.streams) < wanted or not all(waiter.done() for waiter in waiters):
            self.turn()

    def turn(self) -> None:
        for loop in (self.client, self.server):
            loop.run_until_complete(asyncio.sleep(0))

    def close(self) -> None:
        for stream in self.streams:
            stream.close()
        for listener in self._listeners:
            listener.close()
        self.client.close()
        self.server.close()


def _measure(parameters: Mapping[str, Any]) -> dict[str, float]:
    pair = _Pair()
    pair.open(_BATCH)  # so that memory that is allocated once is allocated before the measurement
    alone, before, opened = measure_idle(pair.client, parameters["seconds"]), _allocated(), len(pair.streams)
    while len(pair.streams) < 2 * parameters["connections"]:
        pair.open(_BATCH)
    end = time.monotonic() + _UNTIL_IDLE
    while time.monotonic() < end:
        pair.turn()
        time.sleep(0.001)
    took = (_allocated() - before) / (len(pair.streams) - opened)
    found = {"alone": alone, "idle": measure_idle(pair.client, parameters["seconds"]), "bytes": took}
    pair.close()
    return found


async def idle(parameters: Mapping[str, Any]) -> None:
    """ns of an empty turn with few connections and with ``connections``, and bytes of native memory for each."""
    begin = time.perf_counter()
    # No loop is running in a new thread, so both ends can be run there in turn.
    found = await asyncio.to_thread(_measure, parameters)
    say({**found, "seconds": time.perf_counter() - begin})
