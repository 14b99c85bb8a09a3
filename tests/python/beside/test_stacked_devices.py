"""Devices on other devices: the stack works on them beside other programs, or its refusal names the alternative."""

from __future__ import annotations

import asyncio
import random
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
import stacked
from harness.link import FAR, Link, Side
from stacked import Device, Maker

import sfloop

DRIVERS = ("af_xdp", "packet")
WORKING: list[Maker] = [stacked.veth, stacked.vlan, stacked.vxlan, stacked.tap]
#: The kernel removes VLAN tags from their frames, and only the packet driver sees these.
TAGS_OUT: list[Maker] = [stacked.bridge, stacked.macvlan, stacked.ipvlan]
REFUSED = [
    (stacked.loopback, "loopback device: the kernel stack serves it"),
    (stacked.tun, "not an Ethernet .* a tap device"),
    (stacked.dummy, "is a dummy"),
    (stacked.port_of_bridge, "is a port of 'br0'.*name 'br0' instead"),
    (stacked.port_of_bond, "is a port of 'bond0'.*name 'bond0' instead"),
]
REFUSED_BY_AF_XDP = [
    (stacked.bond, "is a bond.*packet driver.*veth0"),
    *((make, "VLAN tags.*packet driver") for make in TAGS_OUT),
]
PAYLOADS = [random.Random(size).randbytes(size) for size in (1, 100, 1000, 1300)]


def open_loop(link: Link, device: Device, driver: str) -> sfloop.Loop:
    with link.near.entered():
        return sfloop.Loop(sfloop.Options(driver=driver, interface=device.name, fallback="error"))


@contextmanager
def kernel_echo(side: Side, address: str) -> Iterator[int]:
    """Run another program's UDP and TCP echoes at one port until the test ends; yield the port."""
    stop = threading.Event()
    with side.udp(0, address) as datagrams, side.socket(socket.SOCK_STREAM) as listener:
        port: int = datagrams.getsockname()[1]
        listener.bind((address, port))
        listener.listen()
        for sock in (datagrams, listener):
            sock.settimeout(0.1)

        def serve_datagrams() -> None:
            while not stop.is_set():
                try:
                    data, sender = datagrams.recvfrom(65536)
                except TimeoutError:
                    continue
                datagrams.sendto(data, sender)

        def serve_streams() -> None:
            while not stop.is_set():
                try:
                    conn, _ = listener.accept()
                except TimeoutError:
                    continue
                with conn:
                    conn.settimeout(5)
                    while data := conn.recv(65536):
                        conn.sendall(data)

        threads = [threading.Thread(target=target) for target in (serve_datagrams, serve_streams)]
        for thread in threads:
            thread.start()
        try:
            yield port
        finally:
            stop.set()
            for thread in threads:
                thread.join()


class Echo(asyncio.DatagramProtocol):
    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.transport.sendto(data, addr)


class Inbox(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self.received: asyncio.Queue[bytes] = asyncio.Queue()

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.received.put_nowait(data)


async def echo_stream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
    writer.close()


def ask_datagrams(sock: socket.socket) -> None:
    """Ask an echo with a connected kernel socket."""
    for payload in PAYLOADS:
        for _ in range(5):
            sock.send(payload)
            try:
                assert sock.recv(65536) == payload
                break
            except TimeoutError:  # the neighbour may not be known yet
                continue
        else:
            pytest.fail(f"no echo of {len(payload)} bytes")


def ask_stream(sock: socket.socket) -> None:
    for payload in PAYLOADS:
        sock.sendall(payload)
        got = b""
        while len(got) < len(payload):
            got += sock.recv(65536)
        assert got == payload


def ask(side: Side, address: str, port: int) -> None:
    """Ask both echoes at the port, as another program."""
    with side.socket() as datagrams, side.socket(socket.SOCK_STREAM) as stream:
        datagrams.settimeout(1)
        datagrams.connect((address, port))
        ask_datagrams(datagrams)
        stream.settimeout(5)
        stream.connect((address, port))
        ask_stream(stream)


async def client(loop: sfloop.Loop, device: Device, port: int) -> None:
    """Ask the peer's echoes with the stack's own sockets."""
    transport, inbox = await loop.create_datagram_endpoint(Inbox, remote_addr=(device.peer, port))
    for payload in PAYLOADS:
        for _ in range(10):
            transport.sendto(payload)
            try:
                assert await asyncio.wait_for(inbox.received.get(), 0.5) == payload
                break
            except asyncio.TimeoutError:
                continue
        else:
            pytest.fail(f"no echo of {len(payload)} bytes")
    assert transport.get_extra_info("stack") == "tcpip"
    transport.close()
    reader, writer = await asyncio.open_connection(device.peer, port)
    assert writer.get_extra_info("stack") == "tcpip"
    for payload in PAYLOADS:
        writer.write(payload)
        assert await reader.readexactly(len(payload)) == payload
    writer.close()


async def everybody(loop: sfloop.Loop, link: Link, device: Device) -> None:
    with kernel_echo(link.far, device.peer) as far_port, kernel_echo(link.near, device.address) as near_port:
        await client(loop, device, far_port)
        transport, _ = await loop.create_datagram_endpoint(Echo, local_addr=(device.address, 0))
        port = transport.get_extra_info("sockname")[1]
        server = await asyncio.start_server(echo_stream, device.address, port)
        before = loop.stats()["stacks"]["tcpip"]["driver"]["rx_frames"]
        await asyncio.to_thread(ask, link.far, device.address, port)
        assert loop.stats()["stacks"]["tcpip"]["driver"]["rx_frames"] >= before + 2 * len(PAYLOADS)
        await asyncio.to_thread(ask, link.far, device.address, near_port)
        await asyncio.to_thread(ask, link.near, device.peer, far_port)
        transport.close()
        server.close()


@pytest.mark.parametrize(
    ("make", "driver"),
    [
        *((make, driver) for make in WORKING for driver in DRIVERS),
        *((make, "packet") for make in [*TAGS_OUT, stacked.bond]),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_the_stack_and_other_programs_work(link: Link, make: Maker, driver: str) -> None:
    with ExitStack() as stack:
        device = make(link, stack)
        loop = open_loop(link, device, driver)
        stack.callback(loop.close)
        with link.near.entered():
            loop.run_until_complete(asyncio.wait_for(everybody(loop, link, device), 25))


@pytest.mark.parametrize(
    ("make", "words", "driver"),
    [
        *((*refused, driver) for refused in REFUSED for driver in DRIVERS),
        *((*refused, "af_xdp") for refused in REFUSED_BY_AF_XDP),
    ],
    ids=lambda value: getattr(value, "__name__", value if value in DRIVERS else ""),
)
def test_the_refusal_names_what_to_use(link: Link, make: Maker, words: str, driver: str) -> None:
    with ExitStack() as stack:
        device = make(link, stack)
        with pytest.raises(OSError, match=words):
            open_loop(link, device, driver).close()


@pytest.mark.parametrize("make", TAGS_OUT)
def test_the_driver_that_sees_vlan_tags_is_chosen(link: Link, make: Maker) -> None:
    with ExitStack() as stack:
        device = make(link, stack)
        with link.near.entered():
            loop = sfloop.Loop(sfloop.Options(interface=device.name, fallback="error"))
            stack.callback(loop.close)
        assert loop.describe()["driver"]["name"] == "packet"


@pytest.mark.parametrize("driver", DRIVERS)
def test_an_interface_becomes_a_port_while_the_loop_runs(link: Link, driver: str) -> None:
    """From then on the kernel carries the loop's connections."""
    with ExitStack() as stack:
        loop = open_loop(link, stacked.veth(link, stack), driver)
        stack.callback(loop.close)
        device = stacked.bridge(link, stack)
        with kernel_echo(link.far, device.peer) as port, link.near.entered():

            async def main() -> None:
                await asyncio.sleep(0.05)
                reader, writer = await asyncio.open_connection(device.peer, port)
                assert writer.get_extra_info("stack") == "kernel"
                writer.write(b"by the bridge")
                assert await reader.readexactly(13) == b"by the bridge"
                writer.close()
                link.near.set_link("nomaster")
                link.near.ip("link", "del", "br0")
                link.near.ip("address", "add", f"{device.address}/24", "dev", "veth0")
                await asyncio.sleep(0.1)
                reader, writer = await asyncio.open_connection(device.peer, port)
                assert writer.get_extra_info("stack") == "tcpip"
                writer.close()

            loop.run_until_complete(asyncio.wait_for(main(), 20))


class Frames(sfloop.ethernet.EthernetProtocol):
    def __init__(self) -> None:
        self.received: asyncio.Queue[bytes] = asyncio.Queue()

    def frame_received(self, frame: memoryview, timestamp: int) -> None:
        self.received.put_nowait(bytes(frame))


@pytest.mark.parametrize("driver", DRIVERS)
def test_raw_frames_of_a_port_are_taken(link: Link, driver: str) -> None:
    flow = sfloop.ethernet.Flow("udp", ("239.1.2.3", 7001))

    async def main(loop: sfloop.Loop) -> None:
        transport, frames = await loop.create_ethernet_endpoint(
            Frames, "veth0", driver=driver, **({"sniff": True} if driver == "packet" else {"filters": [flow]})
        )
        with link.far.socket() as sender:
            sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(FAR))
            sender.sendto(b"to a group", ("239.1.2.3", 7001))
        while b"to a group" not in await asyncio.wait_for(frames.received.get(), 5):
            pass
        transport.close()

    with ExitStack() as stack:
        stacked.port_of_bridge(link, stack)
        loop = sfloop.Loop(sfloop.Options(stack="kernel"))
        stack.callback(loop.close)
        with link.near.entered():
            loop.run_until_complete(main(loop))
