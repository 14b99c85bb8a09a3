"""The interface's addresses come and go while sockets are open; a kernel socket beside them is the control."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import Any

import pytest
from beside import DRIVERS
from harness.frames import ethernet, ipv4_packet, udp_datagram
from harness.link import FAR, INTERFACE, NEAR, Link
from near_loop import Inbox, NearLoop, bound, near_loop, waiting


class Receivers:
    """A transport of the stack and a socket of the kernel, both bound to any address."""

    def __init__(self, near: NearLoop, control: socket.socket, transport: Any, inbox: Inbox) -> None:
        self.near, self.control, self.transport, self.inbox = near, control, transport, inbox
        self.macs = near.link.near.mac(), near.link.far.mac()
        self.ports = transport.get_extra_info("sockname")[1], control.getsockname()[1]

    async def take(self, *addresses: str, mac: bytes | None = None) -> tuple[set[bytes], set[bytes], int]:
        """Send a datagram to each address; return those that each has received, and the number of frames from the
        driver."""
        before = self.near.frames()
        self.inbox.received.clear()
        with self.near.link.far.raw() as raw:
            for address in (*addresses, NEAR):
                for port in self.ports:
                    datagram = udp_datagram((FAR, address), (4000, port), address.encode())
                    macs = (self.macs[0] if mac is None or address == NEAR else mac, self.macs[1])
                    raw.send(ethernet(macs, ipv4_packet((FAR, address), 17, datagram)))
                await asyncio.sleep(0)
        for _ in range(300):
            await asyncio.sleep(0.005)
            if NEAR.encode() in self.inbox.payloads():
                break
        await asyncio.sleep(0.02)
        kernel = {data for data, _ in waiting(self.control)}
        skip = NEAR.encode()
        return set(self.inbox.payloads()) - {skip}, kernel - {skip}, self.near.frames() - before


async def receivers(near: NearLoop) -> Receivers:
    transport, inbox = await near.endpoint(bound())
    control = bound()
    return Receivers(near, control, transport, inbox)


def as_bytes(*addresses: str) -> set[bytes]:
    return {address.encode() for address in addresses}


def run_with_receivers(link: Link, driver: str, main: Any) -> None:
    async def whole() -> None:
        both = await receivers(near)
        try:
            await main(both)
        finally:
            both.transport.close()
            both.control.close()

    with near_loop(link, driver, spin="never") as near:
        near.run(whole())


async def agreed(both: Receivers, *addresses: str, mac: bytes | None = None) -> tuple[set[bytes], int]:
    """Return the datagrams that both receive once the stack has heard of the last change."""
    for _ in range(50):
        stack, kernel, frames = await both.take(*addresses, mac=mac)
        if stack == kernel:
            return kernel, frames
        await asyncio.sleep(0.02)
    raise AssertionError(f"the kernel: {sorted(kernel)}, the stack: {sorted(stack)}")


def change(link: Link, *lines: str) -> None:
    for line in lines:
        link.near.ip(*f"address {line} dev {INTERFACE}".split())


@pytest.mark.parametrize("driver", DRIVERS)
def test_more_addresses_than_a_few(link: Link, driver: str) -> None:
    """Some addresses were there before; all of them are served past the kernel."""
    addresses = [f"198.18.{10 + i // 100}.{i % 100 + 1}" for i in range(150)]
    change(link, *(f"add {address}/32" for address in addresses[:100]))

    async def main(both: Receivers) -> None:
        await asyncio.sleep(0.1)
        received, frames = await agreed(both, *addresses)
        assert received == as_bytes(*addresses[:100])
        assert frames >= 100
        change(link, *(f"add {address}/32" for address in addresses[100:]))
        change(link, *(f"del {address}/32" for address in addresses[:50:2]))
        await asyncio.sleep(0.1)
        left = [address for address in addresses if address not in addresses[:50:2]]
        received, frames = await agreed(both, *addresses)
        assert received == as_bytes(*left)
        assert frames >= len(left)

    run_with_receivers(link, driver, main)


@pytest.mark.parametrize("promote", [False, True])
@pytest.mark.parametrize("driver", DRIVERS)
def test_secondary_addresses_go_with_the_first_or_are_promoted(link: Link, driver: str, promote: bool) -> None:
    with link.near.entered():
        Path("/proc/sys/net/ipv4/conf/all/promote_secondaries").write_text(str(int(promote)))
    change(link, "add 10.5.0.1/24", "add 10.5.0.2/24", "add 10.5.0.3/24")
    addresses = ["10.5.0.1", "10.5.0.2", "10.5.0.3", "10.5.0.4"]

    async def main(both: Receivers) -> None:
        assert (await agreed(both, *addresses))[0] == as_bytes(*addresses[:3])
        change(link, "del 10.5.0.1/24")
        await asyncio.sleep(0.05)
        assert (await agreed(both, *addresses))[0] == (as_bytes(*addresses[1:3]) if promote else set())
        change(link, "add 10.5.0.4/24")
        assert b"10.5.0.4" in (await agreed(both, *addresses))[0]

    run_with_receivers(link, driver, main)


@pytest.mark.parametrize("driver", DRIVERS)
def test_one_address_in_several_subnets_with_a_label_and_with_a_peer(link: Link, driver: str) -> None:
    """Linux distinguishes the same address with another prefix or another peer. The address exists as long as one of
    them does."""
    change(link, "add 10.6.0.1/24 label veth0:x", "add 10.6.0.1/32", "add 10.6.0.1 peer 10.6.9.9/32")

    async def main(both: Receivers) -> None:
        for gone in ("10.6.0.1/24", "10.6.0.1/32"):
            assert (await agreed(both, "10.6.0.1", "10.6.9.9"))[0] == as_bytes("10.6.0.1")
            change(link, f"del {gone}")
            await asyncio.sleep(0.05)
        assert (await agreed(both, "10.6.0.1", "10.6.9.9"))[0] == as_bytes("10.6.0.1")
        change(link, "del 10.6.0.1 peer 10.6.9.9/32")
        await asyncio.sleep(0.05)
        assert (await agreed(both, "10.6.0.1", "10.6.9.9"))[0] == set()

    run_with_receivers(link, driver, main)


@pytest.mark.parametrize("driver", DRIVERS)
def test_broadcast_addresses_follow(link: Link, driver: str) -> None:
    """The highest address of a subnet is a broadcast address, given or not; the peer's subnet counts, and /31 has
    none."""
    everybody = b"\xff" * 6
    addresses = ["10.7.0.255", "10.7.0.127", "10.8.1.255", "10.9.0.1", "255.255.255.255"]
    change(link, "add 10.7.0.1/24 brd 10.7.0.127", "add 10.8.0.1 peer 10.8.1.1/24", "add 10.9.0.0/31")

    async def main(both: Receivers) -> None:
        received, _ = await agreed(both, *addresses, mac=everybody)
        assert received == as_bytes("10.7.0.255", "10.7.0.127", "10.8.1.255", "255.255.255.255")
        change(link, "del 10.7.0.1/24")
        await asyncio.sleep(0.05)
        received, _ = await agreed(both, *addresses, mac=everybody)
        assert received == as_bytes("10.8.1.255", "255.255.255.255")

    run_with_receivers(link, driver, main)


@pytest.mark.parametrize("driver", DRIVERS)
def test_nothing_comes_from_an_address_of_this_host(link: Link, driver: str) -> None:
    """Addresses of another interface count too, and those of one that came after the loop; accept_local allows them."""
    sources = ["10.10.0.1", "10.11.0.1"]
    link.near.ip("link", "add", "other0", "type", "veth", "peer", "name", "other1")
    link.near.ip("address", "add", "10.10.0.1/24", "dev", "other0")

    async def main(both: Receivers) -> None:
        assert await received_by_both(both) == as_bytes("10.11.0.1")
        link.near.ip("address", "add", "10.11.0.1/24", "dev", "other0")
        await asyncio.sleep(0.05)
        assert await received_by_both(both) == set()
        Path("/proc/sys/net/ipv4/conf/all/accept_local").write_text("1")
        await asyncio.sleep(1.1)
        assert await received_by_both(both) == as_bytes(*sources)

    async def received_by_both(both: Receivers) -> set[bytes]:
        both.inbox.received.clear()
        with link.far.raw() as raw:
            for source in sources:
                for port in both.ports:
                    datagram = udp_datagram((source, NEAR), (4000, port), source.encode())
                    raw.send(ethernet(both.macs, ipv4_packet((source, NEAR), 17, datagram)))
        await asyncio.sleep(0.1)
        kernel = {data for data, _ in waiting(both.control)}
        assert set(both.inbox.payloads()) == kernel
        return kernel

    run_with_receivers(link, driver, main)
