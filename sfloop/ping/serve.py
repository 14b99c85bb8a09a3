"""The server: sends UDP and TCP data back."""

from __future__ import annotations

import asyncio
import fcntl
import signal
import socket
import struct
from collections.abc import Callable
from typing import Any, Final

#: The address to listen at if neither an address nor an interface is given.
LOOPBACK: Final = "127.0.0.1"
_SIOCGIFADDR: Final = 0x8915  # <linux/sockios.h>
_IFREQ: Final = struct.Struct(
    "16s4s4s16x"
)  # <net/if.h>: the name; of the address, family and port, then the IPv4 address


def address_of(interface: str) -> str:
    """The first IPv4 address of an interface.

    :raises OSError: the interface does not exist, or it has no IPv4 address.
    """
    request = _IFREQ.pack(interface.encode(), b"", b"")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        try:
            reply = fcntl.ioctl(control, _SIOCGIFADDR, request)
        except OSError as error:
            raise OSError(
                error.errno,
                f"interface {interface!r} has no IPv4 address ({error.strerror}); give the address to listen on",
            ) from None
    return socket.inet_ntoa(_IFREQ.unpack(reply)[2])


class _UdpEcho(asyncio.DatagramProtocol):
    transport: asyncio.DatagramTransport

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.transport.sendto(data, addr)


class _TcpEcho(asyncio.Protocol):
    transport: asyncio.Transport

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


async def serve(host: str, port: int, ready: Callable[[str, int], object]) -> None:
    """Echo on a UDP port and the same TCP port until SIGINT or SIGTERM.

    :param ready: called with the address and the port, which the system chooses if port is 0.
    """
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ended.set)
    server = await loop.create_server(_TcpEcho, host, port)
    try:
        bound = server.sockets[0].getsockname()
        transport, _ = await loop.create_datagram_endpoint(_UdpEcho, local_addr=(host, bound[1]))
        ready(bound[0], bound[1])
        await ended.wait()
        transport.close()
    finally:
        server.close()
