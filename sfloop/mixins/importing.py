"""Connections of sockets that the program has connected or accepted itself: a stack past the kernel takes them over."""

from __future__ import annotations

import errno
import os
import socket
import weakref
from collections import Counter
from typing import TYPE_CHECKING, Any

from sfloop.mixins.descriptors import overrides_calls
from sfloop.native.cores import stackstream
from sfloop.transports.stacksocket import StackSocket

if TYPE_CHECKING:
    from sfloop.loop import Loop


class Imports:
    """Takes over connections when a transport is made, and counts them and the others."""

    def __init__(self) -> None:
        self._imported = 0
        self._kept: Counter[str] = Counter()
        self._chosen: weakref.WeakSet[socket.socket] = weakref.WeakSet()

    def leave(self, sock: socket.socket) -> None:
        """Leave a socket to the kernel, because the loop has just chosen the kernel for it."""
        self._chosen.add(sock)

    def describe(self) -> dict[str, Any]:
        """How many connections were imported, and how many stayed with the kernel, by reason."""
        return {"imported": self._imported, "kept": dict(self._kept)}

    def take(self, loop: Loop, sock: socket.socket | StackSocket) -> socket.socket | StackSocket:
        """The connection as a stack's socket, if a stack takes it over. Else the socket itself.

        :raises OSError: a stack could carry the connection and does not, and ``fallback`` is ``"error"``.
        """
        if not isinstance(sock, socket.socket) or overrides_calls(sock) or not stackstream.can_connect(loop):
            return sock
        if (
            sock.family not in (socket.AF_INET, socket.AF_INET6)
            or sock.type != socket.SOCK_STREAM
            or sock in self._chosen
        ):
            return sock
        if sock.fileno() in loop._watched():
            taken: Any = errno.EBUSY, "the program watches its descriptor"
        else:
            taken = stackstream.import_stream(loop, sock.fileno())
        if isinstance(taken, tuple):
            self._keep(loop, *taken)
            return sock
        self._imported += 1
        sock.close()  # the kernel's socket, which has no connection any more
        return StackSocket(taken)

    def _keep(self, loop: Loop, error: int, why: str) -> None:
        self._kept[why] += 1
        if loop._options.fallback == "error" and error != errno.EOPNOTSUPP:
            text = f"the connection stays with the kernel: {why} (fallback='kernel' allows that)"
            raise OSError(error, f"{os.strerror(error)}: {text}")
