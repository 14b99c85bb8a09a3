"""What ``get_extra_info("socket")`` gives where a stack of sfloop's own carries the traffic."""

from __future__ import annotations

import socket
from asyncio import trsock
from collections.abc import Callable
from typing import Any


class PseudoSocket(trsock.TransportSocket):
    """A ``TransportSocket`` without a descriptor: names and options, but nothing to send or receive by.

    Some libraries look for the descriptor of a transport and write to it themselves. The kernel socket behind a
    bypassing transport reserves the port and carries what the stack does not, so what they wrote there would overtake,
    or miss, what the transport sends: they have to see that there is none. Options go to that kernel socket: group
    membership, TTL, TOS, multicast interface and loopback have their meaning here too.
    """

    __slots__ = ("_changed",)

    def __init__(self, sock: socket.socket, changed: Callable[[], None]) -> None:
        """``changed`` is called after every change of an option."""
        super().__init__(sock)
        self._changed = changed

    def setsockopt(self, *args: Any) -> None:
        """``socket.setsockopt``, on the kernel socket; the stack sees what has changed at once."""
        super().setsockopt(*args)
        self._changed()

    def fileno(self) -> int:
        """-1."""
        return -1

    def dup(self) -> socket.socket:
        """Not possible.

        :raises OSError: always.
        """
        raise OSError("this transport bypasses the kernel: there is no descriptor that could be duplicated")
