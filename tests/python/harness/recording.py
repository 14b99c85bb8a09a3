"""Protocols that record every callback, so that tests can compare two loops."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

P = TypeVar("P")


def keeping(make: Callable[[], P]) -> tuple[list[P], Callable[[], P]]:
    """A list, and a protocol factory that appends each protocol that it makes to the list."""
    made: list[P] = []

    def factory() -> P:
        made.append(make())
        return made[-1]

    return made, factory


class Recorder(asyncio.Protocol):
    """A stream protocol. `calls` has the names of callbacks in order, `data` the received bytes.

    The futures made, eof and lost are done once their callback has run. The result of lost is connection_lost's
    argument.
    """

    transport: asyncio.Transport

    def __init__(self, *, keep_open: bool = False) -> None:
        self.loop = asyncio.get_running_loop()
        self.keep_open = keep_open
        self.calls: list[str] = []
        self.data = bytearray()
        self.made: asyncio.Future[None] = self.loop.create_future()
        self.eof: asyncio.Future[None] = self.loop.create_future()
        self.lost: asyncio.Future[BaseException | None] = self.loop.create_future()
        self.writable = asyncio.Event()
        self.writable.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.calls.append("connection_made")
        self.made.set_result(None)

    def data_received(self, data: bytes) -> None:
        if self.calls[-1] != "data_received":
            self.calls.append("data_received")
        self.data += data

    def eof_received(self) -> bool | None:
        self.calls.append("eof_received")
        if not self.eof.done():
            self.eof.set_result(None)
        return self.keep_open

    def pause_writing(self) -> None:
        self.calls.append("pause_writing")
        self.writable.clear()

    def resume_writing(self) -> None:
        self.calls.append("resume_writing")
        self.writable.set()

    def connection_lost(self, exc: BaseException | None) -> None:
        self.calls.append("connection_lost")
        self.writable.set()
        self.lost.set_result(exc)  # raises InvalidStateError if called twice


class Echo(Recorder):
    """Sends received data back. Pauses reading while its write buffer is above the high mark."""

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self.transport.write(data)

    def pause_writing(self) -> None:
        super().pause_writing()
        self.transport.pause_reading()

    def resume_writing(self) -> None:
        super().resume_writing()
        self.transport.resume_reading()


class RunsThen(asyncio.BaseProtocol):
    """Runs `then` in its first resume_writing(), when all written data has been sent."""

    then: Callable[[], object] | None = None

    def resume_writing(self) -> None:
        super().resume_writing()
        then, self.then = self.then, None
        if then is not None:
            then()


class ResumedRecorder(RunsThen, Recorder):
    """A Recorder that runs `then`."""


class BufferedRecorder(Recorder, asyncio.BufferedProtocol):
    """A Recorder with a buffer of `size` bytes."""

    def __init__(self, size: int = 4096) -> None:
        super().__init__()
        self.buffer = bytearray(size)
        self.hints: list[int] = []

    def get_buffer(self, sizehint: int) -> bytearray:
        self.hints.append(sizehint)
        return self.buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.data_received(bytes(self.buffer[:nbytes]))


class RecordsWriting(asyncio.BaseProtocol):
    """Records pause_writing, resume_writing and connection_lost."""

    calls: list[str]
    lost: asyncio.Future[BaseException | None]

    def pause_writing(self) -> None:
        self.calls.append("pause_writing")

    def resume_writing(self) -> None:
        self.calls.append("resume_writing")

    def connection_lost(self, exc: BaseException | None) -> None:
        self.calls.append("connection_lost")
        self.lost.set_result(exc)


class DatagramRecorder(RecordsWriting, asyncio.DatagramProtocol):
    """A datagram protocol that records datagrams with their senders, errors, and calls."""

    transport: asyncio.DatagramTransport

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.calls = []
        self.received: list[tuple[bytes, Any]] = []
        self.errors: list[Exception] = []
        self.made: asyncio.Future[None] = self.loop.create_future()
        self.lost = self.loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]  # asyncio before 3.12: not a DatagramTransport by type
        self.calls.append("connection_made")
        self.made.set_result(None)

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.calls.append("datagram_received")
        self.received.append((data, addr))

    def error_received(self, exc: Exception) -> None:
        self.calls.append("error_received")
        self.errors.append(exc)


class DatagramEcho(DatagramRecorder):
    """Sends each datagram back to its sender."""

    def datagram_received(self, data: bytes, addr: Any) -> None:
        super().datagram_received(data, addr)
        self.transport.sendto(data, addr)
