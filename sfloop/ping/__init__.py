"""``sfloop ping``: measures round trips by ICMP, UDP or TCP, on any stack and driver of a loop."""

from __future__ import annotations

from sfloop.ping.command import main

__all__ = ["main"]
