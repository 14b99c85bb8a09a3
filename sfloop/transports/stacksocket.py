"""A connection of a stack that bypasses the kernel, in the shape of a socket."""

from __future__ import annotations

import errno
import os
import socket
import struct
import warnings
from typing import Any, NoReturn

from sfloop.native.cores import address, stackstream
from sfloop.native.cores.stackstream import StackStream


class StackSocket:
    """What asyncio's code and sfloop's transports need of a ``socket.socket``: names, options, close(). There is no
    descriptor: ``fileno()`` is -1, and nothing sends or receives by it but the transport that takes it over."""

    family = socket.AF_INET
    type = socket.SOCK_STREAM
    proto = socket.IPPROTO_TCP

    def __init__(self, stream: StackStream) -> None:
        self._stream: StackStream | None = stream
        self._owner: Any = stream  # whatever has the stream now: itself, or the core of a transport

    def __repr__(self) -> str:
        if self._stream is None:
            return "<StackSocket closed>"
        return f"<StackSocket laddr={_quietly(self.getsockname)}, raddr={_quietly(self.getpeername)}>"

    def __del__(self, _warn: Any = warnings.warn) -> None:
        stream = getattr(self, "_stream", None)
        if stream is not None and not stream.taken:
            _warn(f"unclosed {self!r}", ResourceWarning, source=self)
            stream.close()

    @property
    def stream(self) -> StackStream:
        """For the transport that takes the connection over."""
        if self._stream is None:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        return self._stream

    @property
    def taken(self) -> bool:
        """A transport has the connection, or it is closed."""
        return self._stream is None or self._stream.taken

    def taken_by(self, core: Any) -> None:
        """The connection has become this core's."""
        self._owner = core

    def fileno(self) -> int:
        """-1."""
        return -1

    def setblocking(self, flag: bool) -> None:
        """:raises ValueError: to block is not possible."""
        if flag:
            raise ValueError("a connection that bypasses the kernel cannot block")

    def settimeout(self, value: float | None) -> None:
        """:raises ValueError: to block is not possible."""
        self.setblocking(value != 0)

    def gettimeout(self) -> float:
        """0.0: it does not block."""
        return 0.0

    def getsockname(self) -> Any:
        """(address, port) of this side."""
        return address.decode(stackstream.name_of(self._owner, False))

    def getpeername(self) -> Any:
        """(address, port) of the other side."""
        return address.decode(stackstream.name_of(self._owner, True))

    def setsockopt(self, level: int, optname: int, value: Any, optlen: int | None = None) -> None:
        """As ``socket.setsockopt``, for the options that mean something to the stack.

        :raises OSError: ENOPROTOOPT, it does not have the option.
        """
        if value is None:
            data = bytes(optlen or 0)
        else:
            data = struct.pack("i", value) if isinstance(value, int) else bytes(value)
        stackstream.set_option(self._owner, level, optname, data)

    def getsockopt(self, level: int, optname: int, buflen: int = 0) -> Any:
        """As ``socket.getsockopt``: an int, or up to buflen bytes.

        :raises OSError: ENOPROTOOPT, the stack does not have the option.
        """
        data = stackstream.get_option(self._owner, level, optname)
        if buflen:
            return data[:buflen]
        return int.from_bytes(data[:4], "little" if struct.pack("=H", 1)[0] else "big", signed=True)

    def shutdown(self, how: int) -> NoReturn:
        """Not possible: the transport's ``write_eof()`` is what ends the sending side.

        :raises OSError: always.
        """
        raise OSError(errno.EOPNOTSUPP, "this connection bypasses the kernel: use the transport's write_eof()")

    def dup(self) -> NoReturn:
        """Not possible.

        :raises OSError: always.
        """
        raise OSError(errno.EOPNOTSUPP, "this connection bypasses the kernel: there is no descriptor to duplicate")

    def get_inheritable(self) -> bool:
        """False."""
        return False

    def close(self) -> None:
        """Ends the connection, if no transport has taken it over."""
        stream, self._stream = self._stream, None
        if stream is not None and not stream.taken:
            stream.close()
        self._owner = None


def _quietly(method: Any) -> Any:
    try:
        return method()
    except OSError:
        return None
