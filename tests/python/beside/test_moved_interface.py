"""The loop's interface moves to another network namespace, or is deleted: no object of the loop goes with it."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import time
from contextlib import AbstractContextManager
from typing import Any

import pytest
from harness.link import INTERFACE, NEAR, Link, Side, namespace_of

import sfloop
from sfloop.ethernet import EthernetProtocol, Flow

PORT = 5900
opened: list[Any] = []  # transports


class Echo(asyncio.DatagramProtocol):
    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.transport.sendto(data, addr)


def other_namespace(link: Link) -> AbstractContextManager[Side]:
    return namespace_of(Side(f"{link.near.namespace}-other", NEAR))


def bring_up(side: Side) -> None:
    side.ip("address", "add", f"{NEAR}/24", "dev", INTERFACE)
    side.set_link("up")


def programs_on(side: Side) -> str:
    """Return the lines of `ip -d link` about XDP programs on the interface."""
    command = ["ip", "-n", side.namespace, "-d", "link", "show", "dev", INTERFACE]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return "\n".join(line for line in shown.splitlines() if "prog" in line or "xdp" in line)


def echoes(link: Link, side: Side) -> bool:
    """Return whether a plain socket on the moved interface receives the datagrams for the loop's port."""
    with side.udp(PORT, NEAR) as plain, link.far.udp() as client:
        for i in range(5):
            client.sendto(b"%d" % i, (NEAR, PORT))
        plain.settimeout(2)
        return [plain.recv(10) for _ in range(5)] == [b"0", b"1", b"2", b"3", b"4"]


async def gone(loop: Any, limit: float = 5.0) -> None:
    """Wait until sends go by the kernel, because the stack has stopped using the driver."""
    started = time.monotonic()
    while not await refused(loop):
        assert time.monotonic() - started < limit
        await asyncio.sleep(0.001)


async def refused(loop: Any) -> bool:
    """Return whether the stack refuses a new socket, as it refuses all when its driver is dead."""
    transport, _ = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, local_addr=("0.0.0.0", 0))
    name = transport.get_extra_info("stack")
    transport.close()
    return bool(name == "kernel")


def open_loop(link: Link, driver: str, spin: str) -> sfloop.Loop:
    with link.near.entered():
        options = sfloop.Options(driver=driver, interface=INTERFACE, spin=spin, fallback="error")  # type: ignore[arg-type]
        return sfloop.Loop(options)


async def serve_once(loop: Any, link: Link) -> Any:
    transport, _ = await loop.create_datagram_endpoint(Echo, local_addr=("0.0.0.0", PORT))
    opened.append(transport)
    with link.far.udp() as client:
        client.setblocking(False)
        for _ in range(5):
            client.sendto(b"x", (NEAR, PORT))
            try:
                await asyncio.wait_for(loop.sock_recv(client, 10), 1)
                break
            except TimeoutError:
                continue
        else:
            pytest.fail("the echo does not answer")
    return transport


def run(loop: Any, main: Any) -> None:
    """Run to the end, then close the opened transports and the loop."""

    async def close_all() -> None:
        while opened:
            opened.pop().abort()
        await asyncio.sleep(0.01)

    try:
        loop.run_until_complete(asyncio.wait_for(main, 20))
    finally:
        loop.run_until_complete(close_all())
        loop.close()


KINDS = [("af_xdp", "adaptive"), ("af_xdp", "never"), ("packet", "adaptive"), ("packet", "never")]


@pytest.mark.parametrize(("driver", "spin"), KINDS)
def test_moved(link: Link, driver: str, spin: str) -> None:
    loop = open_loop(link, driver, spin)

    async def main() -> None:
        with other_namespace(link) as other:
            await serve_once(loop, link)
            await loop.run_in_executor(None, link.near.set_link, "netns", other.namespace)
            await asyncio.sleep(0.02)
            assert programs_on(other) == ""
            await gone(loop)
            await loop.run_in_executor(None, bring_up, other)
            assert await loop.run_in_executor(None, echoes, link, other)
            assert loop.stats()["stacks"]["tcpip"]["driver"]["rx_frames"] < 5

    with link.near.entered():
        run(loop, main())


@pytest.mark.parametrize("driver", ["af_xdp", "packet"])
def test_another_of_the_same_name_and_index(link: Link, driver: str) -> None:
    """A new interface of the same name and index is not ours: the kernel serves it."""
    loop = open_loop(link, driver, "adaptive")
    with link.near.entered():
        index = socket.if_nametoindex(INTERFACE)

    def replace(other: Side) -> None:
        link.near.set_link("netns", other.namespace)
        link.far.set_link("name", "gone")
        link.near.ip(
            *["link", "add", INTERFACE, "index", str(index), "mtu", "1400", "type", "veth"],
            *["peer", "name", INTERFACE, "netns", link.far.namespace],
        )
        link.far.ip("address", "flush", "dev", "gone")
        link.far.ip("address", "add", f"{link.far.address}/24", "dev", INTERFACE)
        link.far.set_link("up")
        bring_up(link.near)

    async def main() -> None:
        with other_namespace(link) as other:
            transport = await serve_once(loop, link)
            await loop.run_in_executor(None, replace, other)
            await gone(loop)
            assert programs_on(link.near) == ""
            before = loop.stats()["stacks"]["tcpip"]["driver"]["rx_frames"]
            transport.close()
            await asyncio.sleep(0.01)
            await serve_once(loop, link)  # by the kernel
            assert loop.stats()["stacks"]["tcpip"]["driver"]["rx_frames"] == before
        again = open_loop(link, driver, "adaptive")
        again.close()

    with link.near.entered():
        run(loop, main())


@pytest.mark.parametrize("driver", ["af_xdp", "packet"])
def test_raw_frames(link: Link, driver: str) -> None:
    """An endpoint for raw frames is closed at once, and releases its interface."""
    loop: Any = sfloop.Loop(sfloop.Options(stack="kernel"))

    class Frames(EthernetProtocol):
        def connection_lost(self, exc: BaseException | None) -> None:
            self.lost.set_result(exc)

    async def main() -> None:
        with other_namespace(link) as other:
            with link.near.entered():
                transport, frames = await loop.create_ethernet_endpoint(
                    Frames, INTERFACE, driver=driver, filters=[Flow("udp", (NEAR, PORT))]
                )
            opened.append(transport)
            frames.lost = loop.create_future()
            await loop.run_in_executor(None, link.near.set_link, "netns", other.namespace)
            assert isinstance(await asyncio.wait_for(frames.lost, 5), OSError)
            assert programs_on(other) == ""
            await loop.run_in_executor(None, bring_up, other)
            assert await loop.run_in_executor(None, echoes, link, other)

    run(loop, main())
