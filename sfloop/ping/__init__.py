"""``sfloop ping``: round trips by ICMP, UDP or TCP, over whatever stack and driver a loop can have."""

from __future__ import annotations

from sfloop.ping.command import main

__all__ = ["main"]
