"""Multicast on loopback, joined with plain socket options."""

from __future__ import annotations

import contextlib
import socket
import struct

from harness.connections import address_of, free_port, udp
from harness.loops import until
from harness.observed import Run
from harness.recording import DatagramRecorder

GROUP = "239.255.77.7"


def member(port: int) -> socket.socket:
    """A socket that has joined GROUP on loopback."""
    sock = socket.socket(type=socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_000_000)
    sock.bind((GROUP, port))
    sock.setsockopt(
        socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, struct.pack("4s4s", socket.inet_aton(GROUP), b"\x7f\0\0\1")
    )
    return sock


def sender() -> socket.socket:
    sock = socket.socket(type=socket.SOCK_DGRAM)
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("127.0.0.1"))
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 0)  # stays on this machine
    sock.bind(("127.0.0.1", 0))
    return sock


def test_every_member_gets_every_datagram(run: Run) -> None:
    async def main() -> None:
        port = free_port(socket.SOCK_DGRAM)
        async with contextlib.AsyncExitStack() as stack:
            members = [await stack.enter_async_context(udp(DatagramRecorder, sock=member(port))) for _ in range(3)]
            publisher = await stack.enter_async_context(udp(DatagramRecorder, sock=sender()))
            for i in range(300):
                publisher.transport.sendto(i.to_bytes(2, "big") * 30, (GROUP, port))
            await until(lambda: all(len(m.received) == 300 for m in members))
            for m in members:
                assert m.received == [(i.to_bytes(2, "big") * 30, address_of(publisher)) for i in range(300)]

    run(main())


def test_leaving_the_group(run: Run) -> None:
    async def main() -> None:
        port = free_port(socket.SOCK_DGRAM)
        async with (
            udp(DatagramRecorder, sock=member(port)) as leaving,
            udp(DatagramRecorder, sock=member(port)) as staying,
            udp(DatagramRecorder, sock=sender()) as publisher,
        ):
            publisher.transport.sendto(b"1", (GROUP, port))
            await until(lambda: bool(leaving.received and staying.received))
            leaving.transport.get_extra_info("socket").setsockopt(
                socket.IPPROTO_IP,
                socket.IP_DROP_MEMBERSHIP,
                struct.pack("4s4s", socket.inet_aton(GROUP), b"\x7f\0\0\1"),
            )
            leaving.transport.get_extra_info("socket").setsockopt(socket.IPPROTO_IP, 49, 0)  # IP_MULTICAST_ALL
            publisher.transport.sendto(b"2", (GROUP, port))
            await until(lambda: len(staying.received) == 2)
            assert len(leaving.received) == 1

    run(main())
