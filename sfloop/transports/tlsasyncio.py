"""TLS connections by asyncio's sslproto, for the option ``tls="asyncio"`` and for programs that use sslproto
directly."""

from __future__ import annotations

import asyncio
import functools
import weakref
from asyncio import sslproto
from collections.abc import Callable
from typing import Any


class _Released:
    """Replaces the TLS protocol of a transport that was closed twice. It keeps neither that protocol nor its SSL
    context alive, although a program's protocol may store its transport."""

    _transport = None

    def __init__(self, protocol: Any) -> None:
        self._protocol = weakref.ref(protocol)
        self._loop = protocol._loop
        self._extra = {name: item for name, item in protocol._extra.items() if name not in ("sslcontext", "ssl_object")}

    def __getattr__(self, name: str) -> Any:
        protocol = self._protocol()
        return None if protocol is None else getattr(protocol, name)

    def _get_extra_info(self, name: str, default: Any = None) -> Any:
        protocol = self._protocol()
        return self._extra.get(name, default) if protocol is None else protocol._get_extra_info(name, default)

    def _set_app_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._app_protocol = protocol

    def _write_appdata(self, data: Any) -> None:
        """Drop data that was written after close()."""

    def _abort(self, *exc: BaseException | None) -> None:  # Python 3.10 passes no exception
        protocol = self._protocol()
        if protocol is not None:
            protocol._abort(*exc)


# Programs and CPython's tests recognize TLS by the letters "SSL" in the class name of a transport.
class SSLTransport(sslproto._SSLProtocolTransport):
    """asyncio's TLS transport, with one fault fixed: it drops its TLS protocol at the second close(), and in Python
    3.10 the transport below at the end, so every later call raises AttributeError. Here such calls do nothing, like
    those of a TCP transport."""

    _ssl_protocol: Any

    @property
    def _over(self) -> bool:
        return self._ssl_protocol._transport is None

    def close(self) -> None:
        """Send the buffered data, end the TLS session, then close and call connection_lost(None)."""
        if not self._closed:
            super().close()
        elif not isinstance(self._ssl_protocol, _Released):
            self._ssl_protocol = _Released(self._ssl_protocol)

    def __del__(self) -> None:
        if self._over:  # nothing is left to close, so prevent a warning of Python 3.10
            self._closed = True
        super().__del__()

    def is_closing(self) -> bool:
        """True if the transport is closing or closed."""
        return self._closed or self._over

    def is_reading(self) -> bool:
        """True if the transport is receiving new data."""
        return not self._closed and not self._over and super().is_reading()

    def pause_reading(self) -> None:
        """Deliver no data until resume_reading()."""
        if not self._over:
            super().pause_reading()

    def resume_reading(self) -> None:
        """Deliver data again."""
        if not self._over:
            super().resume_reading()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Encrypt and send, or buffer. Never blocks."""
        if isinstance(data, (bytearray, memoryview)):
            data = bytes(
                data
            )  # asyncio keeps the caller's buffer until the handshake is over, and fails over gaps in it
        if self._over and isinstance(data, bytes):
            return
        super().write(data)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Set the high and low water marks in bytes, for pause_writing() and resume_writing()."""
        if not self._over:
            super().set_write_buffer_limits(high, low)

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """The (low, high) water marks in bytes."""
        return (0, 0) if self._over else super().get_write_buffer_limits()

    def get_write_buffer_size(self) -> int:
        """Bytes written that the transport below has not taken yet."""
        return 0 if self._over else super().get_write_buffer_size()

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Deliver to this protocol from now on."""
        super().set_protocol(protocol)
        adopt(protocol)


class SSLProtocol(sslproto.SSLProtocol):
    """asyncio's TLS protocol with two faults fixed. Bytes that a StreamReader held when start_tls() was called belong
    to the handshake. A BufferedProtocol may return any writable buffer."""

    _app_protocol: Any
    _app_protocol_get_buffer: Callable[[int], Any]
    _app_transport: Any
    _loop: Any

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start the handshake."""
        super().connection_made(transport)
        held = take_held(self._app_protocol)
        if held:
            _feed(self, held)

    def _set_app_protocol(self, app_protocol: Any) -> None:
        super()._set_app_protocol(app_protocol)
        # Python 3.10 copies by the buffer's length, so it needs no view.
        if "_app_protocol_get_buffer" in vars(self) and self._app_protocol_is_buffer:
            self._app_protocol_get_buffer = functools.partial(_view, app_protocol.get_buffer)


def _view(get_buffer: Callable[[int], Any], hint: int) -> memoryview:
    # asyncio reads into slices of the buffer, but a slice of a bytearray is a copy.
    view = memoryview(get_buffer(hint)).cast("B")
    if not view:
        raise RuntimeError("get_buffer() returned an empty buffer")
    return view


def take_held(protocol: asyncio.BaseProtocol) -> bytes:
    """Take the bytes that the protocol's StreamReader has received and nobody has read."""
    reader: Any = getattr(protocol, "_stream_reader", None)
    if reader is None or not isinstance(protocol, asyncio.StreamReaderProtocol):
        return b""
    held = bytes(reader._buffer)
    reader._buffer.clear()
    reader._maybe_resume_transport()
    return held


def _feed(protocol: Any, data: bytes) -> None:
    if not isinstance(protocol, asyncio.BufferedProtocol):  # Python 3.10
        protocol.data_received(data)
        return
    view = memoryview(data)
    while view:
        buffer: Any = protocol.get_buffer(len(view))
        count = min(len(buffer), len(view))
        buffer[:count] = view[:count]
        protocol.buffer_updated(count)
        view = view[count:]


def adopt(protocol: asyncio.BaseProtocol) -> None:
    """If this is asyncio's TLS protocol, and not used yet, replace its class and its transport's class by ours."""
    if type(protocol) is not sslproto.SSLProtocol:
        return
    adopted: Any = protocol
    adopted.__class__ = SSLProtocol
    adopted._set_app_protocol(adopted._app_protocol)
    made: Any = adopted._app_transport
    if type(made) is sslproto._SSLProtocolTransport:
        made.__class__ = SSLTransport
