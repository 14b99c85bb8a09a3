"""The datagrams to groups that a socket receives (ip_mc_sf_allow), by the stack and by the kernel."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from beside import DRIVERS
from harness.frames import ethernet, group_mac, ipv4_packet, udp_datagram
from harness.link import FAR, INTERFACE, NEAR, Link
from near_loop import IP_MULTICAST_ALL, Inbox, NearLoop, bound, near_loop, waiting

from sfloop import multicast

GROUP, OTHER_GROUP = "239.255.8.8", "239.255.8.9"
MCAST_JOIN_GROUP, MCAST_BLOCK_SOURCE, MCAST_UNBLOCK_SOURCE, MCAST_LEAVE_GROUP = 42, 43, 44, 45
MCAST_JOIN_SOURCE_GROUP, MCAST_LEAVE_SOURCE_GROUP = 46, 47
SOURCES = [f"198.18.7.{100 + i}" for i in range(100)]
Change = Callable[[Any], None]


def group_request(group: str, source: str | None = None) -> bytes:
    addresses = [group] if source is None else [group, source]
    packed = (struct.pack("=HH4s120x", socket.AF_INET, 0, socket.inet_aton(address)) for address in addresses)
    return struct.pack("@I0P", socket.if_nametoindex(INTERFACE)) + b"".join(packed)


def set_option(option: int, value: bytes | int) -> Change:
    return lambda sock: sock.setsockopt(socket.IPPROTO_IP, option, value)


def by_address(group: str = GROUP) -> Change:
    return set_option(socket.IP_ADD_MEMBERSHIP, socket.inet_aton(group) + socket.inet_aton(NEAR))


def by_index(option: int = socket.IP_ADD_MEMBERSHIP, group: str = GROUP) -> Change:
    return lambda sock: sock.setsockopt(
        socket.IPPROTO_IP, option, struct.pack("=4s4xi", socket.inet_aton(group), socket.if_nametoindex(INTERFACE))
    )


def by_request(option: int, source: str | None = None, group: str = GROUP) -> Change:
    return lambda sock: sock.setsockopt(socket.IPPROTO_IP, option, group_request(group, source))


class Pair:
    """A transport of the stack and a socket of the kernel, bound alike but for the port."""

    def __init__(
        self, near: NearLoop, control: socket.socket, sock: socket.socket, transport: Any, inbox: Inbox
    ) -> None:
        self.near, self.control, self.sock, self.transport, self.inbox = near, control, sock, transport, inbox
        self.ports = transport.get_extra_info("sockname")[1], control.getsockname()[1]
        self.far_mac = near.link.far.mac()

    def both(self, *changes: Change) -> None:
        """Apply the changes on the program's own socket, without a call to the loop."""
        for change in changes:
            change(self.control)
            change(self.sock)

    def send(self, sources: list[str], groups: tuple[str, ...] = (GROUP,)) -> None:
        with self.near.link.far.raw() as raw:
            for group in groups:
                for source in sources:
                    for port in self.ports:
                        datagram = udp_datagram((source, group), (4000, port), f"{source} {group}".encode())
                        macs = (group_mac(group), self.far_mac)
                        raw.send(ethernet(macs, ipv4_packet((source, group), 17, datagram)))

    def of_the_kernel(self) -> set[bytes]:
        return {data for data, _ in waiting(self.control)}

    async def received(self, sources: list[str], groups: tuple[str, ...] = (GROUP,)) -> tuple[set[bytes], set[bytes]]:
        self.inbox.received.clear()
        self.of_the_kernel()
        self.send(sources, groups)
        await asyncio.sleep(0.05)
        return set(self.inbox.payloads()), self.of_the_kernel()

    async def agreed(
        self, sources: list[str], groups: tuple[str, ...] = (GROUP,), *, within: float = 0.8
    ) -> set[bytes]:
        """Return the datagrams that both receive, once they agree: after 100 ms, and later on a busy machine."""
        began = self.near.loop.time()
        while True:
            stack, kernel = await self.received(sources, groups)
            took = self.near.loop.time() - began
            if stack == kernel:
                return kernel
            assert took < within, f"the kernel: {sorted(kernel)}, the stack: {sorted(stack)}"


async def opened(near: NearLoop, address: str, *changes: Change, multicast_all: bool = True) -> Pair:
    sock, control = bound(address, multicast_all=multicast_all), bound(address, multicast_all=multicast_all)
    for change in changes:
        change(sock)
        change(control)
    transport, inbox = await near.endpoint(sock)
    return Pair(near, control, sock, transport, inbox)


def run(link: Link, driver: str, main: Callable[[NearLoop], Any], **options: Any) -> None:
    with near_loop(link, driver, **({"spin": "never"} | options)) as near:
        near.run(main(near))


def close(pair: Pair) -> None:
    pair.transport.close()
    pair.control.close()


def texts(sources: list[str], group: str = GROUP) -> set[bytes]:
    return {f"{source} {group}".encode() for source in sources}


WAYS: dict[str, list[Change]] = {
    "an address": [by_address()],
    "an index": [by_index()],
    "MCAST_JOIN_GROUP": [by_request(MCAST_JOIN_GROUP)],
    "two sources": [by_request(MCAST_JOIN_SOURCE_GROUP, source) for source in SOURCES[:2]],
    "all but two sources": [
        by_request(MCAST_JOIN_GROUP),
        *(by_request(MCAST_BLOCK_SOURCE, source) for source in SOURCES[:2]),
    ],
    "multicast.join": [lambda sock: multicast.join(sock, GROUP, interface=INTERFACE)],
    "multicast.join, a source": [lambda sock: multicast.join(sock, GROUP, interface=INTERFACE, source=SOURCES[1])],
    "not at all": [],
}


@pytest.mark.parametrize("address", [GROUP, ""])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("driver", DRIVERS)
def test_ways_of_joining(link: Link, driver: str, way: str, address: str) -> None:
    async def main(near: NearLoop) -> None:
        pair = await opened(near, address, *WAYS[way])
        groups = (GROUP, OTHER_GROUP)
        kernel = await pair.agreed(SOURCES[:4], groups)
        before = near.frames()
        assert await pair.agreed(SOURCES[:4], groups) == kernel
        if way != "not at all":
            assert kernel
            assert near.frames() >= before + len(kernel)
        close(pair)

    run(link, driver, main)


@pytest.mark.parametrize("driver", DRIVERS)
def test_an_interface_without_an_address(link: Link, driver: str) -> None:
    """The port only captures, and groups are joined by its index."""
    link.near.ip("address", "flush", "dev", INTERFACE)

    async def main(near: NearLoop) -> None:
        for address in (GROUP, ""):
            for join in (by_index(), by_request(MCAST_JOIN_GROUP), by_request(MCAST_JOIN_SOURCE_GROUP, FAR)):
                pair = await opened(near, address, join, multicast_all=False)
                await pair.agreed([FAR])
                before = near.frames()
                assert await pair.agreed([FAR]) == texts([FAR])
                assert near.frames() > before
                close(pair)

    run(link, driver, main)


@pytest.mark.parametrize("multicast_all", [True, False])
@pytest.mark.parametrize("driver", DRIVERS)
def test_what_others_have_joined(link: Link, driver: str, multicast_all: bool) -> None:
    """IP_MULTICAST_ALL: a socket that is no member receives the host's datagrams, through the members' filters."""
    with link.near.entered():
        other = bound(port=1234)

    async def main(near: NearLoop) -> None:
        pair = await opened(near, GROUP, multicast_all=multicast_all)
        seen = []
        for change in (
            by_request(MCAST_JOIN_SOURCE_GROUP, SOURCES[0]),
            by_request(MCAST_JOIN_SOURCE_GROUP, SOURCES[1]),
            by_request(MCAST_LEAVE_GROUP),
            by_address(),
            by_request(MCAST_BLOCK_SOURCE, SOURCES[1]),
        ):
            change(other)
            seen.append(len(await pair.agreed(SOURCES[:3])))
        assert seen == ([1, 2, 0, 3, 2] if multicast_all else [0] * 5)
        pair.both(set_option(IP_MULTICAST_ALL, int(not multicast_all)))
        assert len(await pair.agreed(SOURCES[:3])) == (0 if multicast_all else 2)
        pair.both(by_index())  # a membership of its own, without a filter
        assert len(await pair.agreed(SOURCES[:3])) == 3
        close(pair)

    with other:
        run(link, driver, main)


@pytest.mark.parametrize("driver", DRIVERS)
def test_more_sources_than_64(link: Link, driver: str) -> None:
    with link.near.entered():
        Path("/proc/sys/net/ipv4/igmp_max_msf").write_text("100")

    async def main(near: NearLoop) -> None:
        pair = await opened(near, GROUP, *(by_request(MCAST_JOIN_SOURCE_GROUP, source) for source in SOURCES[:90]))
        assert await pair.agreed(SOURCES) == texts(SOURCES[:90])
        pair.both(*(by_request(MCAST_LEAVE_SOURCE_GROUP, source) for source in SOURCES[:5]))
        assert await pair.agreed(SOURCES) == texts(SOURCES[5:90])
        pair.both(by_request(MCAST_LEAVE_GROUP), by_address())
        pair.both(*(by_request(MCAST_BLOCK_SOURCE, source) for source in SOURCES[20:]))
        assert await pair.agreed(SOURCES) == texts(SOURCES[:20])
        close(pair)

    run(link, driver, main)


@pytest.mark.parametrize("alone", [True, False])
@pytest.mark.parametrize("spin", ["never", "adaptive"])
@pytest.mark.parametrize("driver", DRIVERS)
def test_joins_and_leaves_are_seen_soon(link: Link, driver: str, spin: str, alone: bool) -> None:
    """The program's own socket joins without a call to the loop: seen within 100 ms and the time of this check. When
    another program is a member too, the kernel does not report it."""
    with link.near.entered():
        other = bound(port=1234)
        if not alone:
            by_address()(other)

    async def main(near: NearLoop) -> None:
        pair = await opened(near, GROUP, multicast_all=False)
        leave = by_index(socket.IP_DROP_MEMBERSHIP)
        for change, expected in ((by_index(), 1), (leave, 0), (by_index(), 1), (leave, 0)):
            pair.both(change)
            assert len(await pair.agreed([FAR])) == expected
        close(pair)

    with other:
        run(link, driver, main, spin=spin)


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_leave_by_the_transport_is_seen_at_once(link: Link, driver: str) -> None:
    async def main(near: NearLoop) -> None:
        pair = await opened(near, GROUP, by_index(), multicast_all=False)
        assert await pair.agreed([FAR]) == texts([FAR])
        for _ in range(3):
            multicast.leave(pair.transport, GROUP, interface=INTERFACE)
            assert (await pair.received([FAR]))[0] == set()
            multicast.join(pair.transport, GROUP, interface=INTERFACE)
            assert (await pair.received([FAR]))[0] == texts([FAR])
        close(pair)

    run(link, driver, main)


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_socket_that_is_connected_hears_its_peer_alone(link: Link, driver: str) -> None:
    async def main(near: NearLoop) -> None:
        pair = await opened(near, GROUP, by_address(), lambda sock: sock.connect((SOURCES[0], 4000)))
        assert await pair.agreed(SOURCES[:3]) == texts(SOURCES[:1])
        close(pair)

    run(link, driver, main)


@pytest.mark.parametrize("driver", DRIVERS)
def test_more_groups_than_a_few_on_one_socket(link: Link, driver: str) -> None:
    groups = tuple(f"239.255.9.{i}" for i in range(1, 40))
    with link.near.entered():
        Path("/proc/sys/net/ipv4/igmp_max_memberships").write_text("100")

    async def main(near: NearLoop) -> None:
        pair = await opened(near, "", *(by_index(group=group) for group in groups[:30]), multicast_all=False)
        expected = {text for group in groups[:30] for text in texts(SOURCES[:2], group)}
        for _ in range(3):
            assert await pair.agreed(SOURCES[:2], groups) == expected
        close(pair)

    run(link, driver, main)
