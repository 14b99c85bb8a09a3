"""The plaintext of a TLS connection, between the ``ssl.SSLObject`` of an open session and the program's protocol.

If OpenSSL's functions can be called directly, the records of an open session bypass this class
(``sfloop.native.cores.tls``).
"""

from __future__ import annotations

import abc
import asyncio
import collections
import contextlib
import enum
import logging
import ssl
import warnings
import weakref
from asyncio import constants
from collections.abc import Iterable
from typing import Any

from sfloop.native.cores import tls

logger = logging.getLogger("asyncio")

AGAIN = (ssl.SSLWantReadError, ssl.SSLSyscallError)

RECORD = 16 * 1024  # the most plaintext in one record
HIGH_WATER = 512 * 1024  # asyncio's water marks for TLS
READ_HIGH_WATER = 256 * 1024
LOST_WRITES_SHOWN = constants.LOG_THRESHOLD_FOR_CONNLOST_WRITES


class State(enum.Enum):
    """The state of a TLS protocol. States follow in this order; ENDED may follow any state."""

    NEW = enum.auto()  # there is no transport below yet
    HANDSHAKE = enum.auto()
    OPEN = enum.auto()
    CLOSING = enum.auto()  # close() was called, or the peer has ended the session
    ENDED = enum.auto()  # aborted, failed, or the connection below is lost


def water_marks(high: int | None, low: int | None, default: int) -> tuple[int, int]:
    """(high, low), with defaults for None.

    :raises ValueError: unless high >= low >= 0.
    """
    if high is None:
        high = default if low is None else 4 * low
    if low is None:
        low = high // 4
    if not high >= low >= 0:
        raise ValueError(f"high ({high!r}) must be >= low ({low!r}) must be >= 0")
    return high, low


class TLSChannel(asyncio.Protocol, abc.ABC):
    """The part of a TLS protocol that an open session uses. Set `_app_transport` first."""

    _app_transport: Any = None
    _transport: Any = None  # the transport below
    _open = False  # the state is OPEN and records are exchanged
    _eof = False  # the connection below has received EOF
    _eof_told = False
    _app_reading_paused = False
    _app_writing_paused = False
    _lost_writes = 0
    _reader: weakref.ref[asyncio.StreamReader] | None = None
    _records: tls.Records | None = None

    def __init__(self, loop: Any, app_protocol: Any) -> None:
        self._loop = loop
        self._set_app_protocol(app_protocol)
        self._state = State.NEW
        self._write_backlog: collections.deque[bytes] = collections.deque()  # plaintext that OpenSSL has not taken yet
        self._write_buffer_size = 0
        self._high, self._low = water_marks(None, None, HIGH_WATER)
        self._read_limits = (READ_HIGH_WATER // 4, READ_HIGH_WATER)
        self._incoming: Any = ssl.MemoryBIO()
        self._outgoing: Any = ssl.MemoryBIO()
        self._sslobj: Any = None

    def _set_app_protocol(self, app_protocol: Any) -> None:
        self._app_protocol = app_protocol
        self._app_protocol_is_buffer = isinstance(app_protocol, asyncio.BufferedProtocol) or (
            not hasattr(app_protocol, "data_received") and hasattr(app_protocol, "get_buffer")
        )
        self._state_changed()
        if isinstance(app_protocol, asyncio.StreamReaderProtocol) and not hasattr(asyncio.StreamWriter, "__del__"):
            self._watch_reader(app_protocol._stream_reader)  # type: ignore[attr-defined]

    def _watch_reader(self, reader: asyncio.StreamReader | None) -> None:
        """Close the transport when the program drops its StreamReader. Newer Pythons do this when the StreamWriter is
        dropped."""
        if reader is None:
            return
        me = weakref.ref(self)

        def dropped(_: object) -> None:
            protocol = me()  # may run in another thread than the loop's
            if protocol is not None and protocol._state not in (State.CLOSING, State.ENDED):
                with contextlib.suppress(RuntimeError):  # the loop is closed
                    protocol._loop.call_soon_threadsafe(protocol._reader_dropped)

        self._reader = weakref.ref(reader, dropped)

    def _reader_dropped(self) -> None:
        transport = self._app_transport
        if transport is not None and not transport.is_closing():
            warnings.warn(f"unclosed stream over {transport!r}", ResourceWarning, stacklevel=2, source=transport)
            transport.close()

    def _enter(self, state: State) -> None:
        self._state = state
        self._open = state is State.OPEN
        self._state_changed()

    def _state_changed(self) -> None:
        """Call this after a change of anything that the native records use."""
        if self._records is not None:
            self._records.follow()

    @abc.abstractmethod
    def _start_shutdown(self) -> None:
        """End the session, then close the connection."""

    @abc.abstractmethod
    def _fatal_error(self, exc: BaseException, message: str = "Fatal error on transport") -> None:
        """End the connection at once. Report the error unless it is a network error."""

    # ---- reading ----

    def _do_read(self) -> None:
        """Deliver the plaintext that can be decrypted, and send OpenSSL's own answers."""
        try:
            ended = self._read_into_buffers() if self._app_protocol_is_buffer else self._read()
            if self._write_backlog:
                self._do_write()
            else:
                self._process_outgoing()
        except Exception as exc:
            self._fatal_error(exc, "Fatal error on SSL protocol")
            return
        if (ended or self._eof) and self._state is State.OPEN and not self._app_reading_paused:
            self._call_eof_received()
            self._start_shutdown()

    def _read(self) -> bool:
        """Read plaintext. Returns whether the peer has ended the session."""
        pieces: list[bytes] = []
        failure: Exception | None = None
        ended = False
        try:
            while piece := self._sslobj.read(RECORD):
                pieces.append(piece)
            ended = True
        except AGAIN:
            pass
        except Exception as exc:
            failure = exc
        if pieces:
            self._app_protocol.data_received(pieces[0] if len(pieces) == 1 else b"".join(pieces))
        if failure is not None and self._state is State.OPEN:
            raise failure
        return ended

    def _read_into_buffers(self) -> bool:
        """Read plaintext into the buffers of a BufferedProtocol. Returns whether the peer has ended the session."""
        receiver = self._app_protocol
        while self._state is State.OPEN and not self._app_reading_paused and self._app_protocol is receiver:
            view = memoryview(receiver.get_buffer(self._incoming.pending)).cast("B")
            if self._state is not State.OPEN:  # get_buffer() may have closed the connection
                break
            if not view:
                raise RuntimeError("get_buffer() returned an empty buffer")
            filled = 0
            failure: Exception | None = None
            try:
                while filled < len(view) and (count := self._sslobj.read(len(view) - filled, view[filled:])):
                    filled += count
                ended = filled < len(view)
                again = ended
            except AGAIN:
                ended, again = False, True
            except Exception as exc:
                failure = exc
            if filled:
                receiver.buffer_updated(filled)
            if failure is not None:
                if self._state is State.OPEN:
                    raise failure
                break
            if again:
                return ended
        if self._state is State.OPEN and not self._app_reading_paused:  # the protocol was replaced meanwhile
            return self._read_into_buffers() if self._app_protocol_is_buffer else self._read()
        return False

    def _call_eof_received(self) -> None:
        if self._eof_told:
            return
        self._eof_told = True
        try:
            if self._app_protocol.eof_received():
                logger.warning("returning true from eof_received() has no effect when using ssl")
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as exc:
            self._fatal_error(exc, "Error calling eof_received()")

    def _pause_reading(self) -> None:
        if not self._app_reading_paused:
            self._app_reading_paused = True
            self._state_changed()
            if self._open:  # a handshake must go on
                self._transport.pause_reading()

    def _resume_reading(self) -> None:
        if self._app_reading_paused:
            self._app_reading_paused = False
            self._state_changed()
            self._loop.call_soon(self._go_on_reading)

    def _go_on_reading(self) -> None:
        if self._open and not self._app_reading_paused:
            self._do_read()
        if self._open and not self._app_reading_paused:
            self._transport.resume_reading()

    def _set_read_buffer_limits(self, high: int | None, low: int | None) -> None:
        high, low = water_marks(high, low, READ_HIGH_WATER)
        self._read_limits = (low, high)

    # ---- writing ----

    def _write_appdata(self, pieces: Iterable[bytes]) -> None:
        if self._state in (State.CLOSING, State.ENDED):
            if self._lost_writes >= LOST_WRITES_SHOWN:
                logger.warning("SSL connection is closed")
            self._lost_writes += 1
            return
        for piece in pieces:
            self._write_backlog.append(piece)
            self._write_buffer_size += len(piece)
        self._state_changed()
        if self._state is State.OPEN:
            self._write_waiting()
        else:
            self._control_app_writing()

    def _write_waiting(self) -> None:
        try:
            self._do_write()
        except Exception as exc:
            self._fatal_error(exc, "Fatal error on SSL protocol")

    def _do_write(self) -> None:
        """Encrypt the backlog and send the ciphertext."""
        try:
            while self._write_backlog:
                data = self._write_backlog[0]
                count = self._sslobj.write(data)
                self._write_buffer_size -= count
                if count < len(data):
                    self._write_backlog[0] = data[count:]
                else:
                    self._write_backlog.popleft()
        except AGAIN:  # OpenSSL must read first
            pass
        self._state_changed()
        self._process_outgoing()
        self._control_app_writing()

    def _process_outgoing(self) -> None:
        data = self._outgoing.read()
        if data and self._transport is not None:
            self._transport.write(data)

    def _drop_backlog(self) -> None:
        self._write_backlog.clear()
        self._write_buffer_size = 0
        self._outgoing.read()

    # ---- write flow control, by all buffered data: here and in the transport below ----

    def _get_write_buffer_size(self) -> int:
        below = 0 if self._transport is None else self._transport.get_write_buffer_size()
        size: int = self._write_buffer_size + self._outgoing.pending + below
        return size

    def _set_write_buffer_limits(self, high: int | None, low: int | None) -> None:
        self._high, self._low = water_marks(high, low, HIGH_WATER)
        if self._transport is not None:
            self._transport.set_write_buffer_limits(self._high, self._low)
        self._control_app_writing()

    def _control_app_writing(self) -> None:
        size = self._get_write_buffer_size()
        if size > self._high and not self._app_writing_paused:
            self._app_writing_paused = True
            self._tell_flow("pause_writing")
        elif size <= self._low and self._app_writing_paused:
            self._app_writing_paused = False
            self._tell_flow("resume_writing")

    def _tell_flow(self, method: str) -> None:
        protocol = self._app_protocol
        if protocol is None:
            return
        try:
            getattr(protocol, method)()
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as exc:
            self._loop.call_exception_handler(
                {
                    "message": f"protocol.{method}() failed",
                    "exception": exc,
                    "transport": self._app_transport,
                    "protocol": self,
                }
            )

    def pause_writing(self) -> None:
        """Called when the write buffer of the transport below is above the high mark."""
        if not self._app_writing_paused:
            self._app_writing_paused = True
            self._tell_flow("pause_writing")

    def resume_writing(self) -> None:
        """Called when the write buffer of the transport below is under the low mark."""
        self._control_app_writing()
