"""TLS connections: the program's transport, and the functions that make one."""

from __future__ import annotations

import asyncio
import errno
import warnings
from asyncio import constants, sslproto
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Literal, NoReturn

from sfloop.native.cores import tls_session
from sfloop.transports import tlsasyncio

if TYPE_CHECKING:
    import ssl

    from sfloop.loop import Loop


def _contiguous(data: bytes | bytearray | memoryview) -> bytes:
    if not isinstance(data, (bytes, bytearray, memoryview)):
        raise TypeError(f"data: expecting a bytes-like instance, got {type(data).__name__}")
    return bytes(data)


# Programs and CPython's tests recognize TLS by the letters "SSL" in the class name of a transport.
class SSLTransport(sslproto._SSLProtocolTransport):
    """An ``asyncio.Transport`` that encrypts. After its end its methods do nothing, like those of a TCP transport.

    asyncio's class is a base because programs test for it with ``isinstance``. None of its code is used.
    """

    _start_tls_compatible = True
    _sendfile_compatible = constants._SendfileMode.FALLBACK
    _loop: Any
    _closed: bool
    _ssl_protocol: Any  # a TLSProtocol

    def __init__(self, loop: Loop, protocol: Any) -> None:
        self._loop = loop
        self._ssl_protocol = protocol
        self._closed = False

    def __repr__(self) -> str:
        below = self._ssl_protocol._transport
        state = "closed" if below is None else f"closing over {below!r}" if self._closed else f"over {below!r}"
        return f"<{type(self).__name__} {state}>"

    def __del__(self, _warn: Any = warnings.warn) -> None:
        if not self._closed:
            self._closed = True
            _warn("unclosed transport <asyncio._SSLProtocolTransport object>", ResourceWarning, source=self)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """The names that asyncio documents for ``BaseTransport.get_extra_info``, for TLS and for the connection
        below."""
        return self._ssl_protocol._get_extra_info(name, default)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Deliver to this protocol from now on."""
        self._ssl_protocol._set_app_protocol(protocol)
        tlsasyncio.adopt(protocol)

    def get_protocol(self) -> asyncio.BaseProtocol:
        """The current protocol."""
        protocol: asyncio.BaseProtocol = self._ssl_protocol._app_protocol
        return protocol

    def return_to_kernel(self) -> NoReturn:
        """Not possible: the session's keys are in this process.

        :raises OSError: always. The connection goes on.
        """
        raise OSError(errno.EOPNOTSUPP, "a TLS connection cannot return to the kernel: its keys are in this process")

    # ---- reading ----

    def is_reading(self) -> bool:
        """True if the transport is receiving new data."""
        return not self._closed and not self._ssl_protocol._app_reading_paused

    def pause_reading(self) -> None:
        """Deliver no data until resume_reading(). Received data stays in the socket, encrypted."""
        if not self._closed:
            self._ssl_protocol._pause_reading()

    def resume_reading(self) -> None:
        """Deliver data again."""
        if not self._closed:
            self._ssl_protocol._resume_reading()

    def set_read_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Check and store the limits. They have no effect, because nothing is read while reading is paused."""
        self._ssl_protocol._set_read_buffer_limits(high, low)

    def get_read_buffer_limits(self) -> tuple[int, int]:
        """The limits that were set last, (low, high)."""
        limits: tuple[int, int] = self._ssl_protocol._read_limits
        return limits

    def get_read_buffer_size(self) -> int:
        """Bytes received and not yet decrypted."""
        size: int = self._ssl_protocol._incoming.pending
        return size

    # ---- writing ----

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Encrypt and send, or buffer. Never blocks."""
        piece = _contiguous(data)
        if piece:
            self._ssl_protocol._write_appdata((piece,))

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        """Encrypt and send the pieces in order, as one piece."""
        self.write(b"".join([_contiguous(data) for data in list_of_data]))

    def can_write_eof(self) -> Literal[False]:
        """Always False, because TLS 1.2 cannot end one direction only."""
        return False

    @property
    def _protocol_paused(self) -> bool:  # asyncio's sendfile reads this
        return bool(self._ssl_protocol._app_writing_paused)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Set the high and low water marks in bytes, for pause_writing() and resume_writing().

        :raises ValueError: unless high >= low >= 0.
        """
        self._ssl_protocol._set_write_buffer_limits(high, low)

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """The (low, high) water marks in bytes."""
        return self._ssl_protocol._low, self._ssl_protocol._high

    def get_write_buffer_size(self) -> int:
        """Bytes written that the stack has not taken yet: plaintext here, and ciphertext in the transport below."""
        size: int = self._ssl_protocol._get_write_buffer_size()
        return size

    # ---- the end ----

    def is_closing(self) -> bool:
        """True if the transport is closing or closed."""
        return self._closed

    def close(self) -> None:
        """Stop receiving, send the buffered data, end the TLS session, then close and call connection_lost(None)."""
        if not self._closed:
            self._closed = True
            self._ssl_protocol._start_shutdown()
        else:
            self._ssl_protocol.release()

    def abort(self) -> None:
        """Close at once. Buffered data is lost."""
        self._force_close(None)

    def _force_close(self, exc: BaseException | None) -> None:
        self._closed = True
        self._ssl_protocol._abort(exc)


def make(loop: Loop, *args: Any, **options: Any) -> Any:
    """Make a TLS protocol. Its ``_app_transport`` is the program's transport. Takes the arguments of
    ``asyncio.sslproto.SSLProtocol``."""
    if loop.options.tls == "asyncio" or tls_session.refused("memory-bio") is not None:
        by_asyncio: Any = sslproto.SSLProtocol(loop, *args, **options)
        tlsasyncio.adopt(by_asyncio)
        return by_asyncio
    from sfloop.transports.tlsprotocol import TLSProtocol  # only here, because this Python may lack the module ssl

    protocol = TLSProtocol(loop, *args, **options)
    protocol._app_transport = SSLTransport(loop, protocol)
    return protocol


async def start(
    loop: Loop, transport: Any, protocol: asyncio.BaseProtocol, sslcontext: ssl.SSLContext, **options: Any
) -> asyncio.Transport:
    """Upgrade a connection to TLS, like ``asyncio.loop.start_tls``."""
    import ssl

    if not isinstance(sslcontext, ssl.SSLContext):
        raise TypeError(f"sslcontext is expected to be an instance of ssl.SSLContext, got {sslcontext!r}")
    if not getattr(transport, "_start_tls_compatible", False):
        raise TypeError(f"transport {transport!r} is not supported by start_tls()")
    waiter = loop.create_future()
    made = make(loop, protocol, sslcontext, waiter, call_connection_made=False, **options)
    above: asyncio.Transport = made._app_transport
    transport.pause_reading()  # no data must arrive before connection_made()
    transport.set_protocol(made)
    begin = loop.call_soon(made.connection_made, transport)
    resume = loop.call_soon(transport.resume_reading)
    try:
        await waiter
    except BaseException:
        transport.close()
        above._closed = True  # type: ignore[attr-defined]
        begin.cancel()
        resume.cancel()
        raise
    return above


def describe(option: str) -> dict[str, str]:
    """The TLS engine of connections on a loop with this option, and the reason."""
    if option == "asyncio":
        return {"engine": "asyncio", "reason": "the option tls is 'asyncio'"}
    rows = tls_session.engines()
    taken, _, what = next(row for row in rows if row[1] is None)
    refusals = [f"{engine}: {refusal}" for engine, refusal, _ in rows if refusal is not None]
    return {"engine": taken, "reason": "; ".join([what, *refusals])}
