"""Wrong or rare frames: the stack delivers those that a kernel socket receives."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import Iterator
from typing import Any

import pytest
from beside import DRIVERS
from harness.frames import group_mac
from harness.link import FAR, NEAR, Link, made_link, unavailable
from harness.odd_frames import GROUP, Frame, Station, tcp_cases
from near_loop import NearLoop, bound, near_loop, waiting

from sfloop.ethernet import EthernetProtocol

ECE = 0x40  # the kernel agrees to explicit congestion notification, and the stack does not support it
CLIENT = "198.18.7.66"  # an address that no host has, so that no kernel answers the answers


@pytest.fixture(scope="module")
def link() -> Iterator[Link]:
    reason = unavailable()
    if reason:
        pytest.skip(reason)
    with made_link() as made:
        yield made


@pytest.fixture
def station(link: Link) -> Station:
    return Station(link.near.mac(), link.far.mac())


async def both(near: NearLoop, address: str, frames: dict[str, Frame]) -> tuple[set[Any], set[Any]]:
    """Send all frames to each; return those that a kernel socket and a transport of the stack receive."""
    membership = socket.inet_aton(GROUP) + socket.inet_aton(NEAR)
    with bound(address) as control, near.link.far.raw() as raw:
        control.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        sock = bound(address)
        for each in (control, sock):
            each.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)
        transport, inbox = await near.endpoint(sock)
        port = transport.get_extra_info("sockname")[1]
        to, mac = (GROUP, group_mac(GROUP)) if address == GROUP else (address or NEAR, None)
        last = Station(near.link.near.mac(), near.link.far.mac()).udp("the last one", to=to, mac=mac)[1]
        for make in [*frames.values(), last]:
            raw.send(make(port))
            raw.send(make(control.getsockname()[1]))
            await asyncio.sleep(0)
        for _ in range(500):
            await asyncio.sleep(0.01)
            if b"the last one" in inbox.payloads():
                break
        await asyncio.sleep(0.05)
        transport.close()
        received = {(data, address) for data, address in waiting(control)}
        return received, set(inbox.received)


@pytest.mark.parametrize("address", ["", NEAR, GROUP, "198.18.7.255"])
@pytest.mark.parametrize("driver", DRIVERS)
def test_datagrams(link: Link, station: Station, driver: str, address: str) -> None:
    frames = station.all_udp()
    with near_loop(link, driver, spin="never") as near:
        kernel, stack = near.run(both(near, address, frames))
        assert near.frames() >= 5
    assert (b"the last one", (FAR, 4000)) in kernel
    assert stack - kernel == set(), "the kernel refuses them"
    assert kernel - stack == set(), "the kernel takes them"


def test_datagrams_by_a_wire(link: Link, station: Station) -> None:
    """Over shm the frames come from another program of this host; the kernel's socket gets them by the link."""
    frames = dict([*station.headers(), *station.ip_options(), *station.lengths()])
    name = f"odd{os.getpid()}"

    async def main() -> None:
        raw, _ = await near.loop.create_ethernet_endpoint(EthernetProtocol, f"{name}@{FAR}")
        transport, inbox = await near.endpoint(bound(NEAR))
        with bound(NEAR) as control, link.far.raw() as far:
            for make in frames.values():
                raw.send(make(transport.get_extra_info("sockname")[1]))
                far.send(make(control.getsockname()[1]))
                await asyncio.sleep(0)
            await asyncio.sleep(0.1)
            assert set(inbox.received) == set(waiting(control))
        assert (b"as it should be", (FAR, 4000)) in inbox.received
        transport.close()
        raw.close()
        await asyncio.sleep(0)

    with near_loop(link, "shm", interface=f"{name}@{NEAR}", spin="never") as near:
        near.run(main())


def answers_of(received: list[bytes]) -> dict[int, set[tuple[Any, ...]]]:
    """Return the answers by the port they answer: flags, acknowledgement, options."""
    answers: dict[int, set[tuple[Any, ...]]] = {}
    for frame in received:
        if frame[12:14] != b"\x08\0" or frame[23] != 6 or frame[30:34] != socket.inet_aton(CLIENT):
            continue
        tcp = frame[34:]
        _, to, _, acknowledged, words, flags = struct.unpack("!HHIIBB", tcp[:14])
        options = tcp[20 : (words >> 4) * 4]
        answers.setdefault(to, set()).add((flags & ~ECE, acknowledged, kinds_of(options)))
    return answers


def kinds_of(options: bytes) -> tuple[int, ...]:
    kinds = []
    while options:
        step = 1 if options[0] < 2 else options[1]
        if options[0] > 1:
            kinds.append(options[0])
        options = options[step:]
    return tuple(sorted(kinds))


async def answers(near: NearLoop, station: Station, port: int) -> dict[str, set[tuple[Any, ...]]]:
    cases = tcp_cases()
    numbers = {}
    with near.link.far.raw() as raw:
        for number, (name, (segment, ip)) in enumerate(cases.items()):
            numbers[segment.get("source_port", 20_000 + number)] = name
            raw.send(station.tcp(number, CLIENT, dict(segment), dict(ip))(port))
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.2)
        raw.setblocking(False)
        received = [frame for frame, _ in waiting(raw)]
    return {numbers[to]: found for to, found in answers_of(received).items()}


@pytest.mark.parametrize("driver", DRIVERS)
def test_connection_requests(link: Link, station: Station, driver: str) -> None:
    mac = ":".join(f"{byte:02x}" for byte in link.far.mac())
    link.near.ip("neighbour", "replace", CLIENT, "lladdr", mac, "dev", "veth0", "nud", "permanent")

    async def main() -> None:
        server = await asyncio.start_server(lambda *_: None, "0.0.0.0", 0)
        port = server.sockets[0].getsockname()[1]
        assert near.frames() == 0
        stack = await answers(near, station, port)
        assert near.frames() > len(tcp_cases()) // 2
        with socket.create_server(("0.0.0.0", 0)) as control:
            kernel = await answers(near, station, control.getsockname()[1])
        server.close()
        await server.wait_closed()
        assert kernel["plain"] == {(0x12, 1001, (2,))}
        assert {name: stack.get(name) for name in tcp_cases()} == {name: kernel.get(name) for name in tcp_cases()}

    with near_loop(link, driver, spin="never") as near:
        near.run(main())
