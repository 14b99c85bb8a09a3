"""Telling other loops that a listening socket's port is served by this loop as well.

A loop that serves a socket past the kernel takes its frames, and nobody else who has inherited the socket is given a
connection. A loop that would have done the same, but did not get the interface, claims the socket by a name that the
first one looks for (``native/tcpip/sharing/claims.c``). Then the kernel keeps the frames and spreads the connections.
"""

from __future__ import annotations

import errno
import socket

_CLAIMS = 32  # as in tcpip/sharing/claims.h


def claim(interface: str, sock: socket.socket) -> socket.socket | None:
    """A socket whose name tells that `sock` is served here; close it when that is over. None: it cannot be told."""
    try:
        index, port = socket.if_nametoindex(interface), sock.getsockname()[1]
        made = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    except OSError:
        return None
    for number in range(_CLAIMS):
        try:
            made.bind(f"\0sfloop/{index}/tcp/{port}/{number}")
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                continue
            break
        return made
    made.close()
    return None
