"""The ``get_extra_info("socket")`` of a transport on a bypass stack."""

from __future__ import annotations

import socket
from asyncio import trsock
from collections.abc import Callable
from typing import Any

from sfloop.transports.stacksocket import StackSocket


class PseudoSocket(trsock.TransportSocket):
    """A ``TransportSocket`` that has names and options, but cannot send or receive.

    Some libraries get the descriptor of a transport and write to it themselves. Here that would be wrong: the kernel
    socket behind a bypass transport only reserves the port and carries traffic that the stack does not, so such data
    would overtake the transport's own or get lost. So a datagram transport has no descriptor here, and a connection has
    one that only poll(2) and its relatives can use. A pool of connections asks by it whether the peer has closed one.

    Options are set on the kernel socket. Group membership, TTL, TOS, multicast interface and loopback take effect on
    the stack, too.
    """

    __slots__ = ("_changed",)

    _sock: socket.socket | StackSocket  # of the base class

    def __init__(self, sock: socket.socket, changed: Callable[[], None]) -> None:
        """:param changed: called after every change of an option."""
        super().__init__(sock)
        self._changed = changed

    def setsockopt(self, *args: Any) -> None:
        """``socket.setsockopt`` on the kernel socket. The stack sees the change at once."""
        super().setsockopt(*args)
        self._changed()

    def fileno(self) -> int:
        """Of a connection: a descriptor that is readable if a receive would return something at the time of this call.
        -1: the connection is closed, or the transport is for datagrams."""
        sock = self._sock
        return sock.readability() if isinstance(sock, StackSocket) else -1

    def dup(self) -> socket.socket:
        """Not possible.

        :raises OSError: always.
        """
        raise OSError("this transport bypasses the kernel, so it has no descriptor to duplicate")
