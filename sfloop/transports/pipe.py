"""Pipe transports: pipes, FIFOs, terminals, and sockets that are used in one direction (asyncio documentation,
"Transports and Protocols")."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import stat
import warnings
from asyncio import constants, futures, transports
from collections.abc import Callable
from contextvars import copy_context
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sfloop.loop import Loop

logger = logging.getLogger("asyncio")

_set_result_unless_cancelled: Any = vars(futures)["_set_result_unless_cancelled"]  # typeshed does not declare it


# The ids of file objects that transports own now.
_taken: set[int] = set()


def is_taken(pipe: Any) -> bool:
    """Whether a transport owns this file object and will close it."""
    return id(pipe) in _taken


class _Pipe(asyncio.BaseTransport):
    """The life of a pipe transport.

    All callbacks of the protocol run in the context in which the transport was made. The loop calls connection_lost()
    once. Afterwards no method does anything.
    """

    _loop: Loop | None
    _extra: dict[str, Any]

    def _open(self, loop: Loop, pipe: Any, protocol: Any, waiter: asyncio.Future[None] | None, refusal: str) -> int:
        """Take a file over, and return its mode. If this raises, the caller still owns the file."""
        self._loop = loop
        self._pipe: Any = None
        self._fileno: int = pipe.fileno()
        self._protocol: Any = None
        self._closing = False
        self._ended = False  # connection_lost() was called or scheduled
        self._context = copy_context()
        self._inside = False  # a callback is running in that context
        mode = os.fstat(self._fileno).st_mode
        if not (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or stat.S_ISCHR(mode)):
            raise ValueError(refusal)
        os.set_blocking(self._fileno, False)
        self._extra["pipe"] = self._pipe = pipe
        _taken.add(id(pipe))
        self._protocol = protocol
        loop.call_soon(protocol.connection_made, self)
        loop.call_soon(self._start)
        if waiter is not None:
            loop.call_soon(_set_result_unless_cancelled, waiter, None)
        return mode

    def _start(self) -> None:
        """Called after connection_made()."""
        raise AssertionError

    def __repr__(self) -> str:
        info = [type(self).__name__]
        if self._pipe is None:
            info.append("closed")
        elif self._closing:
            info.append("closing")
        info.append(f"fd={self._fileno}")
        info += self._state()
        return f"<{' '.join(info)}>"

    def _state(self) -> list[str]:
        if self._pipe is None:
            return ["closed"]
        if self._loop is None or self._loop.is_closed():
            return ["open"]
        return ["polling" if any(self._loop._watched().get(self._fileno, ())) else "idle"]

    def __del__(self, _warn: Any = warnings.warn) -> None:
        pipe = getattr(self, "_pipe", None)  # a constructor that raised has not set it
        if pipe is not None:
            _warn(f"unclosed transport {self!r}", ResourceWarning, source=self)
            _taken.discard(id(pipe))
            pipe.close()

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Deliver to this protocol from now on."""
        self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        """The current protocol."""
        protocol: asyncio.BaseProtocol = self._protocol
        return protocol

    def is_closing(self) -> bool:
        """True if the transport is closing or closed."""
        return self._closing

    def _watch(self, add: Callable[..., Any], ready: Callable[[], None]) -> None:
        add(self._fileno, self._event, ready)

    def _event(self, ready: Callable[[], None]) -> None:
        if self._inside:  # a callback in this context runs the loop
            self._context.copy().run(ready)
            return
        self._inside = True
        try:
            self._context.run(ready)
        finally:
            self._inside = False

    def _log(self, text: str) -> None:
        if self._loop is not None and self._loop.get_debug():
            logger.debug(text, self)

    def _fatal_error(self, exc: BaseException, message: str, expected: bool) -> None:
        if self._loop is None:
            return
        if not expected:
            self._loop.call_exception_handler(
                {"message": message, "exception": exc, "transport": self, "protocol": self._protocol}
            )
        elif self._loop.get_debug():
            logger.debug("%r: %s", self, message, exc_info=exc)
        self._end(exc)

    def _end(self, exc: BaseException | None) -> None:
        loop = self._loop
        if self._ended or loop is None:
            return
        self._ended = self._closing = True
        loop._remove_reader(self._fileno)
        if loop.is_closed():
            self._release()  # no callback can run any more
        else:
            loop.call_soon(self._call_connection_lost, exc, context=self._context.copy())

    def _call_connection_lost(self, exc: BaseException | None) -> None:
        try:
            self._protocol.connection_lost(exc)
        finally:
            self._release()

    def _release(self) -> None:
        pipe, self._pipe = self._pipe, None
        self._protocol = self._loop = None
        _taken.discard(id(pipe))
        pipe.close()


class ReadPipeTransport(_Pipe, asyncio.ReadTransport):
    """An ``asyncio.ReadTransport`` over the read end of a pipe."""

    max_size = 256 * 1024  # bytes per read

    def __init__(
        self,
        loop: Loop,
        pipe: Any,
        protocol: asyncio.BaseProtocol,
        waiter: asyncio.Future[None] | None = None,
        extra: dict[str, Any] | None = None,
    ) -> None:
        asyncio.ReadTransport.__init__(self, extra)
        self._paused = False
        self._open(loop, pipe, protocol, waiter, "Pipe transport is for pipes/sockets only.")

    def _start(self) -> None:
        if self.is_reading() and self._loop is not None:
            self._watch(self._loop._add_reader, self._read_ready)

    def is_reading(self) -> bool:
        """True if the transport is receiving new data."""
        return not self._paused and not self._closing

    def pause_reading(self) -> None:
        """Deliver no data until resume_reading(). Received data stays in the pipe."""
        if self.is_reading() and self._loop is not None:
            self._paused = True
            self._loop._remove_reader(self._fileno)
            self._log("%r pauses reading")

    def resume_reading(self) -> None:
        """Deliver data again."""
        if self._paused and not self._closing:
            self._paused = False
            self._start()
            self._log("%r resumes reading")

    def close(self) -> None:
        """Close, and call connection_lost(None)."""
        if not self._closing:
            self._end(None)

    def _read_ready(self) -> None:
        if not self.is_reading() or self._loop is None:
            return
        try:
            data = os.read(self._fileno, self.max_size)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as exc:
            # A terminal whose other end is closed returns EIO.
            self._fatal_error(exc, "Fatal read error on pipe transport", exc.errno == errno.EIO)
            return
        if data:
            self._protocol.data_received(data)
            return
        if self._loop.get_debug():
            logger.info("%r was closed by peer", self)
        self._loop.call_soon(self._protocol.eof_received)
        self._end(None)


class WritePipeTransport(_Pipe, transports._FlowControlMixin, asyncio.WriteTransport):
    """An ``asyncio.WriteTransport`` over the write end of a pipe."""

    def __init__(
        self,
        loop: Loop,
        pipe: Any,
        protocol: asyncio.BaseProtocol,
        waiter: asyncio.Future[None] | None = None,
        extra: dict[str, Any] | None = None,
    ) -> None:
        transports._FlowControlMixin.__init__(self, extra, loop)
        self._buffer = bytearray()
        self._lost_writes = 0
        refusal = "Pipe transport is only for pipes, sockets and character devices"
        mode = self._open(loop, pipe, protocol, waiter, refusal)
        self._tells_of_its_reader = not stat.S_ISCHR(mode)

    def _start(self) -> None:
        # A pipe without a reader is reported as readable.
        if self._tells_of_its_reader and not self._ended and self._loop is not None:
            self._watch(self._loop._add_reader, self._reader_gone)

    def _state(self) -> list[str]:
        return [*super()._state(), f"bufsize={len(self._buffer)}"]

    def get_write_buffer_size(self) -> int:
        """Bytes written that the pipe has not taken yet."""
        return len(self._buffer)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Write as much as the pipe takes, and buffer the rest. Never blocks.

        :raises TypeError: data is not bytes-like.
        """
        if not isinstance(data, (bytes, bytearray, memoryview)):
            raise TypeError(f"data argument must be a bytes-like object, not {type(data).__name__!r}")
        view = memoryview(data)
        if not view.nbytes:
            return
        if self._closing or self._loop is None:
            if self._lost_writes >= constants.LOG_THRESHOLD_FOR_CONNLOST_WRITES:
                logger.warning("pipe closed by peer or os.write(pipe, data) raised exception.")
            self._lost_writes += 1
            return
        if not view.c_contiguous:
            view = memoryview(view.tobytes())
        view = view.cast("B")
        if not self._buffer:
            n = self._write_now(view)
            if n == len(view) or self._ended:
                return
            view = view[n:]
            self._watch(self._loop._add_writer, self._write_ready)
        self._buffer += view
        self._maybe_pause_protocol()  # type: ignore[attr-defined]

    def _write_now(self, data: memoryview | bytearray) -> int:
        try:
            return os.write(self._fileno, data)
        except (BlockingIOError, InterruptedError):
            return 0
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as exc:
            self._lost_writes += 1
            self._fatal_error(exc, "Fatal write error on pipe transport", isinstance(exc, OSError))
            return 0

    def _write_ready(self) -> None:
        n = self._write_now(self._buffer)
        if self._ended or self._loop is None:
            return
        del self._buffer[:n]
        if not self._buffer:
            self._loop._remove_writer(self._fileno)
        # The callback may write, close, or fail.
        self._maybe_resume_protocol()  # type: ignore[attr-defined]
        if self._closing and not self._buffer:
            self._end(None)

    def _reader_gone(self) -> None:
        if self._loop is not None and self._loop.get_debug():
            logger.info("%r was closed by peer", self)
        self._end(BrokenPipeError() if self._buffer else None)

    def can_write_eof(self) -> bool:
        """Always True."""
        return True

    def write_eof(self) -> None:
        """Close once the buffer is written."""
        if self._closing:
            return
        self._closing = True
        if not self._buffer:
            self._end(None)

    def close(self) -> None:
        """Write the buffered data, then close and call connection_lost(None)."""
        self.write_eof()

    def abort(self) -> None:
        """Close at once. Buffered data is lost."""
        self._end(None)

    def _end(self, exc: BaseException | None) -> None:
        if self._buffer and self._loop is not None:
            self._loop._remove_writer(self._fileno)
            self._buffer.clear()
        super()._end(exc)
