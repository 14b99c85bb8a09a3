"""Claims: one loop tells another that it, too, serves the port of a listening socket.

A loop that serves a socket past the kernel takes the port's frames, so other holders of the socket would get no
connection. A loop that wanted the same interface but did not get it claims the socket with a name that the first loop
looks for (``native/tcpip/sharing/claims.c``). The kernel then gets the frames, and distributes the connections.
"""

from __future__ import annotations

import errno
import socket

_CLAIMS = 32  # the same as in tcpip/sharing/claims.h


def claim(interface: str, sock: socket.socket) -> socket.socket | None:
    """Make a socket whose name claims the port of `sock`. Close it to end the claim. None: a claim is not possible."""
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
