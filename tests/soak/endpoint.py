"""One end of a connection of the churn: it records received bytes and checks asyncio's promises on its callbacks."""

from __future__ import annotations

import asyncio
import hashlib
import random
import socket
import struct
from typing import Any

from watchdog import Failure


class Endpoint(asyncio.Protocol):
    """A protocol that sometimes pauses its reading, and whose futures are done when a callback has run."""

    transport: asyncio.Transport

    def __init__(self, problems: list[str], seed: str) -> None:
        self.loop = asyncio.get_running_loop()
        self.problems = problems
        self.random = random.Random(seed)
        self.patient = self.random.random() < 0.5
        self.received = 0
        self.hash = hashlib.sha256()
        self.made: asyncio.Future[None] = self.loop.create_future()
        self.eof: asyncio.Future[None] = self.loop.create_future()
        self.lost: asyncio.Future[Exception | None] = self.loop.create_future()
        self.writable = asyncio.Event()
        self.writable.set()
        self.paused = False

    def problem(self, text: str) -> None:
        self.problems.append(f"{type(self).__name__}: {text}")

    # ---- the protocol ----

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        if self.made.done():
            self.problem("connection_made called twice")
        self.transport = transport
        self.made.set_result(None)

    def data_received(self, data: bytes) -> None:
        if not data or self.paused or self.eof.done() or self.lost.done() or not self.made.done():
            self.problem(f"data_received({len(data)} bytes) when paused={self.paused} eof={self.eof} lost={self.lost}")
        self.take(data)
        if not self.patient and self.random.random() < 0.05:
            self.transport.pause_reading()
            self.paused = True
            self.loop.call_later(self.random.random() * 2e-3, self._resume)

    def take(self, data: bytes) -> None:
        """Counts received bytes."""
        self.hash.update(data)
        self.received += len(data)

    def _resume(self) -> None:
        self.paused = False
        self.transport.resume_reading()

    def eof_received(self) -> bool:
        if self.eof.done() or self.lost.done() or self.paused:
            self.problem(f"eof_received when eof={self.eof} lost={self.lost} paused={self.paused}")
        else:
            self.eof.set_result(None)
        return True  # the script closes

    def pause_writing(self) -> None:
        if not self.writable.is_set():
            self.problem("pause_writing called twice")
        self.writable.clear()

    def resume_writing(self) -> None:
        if self.writable.is_set():
            self.problem("resume_writing without pause_writing")
        self.writable.set()

    def connection_lost(self, exc: Exception | None) -> None:
        if self.lost.done() or not self.made.done():
            self.problem(f"connection_lost when made={self.made} lost={self.lost}")
        elif not isinstance(exc, (ConnectionError, type(None))):
            self.problem(f"connection_lost({exc!r})")
        else:
            self.lost.set_result(exc)
        self.writable.set()

    # ---- calls of the scripts ----

    async def send(self, data: bytes) -> None:
        """Write all of `data` in pieces, as the flow control allows; stop when the connection is lost."""
        view, position = memoryview(data), 0
        while position < len(data) and not self.transport.is_closing():
            await self.writable.wait()
            step = self.random.choice((1, 100, 1460, 9000, 70_000, 300_000))
            piece = view[position : position + step]
            if self.random.random() < 0.2:
                self.transport.writelines([piece[:7], piece[7:]])
            else:
                self.transport.write(self.random.choice((bytes, bytearray, memoryview))(piece))
            position += step
            if self.random.random() < 0.1:
                await asyncio.sleep(self.random.choice((0, 1e-5, 1e-3)))

    def reset(self) -> None:
        """End the connection with RST instead of FIN (TCP), or with an ordinary close (AF_UNIX)."""
        sock = self.transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()

    async def ended(self) -> None:
        """Wait until the peer has sent EOF or the connection is lost."""
        either: list[asyncio.Future[Any]] = [self.eof, self.lost]
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)

    async def closed(self) -> None:
        """Close, and wait for connection_lost."""
        self.transport.close()
        await asyncio.shield(self.lost)

    def must_have_received(self, data: bytes) -> None:
        if self.received != len(data) or self.hash.digest() != hashlib.sha256(data).digest():
            raise Failure(f"{type(self).__name__} received {self.received} bytes, not the {len(data)} that were sent")

    def must_have_received_a_beginning(self, data: bytes) -> None:
        if self.received > len(data) or self.hash.digest() != hashlib.sha256(data[: self.received]).digest():
            raise Failure(f"{type(self).__name__}: its {self.received} bytes are no beginning of the {len(data)} sent")


class BufferedEndpoint(Endpoint, asyncio.BufferedProtocol):
    """An Endpoint that receives into its own buffer."""

    def __init__(self, problems: list[str], seed: str) -> None:
        super().__init__(problems, seed)
        self.buffer = bytearray(self.random.choice((1000, 30_000, 200_000)))

    def get_buffer(self, sizehint: int) -> bytearray:
        return self.buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.data_received(bytes(self.buffer[:nbytes]))
