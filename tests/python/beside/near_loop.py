"""A program that keeps the senders of its datagrams, and sockets for it and for the kernel's control."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from beside import Program
from harness.link import Link

IP_MULTICAST_ALL = 49


class Inbox(asyncio.DatagramProtocol):
    """Keeps the datagrams with their senders."""

    def __init__(self) -> None:
        self.received: list[tuple[bytes, Any]] = []

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.received.append((data, addr))

    def payloads(self) -> list[bytes]:
        return [data for data, _ in self.received]


class NearLoop(Program):
    def frames(self) -> int:
        received: int = self.counters()["driver"]["rx_frames"]
        return received

    async def endpoint(self, sock: socket.socket) -> tuple[Any, Inbox]:
        transport, inbox = await self.loop.create_datagram_endpoint(Inbox, sock=sock)
        return transport, inbox


@contextmanager
def near_loop(link: Link, driver: str, **options: Any) -> Iterator[NearLoop]:
    made = NearLoop(link, driver, **options)
    try:
        yield made
    finally:
        made.close()


def bound(address: str = "", port: int = 0, *, multicast_all: bool = True) -> socket.socket:
    """Return a UDP socket of this thread's namespace."""
    sock = socket.socket(type=socket.SOCK_DGRAM)
    sock.setblocking(False)
    sock.setsockopt(socket.IPPROTO_IP, IP_MULTICAST_ALL, int(multicast_all))
    sock.bind((address, port))
    return sock


def waiting(sock: socket.socket) -> list[tuple[bytes, Any]]:
    """Return a socket's datagrams with their senders."""
    received = []
    while True:
        try:
            received.append(sock.recvfrom(65_536))
        except BlockingIOError:
            return received
