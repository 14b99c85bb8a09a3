"""The flow that the tests of the af_xdp driver use, and how they wait for it."""

from __future__ import annotations

import socket

from harness.link import NEAR
from harness.waiting import until as until

PORT = 7000

FLOW = f"udp:{NEAR}:{PORT}"

MODES = ("skb", "native")

DEAD, SEES_PORTS = 8, 64  # SF_DRIVER_DEAD, SF_DRIVER_SEES_PORTS


def echoes(peer: socket.socket, payload: bytes) -> bool:
    peer.send(payload)
    return peer.recv(65536) == payload
