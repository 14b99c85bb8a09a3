"""Receives IPv6 groups on the loop named by its argument, and prints what worked. Run by test_multicast.py in a network
namespace whose loopback interface has a route for ff00::/8."""

from __future__ import annotations

import asyncio
import socket
import sys
from typing import Any

from harness.loops import new_loop

from sfloop import multicast

GROUP = "ff11::7701"
LO = socket.if_nametoindex("lo")
QUIET = 0.05  # seconds


class Received(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self.datagrams: asyncio.Queue[bytes] = asyncio.Queue()

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.datagrams.put_nowait(data)


async def open_receiver(sock: socket.socket) -> tuple[asyncio.DatagramTransport, Received, tuple[str, int, int, int]]:
    transport, protocol = await asyncio.get_running_loop().create_datagram_endpoint(Received, sock=sock)
    return transport, protocol, (GROUP, sock.getsockname()[1], 0, LO)


async def receives_and_leaves(sender: socket.socket, group: str, interface: str | None) -> None:
    sock = multicast.open_socket(group, 0, interface=interface)
    transport, protocol, where = await open_receiver(sock)
    sender.sendto(b"joined", where)
    assert await asyncio.wait_for(protocol.datagrams.get(), 5) == b"joined"
    multicast.leave(transport, group, interface=interface)
    sender.sendto(b"left", where)
    await asyncio.sleep(QUIET)
    assert protocol.datagrams.empty()
    transport.close()


async def takes_only_its_source(sender: socket.socket) -> None:
    sock = multicast.open_socket(GROUP, 0, interface="lo", source="2001:db8::9")
    transport, protocol, where = await open_receiver(sock)
    sender.sendto(b"not that source", where)
    await asyncio.sleep(QUIET)
    assert protocol.datagrams.empty()
    multicast.join(transport, GROUP, interface="lo", source="::1")
    sender.sendto(b"that source", where)
    assert await asyncio.wait_for(protocol.datagrams.get(), 5) == b"that source"
    transport.close()


async def main() -> None:
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sender:
        sender.bind(("::1", 0))
        sender.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, LO)
        await receives_and_leaves(sender, GROUP, "lo")
        print("by-name")
        await receives_and_leaves(sender, GROUP, "::1")
        print("by-address")
        await receives_and_leaves(sender, f"{GROUP}%lo", None)
        print("by-scope")
        await takes_only_its_source(sender)
        print("source-specific")
    await asyncio.sleep(0)


loop = new_loop(sys.argv[1])
try:
    loop.run_until_complete(main())
finally:
    loop.close()
