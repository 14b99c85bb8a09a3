"""The flow that the tests of the packet driver use, and its frames."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable

from harness.frames import udp_frame
from harness.link import FAR, NEAR, Link

PORT = 5000

OTHER_PORT = 5001

FLOW = f"udp:{NEAR}:{PORT}"

SHARES, DEAD, SEES_PORTS = 2, 8, 64


def echoed(made: socket.socket, data: bytes) -> bytes:
    made.sendto(data, (NEAR, PORT))
    return made.recv(65536)


def wait_for(numbers: Callable[[], dict[str, int]], name: str, least: int) -> dict[str, int]:
    deadline = time.monotonic() + 2
    while True:
        taken = numbers()
        if taken[name] >= least:
            return taken
        assert time.monotonic() < deadline, taken
        time.sleep(0.005)


def flow_frame(link: Link, payload: bytes, tag: bytes = b"", fragment: int = 0) -> bytes:
    """Return a datagram from the far side to the flow, with tags before it."""
    macs = (link.near.mac(), link.far.mac())
    data = udp_frame(macs, (FAR, 7000), (NEAR, PORT), payload, fragment=fragment)
    return data[:12] + tag + data[12:]
