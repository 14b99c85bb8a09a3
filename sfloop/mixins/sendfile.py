"""``loop.sendfile`` and its fallback."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
from asyncio import constants, exceptions, protocols
from typing import TYPE_CHECKING, Any

from sfloop.mixins.connecting import Connections
from sfloop.transports.stream import StreamTransport

if TYPE_CHECKING:
    from sfloop.transports.stacksocket import StackSocket

# The most bytes that one sendfile(2) of Linux sends.
_MOST_AT_ONCE = 0x7FFF_F000


class SendingFiles(Connections):
    """Sends files with sendfile(2) if the transport has a kernel socket, else by reading and writing.

    This class replaces asyncio's code because of these faults of that code. It leaves the transport paused if it is
    cancelled early. It waits for ever if the transport is aborted meanwhile. Its fallback ignores offset 0 and reads
    from the file's position. It leaves a wrong file position if the file object has read ahead, and in older releases
    if nothing was sent.
    """

    __slots__ = ()

    async def _sendfile_native(self, transp: Any, file: Any, offset: int, count: int | None) -> int:
        if not isinstance(transp, StreamTransport):
            sent: int = await super()._sendfile_native(transp, file, offset, count)
            return sent
        self._check_sendfile_params(transp._sock, file, offset, count)
        source = _descriptor_of(file)
        resume_reading = transp.is_reading()
        room = transp._make_empty_waiter()
        transp.pause_reading()
        position = offset
        begun = False
        try:
            await room
            begun = True
            while count is None or position < offset + count:
                size = _MOST_AT_ONCE if count is None else min(offset + count - position, _MOST_AT_ONCE)
                try:
                    n = os.sendfile(_open_socket_of(transp), source, position, size)
                except BlockingIOError:
                    n = -1
                except OSError as exc:
                    raise _error_of(exc, position > offset) from exc
                if n == 0:
                    break
                position += max(n, 0)
                await transp._core.make_room_waiter()
            return position - offset
        finally:
            if begun:
                _move_to(file, source, position)
            transp._reset_empty_waiter()
            if resume_reading:
                transp.resume_reading()

    async def _sendfile_fallback(self, transp: Any, file: Any, offset: int, count: int | None) -> int:
        sock = transp.get_extra_info("socket")
        if sock is not None:
            self._check_sendfile_params(sock, file, offset, count)
        pieces = _Pieces(self, file, offset, count)
        between = _BetweenProtocol(transp)
        try:
            while piece := await pieces.next():
                await between.drain()
                transp.write(piece)
                pieces.sent += len(piece)
            return pieces.sent
        finally:
            pieces.finish()
            between.restore()

    async def _sock_sendfile_fallback(
        self, sock: socket.socket | StackSocket, file: Any, offset: int, count: int | None
    ) -> int:
        pieces = _Pieces(self, file, offset, count)
        try:
            while piece := await pieces.next():
                await self.sock_sendall(sock, piece)  # type: ignore[arg-type]
                pieces.sent += len(piece)
            return pieces.sent
        finally:
            pieces.finish()


def _descriptor_of(file: Any) -> int:
    try:
        fd: int = file.fileno()
        os.fstat(fd)
    except (AttributeError, OSError) as exc:  # io.UnsupportedOperation is an OSError
        raise exceptions.SendfileNotAvailableError("not a regular file") from exc
    return fd


def _move_to(file: Any, source: int, position: int) -> None:
    """Set the file's position, if it has one. A buffered file then drops its read-ahead data."""
    with contextlib.suppress(OSError, ValueError):  # a pipe, or a file that was closed meanwhile
        if hasattr(file, "seek"):
            file.seek(position)
        else:
            os.lseek(source, position, os.SEEK_SET)


def _open_socket_of(transport: StreamTransport) -> int:
    if transport.is_closing() or transport._sock is None:
        raise ConnectionError("Connection is closed by peer")
    return transport._sock.fileno()


def _error_of(exc: OSError, begun: bool) -> Exception:
    if exc.errno == errno.ENOTCONN:
        return ConnectionError(errno.ENOTCONN, "socket is not connected")
    if begun or isinstance(exc, ConnectionError):
        return exc
    # For example, the file cannot be mapped.
    return exceptions.SendfileNotAvailableError("os.sendfile call failed")


class _Pieces:
    """Reads a file in pieces, in threads of the executor."""

    def __init__(self, loop: SendingFiles, file: Any, offset: int, count: int | None) -> None:
        self._loop = loop
        self._file = file
        self._offset = offset
        self._count = count
        self._seekable = hasattr(file, "seek") and (not hasattr(file, "seekable") or bool(file.seekable()))
        self._buffer = bytearray(min(count or _PIECE, _PIECE))
        self.sent = 0
        if offset or self._seekable:  # a file without a position is read from its current place
            file.seek(offset)

    async def next(self) -> bytes:
        """Read the next piece; empty at the end of the file."""
        size = len(self._buffer) if self._count is None else min(self._count - self.sent, len(self._buffer))
        if size <= 0:
            return b""
        view = memoryview(self._buffer)[:size]
        reading: asyncio.Future[int] = self._loop.run_in_executor(None, self._file.readinto, view)
        try:
            n = await asyncio.shield(reading)
        except asyncio.CancelledError:
            if self._seekable:  # the thread moves the file's position, so wait for it before finish() sets the position
                await asyncio.wait([reading])
            raise
        return bytes(view[:n]) if n else b""

    def finish(self) -> None:
        """Set the file's position to the end of the data that was sent."""
        if self._seekable:
            self._file.seek(self._offset + self.sent)


_PIECE = constants.SENDFILE_FALLBACK_READBUFFER_SIZE


class _BetweenProtocol(asyncio.Protocol):
    """Takes the protocol's place while a file is sent, to receive the transport's flow control calls."""

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self._protocol: Any = transport.get_protocol()
        self._paused = self._told = bool(transport._protocol_paused)
        self._resume_reading = transport.is_reading()
        self._room: asyncio.Future[None] | None = None
        self._lost = False
        self._error: BaseException | None = None
        transport.pause_reading()
        transport.set_protocol(self)

    async def drain(self) -> None:
        """Wait for room in the write buffer."""
        while self._paused and not self._lost:
            self._room = asyncio.get_running_loop().create_future()
            await self._room
        if self._error is not None:
            raise self._error
        if self._lost or self._transport.is_closing():
            raise ConnectionError("Connection is closed by peer")

    def _wake(self) -> None:
        if self._room is not None and not self._room.done():
            self._room.set_result(None)

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self._wake()

    def connection_lost(self, exc: BaseException | None) -> None:
        self._lost, self._error = True, exc
        self._wake()
        self._protocol.connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        # Reading is paused, but TLS may have decrypted this before the pause.
        if isinstance(self._protocol, asyncio.BufferedProtocol):
            feed: Any = vars(protocols)["_feed_data_to_buffered_proto"]  # typeshed does not declare it
            feed(self._protocol, data)
        else:
            self._protocol.data_received(data)

    def eof_received(self) -> bool | None:
        keep_open: bool | None = self._protocol.eof_received()
        return keep_open

    def restore(self) -> None:
        """Give the transport its protocol back, and pass on changes of flow control."""
        if self._lost:
            return
        self._transport.set_protocol(self._protocol)
        if self._resume_reading:
            self._transport.resume_reading()
        if self._paused and not self._told:
            self._protocol.pause_writing()
        elif self._told and not self._paused:
            self._protocol.resume_writing()
