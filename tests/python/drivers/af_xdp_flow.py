"""The flow that the tests of the af_xdp driver use, and how they wait for it."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable

from harness.link import NEAR

PORT = 7000

FLOW = f"udp:{NEAR}:{PORT}"

MODES = ("skb", "native")

DEAD, SEES_PORTS = 8, 64  # SF_DRIVER_DEAD, SF_DRIVER_SEES_PORTS


def echoes(peer: socket.socket, payload: bytes) -> bool:
    peer.send(payload)
    return peer.recv(65536) == payload


def until(condition: Callable[[], bool], limit: float = 3.0) -> bool:
    deadline = time.monotonic() + limit
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True
