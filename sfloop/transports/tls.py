"""The transport that a program has of a TLS connection: asyncio's, quiet after its end."""

from __future__ import annotations

import asyncio
from asyncio import sslproto
from typing import Any


class TlsTransport(sslproto._SSLProtocolTransport):
    """asyncio's own forgets its TLS protocol at the second close(), and in Python 3.10 the wire below at the end: every
    later call raises AttributeError. Here such calls do nothing, as those of a TCP transport."""

    _ssl_protocol: Any

    @property
    def _over(self) -> bool:
        return self._ssl_protocol._transport is None

    def close(self) -> None:
        """Send what is buffered, end the TLS session, then close and call connection_lost(None)."""
        if not self._closed:
            super().close()

    def __del__(self) -> None:
        if self._over:  # there is nothing left to close, which Python 3.10 warns of
            self._closed = True
        super().__del__()

    def is_closing(self) -> bool:
        """True if the transport is closing or closed."""
        return self._closed or self._over

    def is_reading(self) -> bool:
        """True if the transport is receiving new data."""
        return not self._closed and not self._over and super().is_reading()

    def pause_reading(self) -> None:
        """Deliver nothing until resume_reading()."""
        if not self._over:
            super().pause_reading()

    def resume_reading(self) -> None:
        """Deliver again."""
        if not self._over:
            super().resume_reading()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Encrypt and send, or buffer. Never blocks."""
        if self._over and isinstance(data, (bytes, bytearray, memoryview)):
            return
        super().write(data)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Set the high and low water marks, in bytes, for pause_writing() and resume_writing()."""
        if not self._over:
            super().set_write_buffer_limits(high, low)

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """The (low, high) water marks in bytes."""
        return (0, 0) if self._over else super().get_write_buffer_limits()

    def get_write_buffer_size(self) -> int:
        """Bytes written but not yet taken by the wire below."""
        return 0 if self._over else super().get_write_buffer_size()

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Deliver to this protocol from now on."""
        super().set_protocol(protocol)
        adopt(protocol)


def adopt(protocol: asyncio.BaseProtocol) -> None:
    """If this is asyncio's TLS protocol, makes its transport, which nobody has used yet, one of ours."""
    made: Any = getattr(protocol, "_app_transport", None) if isinstance(protocol, sslproto.SSLProtocol) else None
    if type(made) is sslproto._SSLProtocolTransport:
        made.__class__ = TlsTransport
