"""The rules that docs/beside.md calls passed by are passed by, and the doctor finds them; on the kernel stack all
hold."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from harness import firewalls as fw
from harness import link
from harness.link import INTERFACE, NEAR, Link

import sfloop
from sfloop.doctor.checks import passed_by
from sfloop.doctor.machine import Machine

DRIVERS = ("kernel", "af_xdp", "packet")
PORT, FAR_PORT = 5000, 6000
COUNT = 5


@pytest.fixture
def joined() -> Iterator[Link]:
    """Yield two namespaces; this thread is in the near one."""
    reason = link.unavailable()
    if reason is not None:
        pytest.skip(reason)
    with link.made_link() as made, made.near.entered():
        yield made


class Echo(asyncio.DatagramProtocol):
    """Echoes and counts datagrams."""

    def __init__(self) -> None:
        self.count = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.DatagramTransport)
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.count += 1
        self.transport.sendto(b"answer to " + data, addr)


@contextmanager
def echo(joined: Link, driver: str) -> Iterator[tuple[sfloop.Loop, Echo, socket.socket]]:
    """Yield a loop that serves, its protocol, and a socket at the far end. The loop knows the route back."""
    chosen = (
        sfloop.Options(stack="kernel")
        if driver == "kernel"
        else sfloop.Options(driver=driver, interface=INTERFACE, fallback="error")
    )
    loop = sfloop.Loop(chosen)
    far = joined.far.udp(FAR_PORT)
    try:
        made = loop.create_datagram_endpoint(Echo, local_addr=(NEAR, PORT))
        transport, protocol = loop.run_until_complete(made)
        for _ in range(2):
            assert exchange(loop, far, b"warm", 1) == 1
        protocol.count = 0
        yield loop, protocol, far
        transport.close()
        loop.run_until_complete(asyncio.sleep(0))
    finally:
        far.close()
        loop.close()


def exchange(loop: sfloop.Loop, far: socket.socket, data: bytes, count: int = COUNT) -> int:
    """Send datagrams from the far end; return how many answers come back within a moment."""
    for _ in range(count):
        far.sendto(data, (NEAR, PORT))
    answers: list[bytes] = []

    async def collect() -> None:
        end = loop.time() + 1.0
        while len(answers) < count and loop.time() < end:
            await asyncio.sleep(0.01)
            answers.extend(link.drain(far))

    loop.run_until_complete(collect())
    return len(answers)


def nft_or_skip(*messages: fw.Message) -> None:
    try:
        fw.nft(*messages)
    except OSError as error:
        if error.errno not in (errno.EPROTONOSUPPORT, errno.ENOENT, errno.EOPNOTSUPP):
            raise
        pytest.skip(f"this kernel lacks a part of nf_tables: {error}")


def found() -> dict[str, str]:
    """Return the doctor's warnings: check → reason."""
    machine = Machine(interface=INTERFACE)
    checks = (passed_by.check_rules, passed_by.check_reverse_path)
    return {each.check: each.reason for check in checks for each in check(machine) if each.status == "warn"}


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_firewall(joined: Link, driver: str) -> None:
    with echo(joined, driver) as (loop, protocol, far):
        nft_or_skip(fw.table(fw.INET, "filter"), fw.chain(fw.INET, "filter", "input", fw.INPUT, fw.DROP))
        assert exchange(loop, far, b"x") == (0 if driver == "kernel" else COUNT)
        assert protocol.count == (0 if driver == "kernel" else COUNT)
        assert found()["firewall"].startswith("nft inet filter input (policy drop): ")


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_firewall_on_the_way_out(joined: Link, driver: str) -> None:
    with echo(joined, driver) as (loop, protocol, far):
        nft_or_skip(fw.table(fw.IP, "filter"), fw.chain(fw.IP, "filter", "out", fw.OUTPUT, fw.DROP))
        assert exchange(loop, far, b"x") == (0 if driver == "kernel" else COUNT)
        assert protocol.count == COUNT
        assert found()["firewall"].startswith("nft ip filter out (policy drop): ")


@pytest.mark.parametrize("driver", DRIVERS)
def test_reverse_path_filtering(joined: Link, driver: str) -> None:
    """The far host sends from an address that the near host has no route to."""
    with echo(joined, driver) as (loop, protocol, far):
        for scope in ("all", INTERFACE):
            with open(f"/proc/sys/net/ipv4/conf/{scope}/rp_filter", "w") as setting:
                setting.write("1")
        joined.far.ip("address", "add", "203.0.113.9/32", "dev", "lo")
        with joined.far.udp(FAR_PORT, "203.0.113.9") as foreign:
            for _ in range(COUNT):
                foreign.sendto(b"x", (NEAR, PORT))
        loop.run_until_complete(asyncio.sleep(0.1))
        assert protocol.count == (0 if driver == "kernel" else COUNT)
        assert found()["rp-filter"].startswith("rp_filter=1 (strict")
        assert exchange(loop, far, b"x") == COUNT


@pytest.mark.parametrize(
    ("driver", "received", "sent"), [("kernel", COUNT, COUNT), ("af_xdp", 0, 0), ("packet", COUNT, 0)]
)
def test_a_capture(joined: Link, driver: str, received: int, sent: int) -> None:
    with echo(joined, driver) as (loop, _, far), joined.near.raw() as capture:
        assert exchange(loop, far, b"captured") == COUNT
        frames = link.drain(capture)
        answers = [frame for frame in frames if b"answer to captured" in frame]
        questions = [frame for frame in frames if b"captured" in frame and frame not in answers]
        assert (len(questions), len(answers)) == (received, sent)
