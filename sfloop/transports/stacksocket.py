"""A connection of a bypass stack in the form of a socket."""

from __future__ import annotations

import errno
import os
import socket
import struct
import warnings
from typing import Any, NoReturn

from sfloop.native.cores import address, stackstream
from sfloop.native.cores.stackstream import StackStream
from sfloop.transports.readability import Readability


class StackSocket:
    """The part of ``socket.socket`` that asyncio's code and sfloop's transports use: names, options, close(). It has no
    descriptor, so ``fileno()`` is -1, and only the transport that takes it over can send and receive."""

    family = socket.AF_INET
    type = socket.SOCK_STREAM
    proto = socket.IPPROTO_TCP

    _readability: Readability | None = None  # made for a program that asks

    def __init__(self, stream: StackStream) -> None:
        self._stream: StackStream | None = stream
        self._owner: Any = stream  # the stream's owner: the stream itself, or a transport's core

    def __repr__(self) -> str:
        if self._stream is None:
            return "<StackSocket closed>"
        return f"<StackSocket laddr={_quietly(self.getsockname)}, raddr={_quietly(self.getpeername)}>"

    def __del__(self, _warn: Any = warnings.warn) -> None:
        self._hide()
        stream = getattr(self, "_stream", None)
        if stream is not None and not stream.taken:
            _warn(f"unclosed {self!r}", ResourceWarning, source=self)
            stream.close()

    @property
    def stream(self) -> StackStream:
        """The stream, for the transport that takes the connection over.

        :raises OSError: the socket is closed (``EBADF``).
        """
        if self._stream is None:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        return self._stream

    @property
    def taken(self) -> bool:
        """Whether a transport has the connection, or it is closed."""
        return self._stream is None or self._stream.taken

    def taken_by(self, core: Any) -> None:
        """Make a transport's core the owner of the connection."""
        self._owner = core

    def fileno(self) -> int:
        """Always -1."""
        return -1

    def readability(self) -> int:
        """A descriptor that is readable if a receive would return something now. -1: the connection is closed."""
        if self._owner is None:
            return -1
        if self._readability is None:
            self._readability = Readability()
        return self._readability.show(stackstream.is_readable(self._owner))

    def _hide(self) -> None:
        readability, self._readability = self._readability, None
        if readability is not None:
            readability.close()

    def setblocking(self, flag: bool) -> None:
        """:raises ValueError: blocking mode was asked for."""
        if flag:
            raise ValueError("a connection that bypasses the kernel cannot block")

    def settimeout(self, value: float | None) -> None:
        """:raises ValueError: blocking mode was asked for."""
        self.setblocking(value != 0)

    def gettimeout(self) -> float:
        """Always 0.0: non-blocking."""
        return 0.0

    def getsockname(self) -> Any:
        """(address, port) of this end."""
        return address.decode(stackstream.name_of(self._owner, False))

    def getpeername(self) -> Any:
        """(address, port) of the peer."""
        return address.decode(stackstream.name_of(self._owner, True))

    def setsockopt(self, level: int, optname: int, value: Any, optlen: int | None = None) -> None:
        """Set an option, like ``socket.setsockopt``. Supports the options that the stack knows.

        :raises OSError: the stack does not have the option (``ENOPROTOOPT``).
        """
        if value is None:
            data = bytes(optlen or 0)
        else:
            data = struct.pack("i", value) if isinstance(value, int) else bytes(value)
        stackstream.set_option(self._owner, level, optname, data)

    def getsockopt(self, level: int, optname: int, buflen: int = 0) -> Any:
        """Get an option, like ``socket.getsockopt``: an int, or up to buflen bytes.

        :raises OSError: the stack does not have the option (``ENOPROTOOPT``).
        """
        data = stackstream.get_option(self._owner, level, optname)
        if buflen:
            return data[:buflen]
        return int.from_bytes(data[:4], "little" if struct.pack("=H", 1)[0] else "big", signed=True)

    def shutdown(self, how: int) -> NoReturn:
        """Always fails. Use the transport's ``write_eof()`` to end the sending direction.

        :raises OSError: always.
        """
        raise OSError(errno.EOPNOTSUPP, "this connection bypasses the kernel; use the transport's write_eof()")

    def dup(self) -> NoReturn:
        """Not possible.

        :raises OSError: always.
        """
        raise OSError(errno.EOPNOTSUPP, "this connection bypasses the kernel, so it has no descriptor to duplicate")

    def get_inheritable(self) -> bool:
        """Always False."""
        return False

    def close(self) -> None:
        """End the connection, unless a transport has taken it over."""
        self._hide()
        stream, self._stream = self._stream, None
        if stream is not None and not stream.taken:
            stream.close()
        self._owner = None


def _quietly(method: Any) -> Any:
    try:
        return method()
    except OSError:
        return None
