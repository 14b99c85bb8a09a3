"""Packets that the host forwards, packets for containers, and packets to the addresses of its other interfaces."""

from __future__ import annotations

import asyncio
import itertools
import os
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest
from beside import Program, in_thread
from harness.link import FAR, INTERFACE, NEAR, Link, Side, attach_container, namespace_of

CONTAINER, MACVLAN, SERVICE = "172.31.9.2", "198.18.7.9", "203.0.113.5"
TCP_PORT, UDP_PORT = 443, 53
_numbers = itertools.count()


@contextmanager
def container(link: Link, address: str) -> Iterator[Side]:
    """A namespace behind the near one (CONTAINER), or one that is another station on the link (MACVLAN)."""
    side = Side(f"sft-box-{os.getpid()}-{next(_numbers)}", address)
    with ExitStack() as stack:
        stack.enter_context(namespace_of(side))
        side.ip("link", "set", "lo", "up")
        if address == MACVLAN:
            made = ["link", "add", "link", INTERFACE, "name", "box0", "netns", side.namespace, "type", "macvlan"]
            link.near.ip(*made, "mode", "bridge")
            side.ip("address", "add", f"{address}/24", "dev", "box0")
            side.ip("link", "set", "box0", "up")
        else:
            attach_container(link, side)
        yield side


@contextmanager
def echo(side: Side) -> Iterator[None]:
    """Run TCP and UDP servers at the ports of sfloop's program."""
    tcp, udp = side.socket(socket.SOCK_STREAM), side.socket()
    tcp.bind((side.address, TCP_PORT))
    tcp.listen()
    udp.bind((side.address, UDP_PORT))

    def serve(done: threading.Event) -> None:
        tcp.settimeout(0.05)
        udp.settimeout(0.05)
        while not done.is_set():
            try:
                made, _ = tcp.accept()
                with made:
                    made.sendall(b"container")
            except TimeoutError:
                pass
            try:
                _, address = udp.recvfrom(100)
                udp.sendto(b"container", address)
            except TimeoutError:
                pass

    with tcp, udp, in_thread(serve):
        yield


def ask(side: Side, address: str) -> list[str]:
    """Return the answers of the servers at the address, by TCP and by UDP."""
    answers = []
    with side.socket(socket.SOCK_STREAM) as made:
        try:
            made.connect((address, TCP_PORT))
            answers.append(made.recv(100).decode())
        except OSError as error:
            answers.append(repr(error))
    with side.socket() as made:
        try:
            made.sendto(b"?", (address, UDP_PORT))
            answers.append(made.recv(100).decode())
        except OSError as error:
            answers.append(repr(error))
    return answers


class Answer(asyncio.DatagramProtocol):
    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        self.transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.transport.sendto(b"ours", addr)


@contextmanager
def served(program: Program) -> Iterator[None]:
    """The program listens at every address, and its loop runs in a thread."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"ours")
        writer.close()

    async def start() -> tuple[asyncio.Server, asyncio.DatagramTransport]:
        made = await asyncio.start_server(serve, "0.0.0.0", TCP_PORT)
        transport, _ = await program.loop.create_datagram_endpoint(Answer, local_addr=("0.0.0.0", UDP_PORT))
        return made, transport

    made, transport = program.run(start())

    def run() -> None:
        with program.link.near.entered():
            program.loop.run_forever()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        program.loop.call_soon_threadsafe(made.close)
        program.loop.call_soon_threadsafe(transport.close)
        program.loop.call_soon_threadsafe(program.loop.call_later, 0.05, program.loop.stop)
        thread.join()


@pytest.mark.parametrize("address", [CONTAINER, MACVLAN])
def test_a_container_keeps_its_service(program: Program, address: str) -> None:
    link = program.link
    with container(link, address) as box, echo(box):
        assert ask(link.far, address) == ["container"] * 2
        with served(program):
            assert ask(link.far, NEAR) == ["ours"] * 2
            assert ask(link.far, address) == ["container"] * 2
        assert ask(link.far, address) == ["container"] * 2


def test_an_address_of_another_interface(program: Program) -> None:
    """The address is a service address on lo (anycast, keepalived): the kernel's listening socket of the same server
    serves it."""
    link = program.link
    link.near.ip("address", "add", f"{SERVICE}/32", "dev", "lo")
    link.far.ip("route", "add", f"{SERVICE}/32", "via", NEAR)
    with served(program):
        assert ask(link.far, SERVICE) == ["ours"] * 2


def test_a_container_is_a_client(program: Program) -> None:
    """The container connects to a server outside; its answers come by sfloop's interface."""
    link = program.link
    with container(link, CONTAINER) as box, served(program), link.far.socket(socket.SOCK_STREAM) as listener:
        listener.bind((FAR, TCP_PORT))
        listener.listen()
        with box.socket(socket.SOCK_STREAM) as client:
            client.connect((FAR, TCP_PORT))
            accepted, _ = listener.accept()
            with accepted:
                accepted.sendall(b"answer")
            assert client.recv(100) == b"answer"


def test_a_group_reaches_another_station(past: Program) -> None:
    """A macvlan device's member of a group gets its datagrams as before, and so does our member."""
    link, group = past.link, "239.1.1.1"
    with container(link, MACVLAN) as box, box.socket() as member:
        member.bind((group, UDP_PORT))
        join = socket.inet_aton(group) + socket.inet_aton(MACVLAN)
        member.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, join)
        ours = link.near.socket()
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        ours.bind((group, UDP_PORT))
        ours.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, socket.inet_aton(group) + socket.inet_aton(NEAR))
        ours.setblocking(False)

        async def main() -> list[bytes]:
            got: list[bytes] = []

            class Inbox(asyncio.DatagramProtocol):
                def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
                    got.append(data)

            transport, _ = await past.loop.create_datagram_endpoint(Inbox, sock=ours)
            assert past.flow("udp", group, UDP_PORT)["by"] == "kernel"
            assert "other stations" in past.flow("udp", group, UDP_PORT)["why"]
            with link.far.socket() as sender:
                sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(FAR))
                for i in range(10):
                    sender.sendto(b"%d" % i, (group, UDP_PORT))
            for _ in range(100):
                await asyncio.sleep(0.01)
                if len(got) == 10:
                    break
            transport.close()
            await asyncio.sleep(0)
            return got

        texts = [b"%d" % i for i in range(10)]
        assert past.run(main()) == texts
        assert [member.recv(100) for _ in range(10)] == texts


def test_a_group_that_the_host_routes(past: Program) -> None:
    """With a multicast router at the interface the kernel keeps group frames, because it forwards them."""
    link, group = past.link, "239.1.1.1"
    with link.near.socket(socket.SOCK_RAW, 2) as router:  # IGMP
        router.setsockopt(socket.IPPROTO_IP, 200, 1)  # MRT_INIT
        interface = struct.pack("=HBBI4s4s", 0, 0, 1, 0, socket.inet_aton(NEAR), bytes(4))
        router.setsockopt(socket.IPPROTO_IP, 202, interface)  # MRT_ADD_VIF
        ours = link.near.socket()
        ours.bind((group, UDP_PORT))
        ours.setblocking(False)

        async def main() -> None:
            transport, _ = await past.loop.create_datagram_endpoint(asyncio.DatagramProtocol, sock=ours)
            assert past.flow("udp", group, UDP_PORT)["by"] == "kernel"
            assert "routes multicast" in past.flow("udp", group, UDP_PORT)["why"]
            transport.close()
            await asyncio.sleep(0)

        past.run(main())
