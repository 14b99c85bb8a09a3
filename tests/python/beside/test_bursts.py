"""A feed that goes on while the program does not read: the ring holds its frames, and lost ones are counted."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest
from harness.link import INTERFACE, NEAR, Link, made_link, unavailable

import sfloop
from sfloop import multicast

GROUP, PORT = "239.6.0.9", 5961
DRIVERS = ("af_xdp", "packet")


@contextlib.contextmanager
def near_loop(driver: str, **options: Any) -> Iterator[tuple[sfloop.Loop, socket.socket]]:
    """Enter the near end's namespace; yield a loop there, and a socket that sends from the far end."""
    reason = unavailable()
    if reason:
        pytest.skip(reason)
    with made_link() as link, sender(link) as sock, link.near.entered():
        chosen = sfloop.Options(driver=driver, interface=INTERFACE, fallback="error", linger=0, **options)  # type: ignore[arg-type]
        with contextlib.closing(sfloop.Loop(chosen)) as loop:
            yield loop, sock


def sender(link: Link) -> socket.socket:
    sock = link.far.socket()
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(link.far.address))
    return sock


class Feed(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self.got: list[int] = []

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.got.append(int(data[:8]))


async def pause(loop: sfloop.Loop, sock: socket.socket, count: int) -> tuple[list[int], dict[str, Any]]:
    """Send a feed while a callback takes long; return the numbers that arrive, and the stack's counters."""
    made = multicast.open_socket(GROUP, PORT, interface=NEAR, rcvbuf=64 << 20)
    transport, feed = await loop.create_datagram_endpoint(Feed, sock=made)
    sock.sendto(b"%08d" % 0, (GROUP, PORT))
    deadline = time.monotonic() + 3
    while not feed.got and time.monotonic() < deadline:
        await asyncio.sleep(0.01)
    assert feed.got == [0]
    for number in range(1, count + 1):
        sock.sendto(b"%08d" % number + bytes(92), (GROUP, PORT))
        if number % 100 == 0:
            time.sleep(0.001)
    time.sleep(0.2)
    received = -1
    while received != len(feed.got):
        received = len(feed.got)
        await asyncio.sleep(0.1)
    counted = loop.stats()["stacks"]["tcpip"]
    transport.close()
    return feed.got[1:], counted


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_burst_during_a_long_callback_is_not_lost(driver: str) -> None:
    with near_loop(driver) as (loop, sock):
        got, counted = loop.run_until_complete(pause(loop, sock, 6000))
        assert got == list(range(1, 6001))
        assert counted["driver"]["rx_dropped"] == counted["rx_backlog_full"] == 0


@pytest.mark.parametrize("driver", DRIVERS)
def test_what_a_small_ring_drops_is_counted(driver: str) -> None:
    with near_loop(driver, ring=1000) as (loop, sock):
        assert " 1024 " in loop.describe()["driver"]["mode"]
        got, counted = loop.run_until_complete(pause(loop, sock, 3000))
        assert 900 <= len(got) < 3000
        assert got == sorted(got)
        assert counted["driver"]["rx_dropped"] >= 3000 - len(got)
        assert (counted["driver"]["rx_no_frames"] > 0) == (driver == "af_xdp")


@pytest.mark.parametrize("driver", DRIVERS)
def test_the_usual_ring_holds_50_ms_of_a_million_packets_a_second(driver: str) -> None:
    with near_loop(driver) as (loop, _):
        mode = loop.describe()["driver"]["mode"]
        assert "overflow of 128 MiB" in mode  # 65,536 frames of 2 KiB
