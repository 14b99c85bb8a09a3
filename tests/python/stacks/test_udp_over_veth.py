"""asyncio's UDP on the tcpip stack over AF_XDP and AF_PACKET; at the other end of a veth pair are kernel sockets.

Each test is a whole program from opening to closing, although the first and last lines recur, because the change of the
network has its place in between.
"""

from __future__ import annotations

import asyncio
import random
import select
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import wire
from harness.frames import udp_frame
from harness.link import ETHTOOL_STXCSUM, FAR, INTERFACE, NEAR, Link
from program import Program

import sfloop

SIZES = (0, 1, 17, 64, 512, 1471, 1472, 1473, 4000, 9000, 65_507)


@contextmanager
def kernel_echo(link: Link) -> Iterator[tuple[str, int]]:
    """A UDP echo on the kernel's sockets at the far end."""
    with link.far.udp() as sock:
        stop_reader, stop_writer = socket.socketpair()

        def serve() -> None:
            while True:
                ready, _, _ = select.select([sock, stop_reader], [], [])
                if stop_reader in ready:
                    return
                data, address = sock.recvfrom(65536)
                sock.sendto(data, address)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield sock.getsockname()
        finally:
            stop_writer.send(b"x")
            thread.join()
            stop_reader.close()
            stop_writer.close()


async def echoed(inbox: wire.Inbox, transport: Any, address: Any, payload: bytes) -> None:
    transport.sendto(payload, address)
    data, _ = await inbox.get()
    assert data == payload


@pytest.mark.parametrize("offload", [True, False])
def test_a_client_of_a_kernel_echo(program: Program, offload: bool) -> None:
    program.link.set_offload(ETHTOOL_STXCSUM, offload)

    async def main(address: Any) -> None:
        transport, inbox = await program.loop.create_datagram_endpoint(wire.Inbox, remote_addr=address)
        for size in SIZES:
            await echoed(inbox, transport, None, random.Random(size).randbytes(size))
        received, sent = program.frames()
        fit = sum(size <= 1472 for size in SIZES)
        assert received >= fit
        assert sent >= fit - 2  # the first went by the kernel, which had to resolve the address
        transport.close()

    with kernel_echo(program.link) as address:
        program.run(main(address))


def test_an_echo_for_kernel_clients(program: Program) -> None:
    async def main() -> None:
        transport, echo = await program.loop.create_datagram_endpoint(wire.Echo, local_addr=(NEAR, 0))
        wire.open_transports.clear()
        port = transport.get_extra_info("sockname")[1]
        with program.link.far.udp() as client, program.link.far.udp() as other:
            for sock in (client, other):
                sock.connect((NEAR, port))
                sock.setblocking(False)
            for size in SIZES:
                for sock in (client, other):
                    payload = random.Random(size).randbytes(size)
                    sock.send(payload)
                    answer = await asyncio.wait_for(program.loop.sock_recv(sock, 65_536), 5) if size else None
                    assert answer is None or answer == payload
                    if not size:
                        while True:
                            try:
                                assert sock.recv(10) == b""
                                break
                            except BlockingIOError:
                                await asyncio.sleep(0.001)
        assert echo.received == 2 * len(SIZES)
        transport.close()

    program.run(main())


@pytest.mark.parametrize("bound", ["group", "any"])
def test_a_multicast_feed(program: Program, bound: str) -> None:
    group = "239.255.7.7"

    async def main() -> None:
        with socket.socket(type=socket.SOCK_DGRAM) as probe:
            probe.bind(("", 0))
            port = probe.getsockname()[1]
        sock = socket.socket(type=socket.SOCK_DGRAM)
        sock.setblocking(False)
        sock.bind((group if bound == "group" else "", port))
        membership = socket.inet_aton(group) + socket.inet_aton(NEAR)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)
        transport, inbox = await program.loop.create_datagram_endpoint(wire.Inbox, sock=sock)
        with program.link.far.socket() as sender:
            sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(FAR))
            for i in range(100):
                sender.sendto(b"%d" % i, (group, port))
        assert [(await inbox.get())[0] for _ in range(100)] == [b"%d" % i for i in range(100)]
        assert program.frames()[0] >= 100
        transport.close()

    program.run(main())


def test_sending_to_a_group(program: Program) -> None:
    group = "239.255.7.8"

    async def main() -> None:
        with program.link.far.udp(address=group) as receiver:
            membership = socket.inet_aton(group) + socket.inet_aton(FAR)
            receiver.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)
            transport, _ = await program.loop.create_datagram_endpoint(wire.Inbox, local_addr=(NEAR, 0))
            pseudo = transport.get_extra_info("socket")
            pseudo.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(NEAR))
            for i in range(10):
                transport.sendto(b"%d" % i, receiver.getsockname())
            assert [receiver.recv(100) for _ in range(10)] == [b"%d" % i for i in range(10)]
            transport.close()

    program.run(main())


def test_port_unreachable(program: Program) -> None:
    async def main() -> None:
        with program.link.far.udp() as sock:
            closed = sock.getsockname()
        transport, inbox = await program.loop.create_datagram_endpoint(wire.Inbox, remote_addr=closed)
        transport.sendto(b"x")
        assert isinstance(await asyncio.wait_for(inbox.errors.get(), 5), ConnectionRefusedError)
        transport.close()

    program.run(main())


def damaged(frame: bytes, at: int) -> bytes:
    return frame[:at] + bytes([frame[at] ^ 0x10]) + frame[at + 1 :]


def test_wrong_checksums_are_dropped_and_counted(program: Program) -> None:
    """Frames have complete checksums, as from another machine; one bit of the payload or of the header is wrong."""

    async def main() -> None:
        transport, inbox = await program.loop.create_datagram_endpoint(wire.Inbox, local_addr=(NEAR, 0))
        near, far = program.link.near, program.link.far
        port = transport.get_extra_info("sockname")[1]
        good = udp_frame((near.mac(), far.mac()), (FAR, 4000), (NEAR, port), b"as it was sent")
        with far.raw() as raw:
            for frame in (damaged(good, 50), good, damaged(good, 18), good):
                raw.send(frame)
        assert [(await inbox.get())[0] for _ in range(2)] == [b"as it was sent"] * 2
        await asyncio.sleep(0.02)
        assert inbox.queue.empty()
        counters = program.counters()
        assert (counters["rx_refused_udp_checksum"], counters["rx_refused_ip_checksum"]) == (1, 1)
        transport.close()

    program.run(main())


def test_the_rest_of_the_interface_is_the_kernels(program: Program) -> None:
    async def main() -> None:
        transport, _ = await program.loop.create_datagram_endpoint(wire.Inbox, local_addr=(NEAR, 0))
        with program.link.near.udp() as other, program.link.far.udp() as sender:
            sender.sendto(b"to another port", other.getsockname())
            assert other.recv(100) == b"to another port"
        ping = ["ip", "netns", "exec", program.link.far.namespace, "ping", "-c", "1", "-W", "2", NEAR]
        assert subprocess.run(ping, capture_output=True, check=False).returncode == 0
        server = await asyncio.start_server(lambda r, w: w.close(), NEAR, 0)
        with program.link.far.socket(socket.SOCK_STREAM) as client:
            client.setblocking(False)
            await program.loop.sock_connect(client, server.sockets[0].getsockname())
            assert await program.loop.sock_recv(client, 10) == b""
        server.close()
        transport.close()

    program.run(main())


def test_a_neighbour_that_is_lost_and_comes_back(program: Program) -> None:
    async def main(address: Any) -> None:
        transport, inbox = await program.loop.create_datagram_endpoint(wire.Inbox, local_addr=(NEAR, 0))
        for _ in range(3):
            await echoed(inbox, transport, address, b"before")
        program.link.near.ip("neigh", "flush", "dev", INTERFACE)
        for _ in range(3):
            await echoed(inbox, transport, address, b"after")
        transport.close()

    with kernel_echo(program.link) as address:
        program.run(main(address))


def test_another_hardware_address(program: Program) -> None:
    async def main(address: Any) -> None:
        transport, inbox = await program.loop.create_datagram_endpoint(wire.Inbox, local_addr=(NEAR, 0))
        await echoed(inbox, transport, address, b"before")
        program.link.far.set_link("address", "02:00:00:00:77:01")
        program.link.near.ip("neigh", "replace", FAR, "lladdr", "02:00:00:00:77:01", "dev", INTERFACE)
        await asyncio.sleep(0.05)
        await echoed(inbox, transport, address, b"after")
        transport.close()

    with kernel_echo(program.link) as address:
        program.run(main(address))


def test_a_route_that_goes_elsewhere(program: Program) -> None:
    """A more specific route to nowhere takes effect at once."""

    async def main(address: Any) -> None:
        transport, inbox = await program.loop.create_datagram_endpoint(wire.Inbox, local_addr=(NEAR, 0))
        await echoed(inbox, transport, address, b"before")
        program.link.near.ip("route", "add", "blackhole", f"{FAR}/32")
        await asyncio.sleep(0.05)
        sent = program.frames()[1]
        transport.sendto(b"into the hole", address)
        await asyncio.sleep(0.05)
        assert inbox.queue.empty()
        assert program.frames()[1] == sent
        program.link.near.ip("route", "del", "blackhole", f"{FAR}/32")
        await asyncio.sleep(0.05)
        await echoed(inbox, transport, address, b"after")
        transport.close()

    with kernel_echo(program.link) as address:
        program.run(main(address))


def test_the_interface_goes_down_and_comes_up(program: Program) -> None:
    async def main(address: Any) -> None:
        transport, inbox = await program.loop.create_datagram_endpoint(wire.Inbox, local_addr=(NEAR, 0))
        await echoed(inbox, transport, address, b"before")
        program.link.near.set_link("down")
        for _ in range(5):
            transport.sendto(b"lost", address)
            await asyncio.sleep(0.002)
        program.link.near.set_link("up")
        for _ in range(50):
            transport.sendto(b"after", address)
            await asyncio.sleep(0.05)
            if not inbox.queue.empty():
                break
        assert (await inbox.get())[0] == b"after"
        transport.close()

    with kernel_echo(program.link) as address:
        program.run(main(address))


def test_the_interface_is_deleted(program: Program) -> None:
    async def main(address: Any) -> None:
        transport, inbox = await program.loop.create_datagram_endpoint(wire.Inbox, local_addr=(NEAR, 0))
        await echoed(inbox, transport, address, b"before")
        program.link.near.ip("link", "del", INTERFACE)
        for _ in range(5):
            transport.sendto(b"nowhere", address)
            await asyncio.sleep(0.005)
        transport.close()
        await asyncio.sleep(0.01)

    with kernel_echo(program.link) as address:
        program.run(main(address))


@pytest.mark.parametrize("mtu", [576, 1500, 3000, 9000])
@pytest.mark.parametrize("driver", ["af_xdp", "packet"])
def test_mtus(link: Link, driver: str, mtu: int) -> None:
    link.set_mtu(mtu)
    program = Program(link, driver, "adaptive")

    async def main(address: Any) -> None:
        transport, inbox = await program.loop.create_datagram_endpoint(wire.Inbox, remote_addr=address)
        for size in (1, mtu - 29, mtu - 28, mtu - 27, 2 * mtu, 20_000):
            await echoed(inbox, transport, None, random.Random(size).randbytes(size))
        before = program.frames()
        for _ in range(50):
            await echoed(inbox, transport, None, random.Random(mtu).randbytes(mtu - 28))
        after = program.frames()
        assert after[0] - before[0] >= 50
        assert after[1] - before[1] >= 50
        transport.close()

    with kernel_echo(link) as address:
        program.run(main(address))
    program.loop.close()


def test_a_second_loop_on_the_interface(link: Link) -> None:
    program = Program(link, "af_xdp", "adaptive")
    try:
        with pytest.raises(OSError, match="af_xdp"):
            Program(link, "af_xdp", "adaptive")
        with link.near.entered():
            fallen = sfloop.Loop(sfloop.Options(driver="af_xdp", interface=INTERFACE))
        assert fallen.describe()["stack"] == "kernel"
        fallen.close()
    finally:
        program.loop.close()
    again = Program(link, "af_xdp", "adaptive")
    again.loop.close()
