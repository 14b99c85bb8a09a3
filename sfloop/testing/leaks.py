"""Counters of live native objects: what must be zero, or back at its baseline, when a test ends."""

from __future__ import annotations

from sfloop.native.engine import core, datagram, ethernet, handle, stream


def live_objects() -> dict[str, int]:
    """Native objects that are alive in this process, over all its loops: ``handles``, ``timer_handles``,
    ``stream_transports``, ``datagram_transports``, ``ethernet_transports``, ``watchers`` (slots in use: transports,
    listeners and watched descriptors) and ``engines`` (one for each loop that is not closed)."""
    handles, timer_handles = handle.live()
    engines, watchers = core.live()
    return {
        "handles": handles,
        "timer_handles": timer_handles,
        "stream_transports": stream.live(),
        "datagram_transports": datagram.live(),
        "ethernet_transports": ethernet.live(),
        "watchers": watchers,
        "engines": engines,
    }
