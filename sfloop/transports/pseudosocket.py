"""The ``get_extra_info("socket")`` of a transport on a bypass stack."""

from __future__ import annotations

import socket
from asyncio import trsock
from collections.abc import Callable
from typing import Any


class PseudoSocket(trsock.TransportSocket):
    """A ``TransportSocket`` without a descriptor. It has names and options, but cannot send or receive.

    Some libraries get the descriptor of a transport and write to it themselves. Here that would be wrong: the kernel
    socket behind a bypass transport only reserves the port and carries traffic that the stack does not, so such data
    would overtake the transport's own or get lost. Options are set on that kernel socket. Group membership, TTL, TOS,
    multicast interface and loopback take effect on the stack, too.
    """

    __slots__ = ("_changed",)

    def __init__(self, sock: socket.socket, changed: Callable[[], None]) -> None:
        """:param changed: called after every change of an option."""
        super().__init__(sock)
        self._changed = changed

    def setsockopt(self, *args: Any) -> None:
        """``socket.setsockopt`` on the kernel socket. The stack sees the change at once."""
        super().setsockopt(*args)
        self._changed()

    def fileno(self) -> int:
        """Always -1."""
        return -1

    def dup(self) -> socket.socket:
        """Not possible.

        :raises OSError: always.
        """
        raise OSError("this transport bypasses the kernel, so it has no descriptor to duplicate")
