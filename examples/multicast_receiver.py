"""Receive a multicast group, and print once a second how many datagrams and bytes arrived, and how many were lost.

    sfloop run examples/multicast_receiver.py 239.192.1.1 26400 --interface eth0
    python examples/multicast_receiver.py 239.192.1.1 26400 --interface eth0 --send 1000

Plain asyncio, except for the socket, which `sfloop.multicast` opens. With --send N it also sends N datagrams a second
to the group. The first eight bytes of each are a sequence number, from which losses are counted.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import socket
import struct
from typing import Any

from sfloop import multicast

SEQUENCE = struct.Struct("!Q")


class Feed(asyncio.DatagramProtocol):
    """Counts datagrams."""

    def __init__(self) -> None:
        self.datagrams = self.bytes = self.lost = 0
        self.expected: int | None = None

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.datagrams += 1
        self.bytes += len(data)
        if len(data) < SEQUENCE.size:
            return
        (sequence,) = SEQUENCE.unpack_from(data)
        if self.expected is not None and sequence > self.expected:
            self.lost += sequence - self.expected
        self.expected = sequence + 1


async def send(sock: socket.socket, rate: float) -> None:
    """Send numbered datagrams to the group, `rate` per second."""
    loop = asyncio.get_running_loop()
    due = loop.time()
    sequence = 0
    while True:
        sock.send(SEQUENCE.pack(sequence).ljust(64, b"\0"))
        sequence += 1
        due += 1 / rate
        await asyncio.sleep(due - loop.time())


def open_sender(group: str, port: int, interface: str | None) -> socket.socket:
    """A socket that sends to an IPv4 group on an interface, with a TTL of 1."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    if interface is not None:
        # struct ip_mreqn: the interface by its index
        mreqn = struct.pack("=4s4si", bytes(4), bytes(4), socket.if_nametoindex(interface))
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, mreqn)
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 1)
    sock.connect((group, port))
    return sock


async def main(options: argparse.Namespace) -> None:
    loop = asyncio.get_running_loop()
    sock = multicast.open_socket(
        options.group, options.port, interface=options.interface, source=options.source, rcvbuf=8 << 20
    )
    transport, feed = await loop.create_datagram_endpoint(Feed, sock=sock)
    sending = None
    with contextlib.ExitStack() as stack:
        if options.send:
            sender = stack.enter_context(open_sender(options.group, options.port, options.interface))
            sending = asyncio.create_task(send(sender, options.send))
        print(f"receiving {options.group}:{options.port} on {type(loop).__module__}.{type(loop).__name__}", flush=True)
        for second in range(1, options.seconds + 1):
            await asyncio.sleep(1)
            print(f"{second:4} s: {feed.datagrams} datagrams, {feed.bytes} bytes, {feed.lost} lost", flush=True)
        if sending is not None:
            sending.cancel()
            await asyncio.wait([sending])
    transport.close()


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Receive a multicast group and count its datagrams.")
    parser.add_argument("group", help="the group's address")
    parser.add_argument("port", type=int, help="the UDP port")
    parser.add_argument("--interface", help="the interface: its name, or one of its own addresses")
    parser.add_argument("--source", help="receive only datagrams from this address")
    parser.add_argument("--seconds", type=int, default=10, help="how long (default: %(default)s)")
    parser.add_argument("--send", type=float, default=0, metavar="RATE", help="also send RATE datagrams a second")
    return parser.parse_args()


if __name__ == "__main__":
    asyncio.run(main(arguments()))
