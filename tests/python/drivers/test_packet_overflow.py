"""The packet driver's overflow: it takes the frames of a pause, because the ring is small to stay in the caches."""

from __future__ import annotations

import random
import socket
import struct

import pytest
from conftest import Opener
from test_af_xdp_driver import FLOW, until
from test_af_xdp_overflow import (
    SMALLEST,
    burst,
    bursts_and_more,
    payloads,
    roomy_peer,  # noqa: F401  a fixture
    seen,
    stopped,
)

SLOTS = 2048  # of a ring that has an overflow


@pytest.mark.parametrize("waiting", [[], ["--spin"]], ids=["sleeping", "spinning"])
def test_a_pause_loses_nothing_and_keeps_the_order(
    open_driver: Opener, peer: socket.socket, waiting: list[str]
) -> None:
    tool = open_driver("packet", "--flow", FLOW, "--tx-frames", "16384", *waiting)
    assert "ring of 2048 slots of 2048 bytes, overflow of 128 MiB" in tool.mode
    for number in (3, 10_000, 1, 5000):  # and after the overflow has been read, the ring takes over again
        burst(tool, peer, payloads(number, 1472))
    stats, counts = tool.numbers("stats"), tool.numbers("counts")
    assert stats["rx_dropped"] == stats["rx_invalid"] == 0
    assert counts["frames"] == counts["returned"] == stats["rx_frames"] == 15_004


def test_the_order_is_kept_while_more_comes(open_driver: Opener, peer: socket.socket) -> None:
    tool = open_driver("packet", "--flow", FLOW, "--tx-frames", "65536", "--spin")
    source = random.Random(3)
    sent = [struct.pack("!I", i) + bytes(source.choice((0, 90, 190))) for i in range(30_000)]
    bursts_and_more(tool, peer, sent)


def test_what_finds_no_room_is_counted(open_driver: Opener, peer: socket.socket) -> None:
    size = 4096 * 2048
    tool = open_driver("packet", "--flow", FLOW, "--rx-frames", "4096", "--count")
    assert f"overflow of {size >> 20} MiB" in tool.mode
    with stopped(tool):
        for number in range(60_000):
            peer.send(struct.pack("!I", number))
    assert until(lambda: seen(tool) == 60_000)
    kept = tool.numbers("stats")["rx_frames"] - SLOTS // 2 - 1
    assert size // SMALLEST - 1 <= kept <= size // SMALLEST + 8  # the ring's share may be a few more
    for number in range(1000):  # all of it has been read, and there is room again
        peer.send(struct.pack("!I", number))
    assert until(lambda: seen(tool) == 61_000)
    assert tool.numbers("stats")["rx_frames"] == kept + SLOTS // 2 + 1 + 1000


def test_a_small_ring_has_no_overflow(open_driver: Opener) -> None:
    mode = open_driver("packet", "--flow", FLOW, "--rx-frames", "2048").mode
    assert "ring of 2048 slots" in mode and "overflow" not in mode
