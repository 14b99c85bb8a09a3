"""Datagrams that arrive while the program does not read: the sockets take the first of them, the overflow the
others."""

from __future__ import annotations

import os
import random
import signal
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from harness.link import NEAR, Link
from test_af_xdp_driver import FLOW, MODES, PORT, until
from tool import Opener, Tool

SO_RCVBUFFORCE = 33
HOT = 2048  # frames of a socket that has an overflow
SMALLEST = 256  # bytes that a datagram takes in the overflow


@contextmanager
def stopped(tool: Tool) -> Iterator[None]:
    os.kill(tool.process.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(tool.process.pid, signal.SIGCONT)


@pytest.fixture(name="peer")
def roomy_peer(link: Link) -> Iterator[socket.socket]:
    """A kernel UDP socket at the far end, with room for all echoes, connected to the driver's flow."""
    with link.far.udp() as made:
        made.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 256 << 20)
        made.connect((NEAR, PORT))
        yield made


def payloads(number: int, longest: int) -> list[bytes]:
    source = random.Random(7)
    sizes = (0, 60, 214, 900, longest - 4)
    return [struct.pack("!I", i) + source.randbytes(source.choice(sizes)) for i in range(number)]


def seen(tool: Tool) -> int:
    stats = tool.numbers("stats")
    return stats["rx_frames"] + stats["rx_dropped"]


def burst(tool: Tool, peer: socket.socket, sent: list[bytes]) -> None:
    """Send all payloads while the driver's process is stopped, and expect the echoes in order."""
    with stopped(tool):
        for payload in sent:
            peer.send(payload)
    assert [peer.recv(65536) for _ in sent] == sent


def bursts_and_more(tool: Tool, peer: socket.socket, sent: list[bytes]) -> None:
    """Send 2,500 payloads while the driver's process is stopped and 500 while it reads the overflow, in turns. Expect
    the echoes in order."""
    for first in range(0, len(sent), 3000):
        with stopped(tool):
            for payload in sent[first : first + 2500]:
                peer.send(payload)
        for payload in sent[first + 2500 : first + 3000]:
            peer.send(payload)
    assert [peer.recv(65536) for _ in sent] == sent


@pytest.mark.parametrize("waiting", [[], ["--spin"]], ids=["sleeping", "spinning"])
@pytest.mark.parametrize("mode", MODES)
def test_a_pause_loses_nothing_and_keeps_the_order(
    open_driver: Opener, peer: socket.socket, mode: str, waiting: list[str]
) -> None:
    tool = open_driver("af_xdp", "--mode", mode, "--flow", FLOW, "--tx-frames", "16384", *waiting)
    assert "2048 + 16384 frames of 2048 bytes" in tool.mode and "overflow of 128 MiB" in tool.mode
    for number in (3, 10_000, 1, 5000):  # after the overflow has been read, the sockets take over again
        burst(tool, peer, payloads(number, 1472))
    stats, counts = tool.numbers("stats"), tool.numbers("counts")
    assert stats["rx_dropped"] == stats["rx_invalid"] == 0
    assert counts["frames"] == counts["returned"] == stats["rx_frames"] == 15_004


def test_the_order_is_kept_while_more_comes(open_driver: Opener, peer: socket.socket) -> None:
    tool = open_driver("af_xdp", "--mode", "native", "--flow", FLOW, "--tx-frames", "65536", "--spin")
    bursts_and_more(tool, peer, payloads(30_000, 200))


@pytest.mark.parametrize("mode", MODES)
def test_frames_of_nine_thousand_bytes(open_driver: Opener, link: Link, peer: socket.socket, mode: str) -> None:
    link.set_mtu(9000)
    tool = open_driver("af_xdp", "--mode", mode, "--flow", FLOW, "--tx-frames", "16384")
    sent = [bytes([i & 255]) * (8972 if i % 3 else 3000) for i in range(1500)]
    with stopped(tool):
        for payload in sent:
            peer.send(payload)
    assert until(lambda: seen(tool) >= len(sent))
    got = [peer.recv(65536) for _ in range(tool.numbers("counts")["frames"])]
    assert len(got) > 1200 and got[-1] == sent[-1]


@pytest.mark.parametrize("mode", MODES)
def test_what_finds_no_room_is_counted(open_driver: Opener, peer: socket.socket, mode: str) -> None:
    size = 4096 * 2048
    tool = open_driver("af_xdp", "--mode", mode, "--flow", FLOW, "--rx-frames", "4096", "--count")
    assert f"overflow of {size >> 20} MiB" in tool.mode
    with stopped(tool):
        for number in range(60_000):
            peer.send(struct.pack("!I", number))
    assert until(lambda: seen(tool) == 60_000)
    kept = tool.numbers("stats")["rx_frames"] - HOT // 2 - 1
    assert size // SMALLEST - 1 <= kept <= size // SMALLEST + 8  # the sockets' share may be a few more
    for number in range(1000):  # all of them have been read, and there is room again
        peer.send(struct.pack("!I", number))
    assert until(lambda: seen(tool) == 61_000)
    assert tool.numbers("stats")["rx_frames"] == kept + HOT // 2 + 1 + 1000


def test_a_small_ring_has_no_overflow(open_driver: Opener) -> None:
    assert "overflow" not in open_driver("af_xdp", "--mode", "native", "--flow", FLOW, "--rx-frames", "2048").mode
