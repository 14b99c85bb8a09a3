"""The simulator's end of a shared-memory wire, with sockets that are used like plain ones: a call takes effect at once,
without a turn of an event loop.

The wire belongs to an sfloop loop on the tcpip stack. A call that sends does so before it returns. A call that receives
runs single turns of that loop.
"""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from typing import Any, cast

import sfloop

EXCHANGE_ADDRESS, CLIENT_ADDRESS = "127.77.0.1", "127.77.0.2"
"""Addresses of the two ends. They are in the loopback block, where every address can be bound, so that the kernel can
reserve the ports."""

Address = tuple[str, int]


class Wire:
    """One end of the wire ``name``. The client opens the other end.

    Raises OSError if the tcpip stack or its shm driver cannot be used.
    """

    def __init__(self, name: str, address: str = EXCHANGE_ADDRESS) -> None:
        # Pin no CPU, because a CPU in the environment is meant for the client.
        self._loop = sfloop.new_event_loop(
            stack="tcpip", driver="shm", interface=f"{name}@{address}", fallback="error", cpu=None
        )
        self._address = address

    def socket(self, group: str | None = None) -> WireSocket:
        """A UDP socket on a free port. With ``group`` it sends to that multicast group, to the same port number."""
        kernel = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        kernel.setblocking(False)
        # A group's datagrams go over the wire if the multicast interface has the wire's address.
        kernel.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(self._address))
        kernel.bind((self._address, 0))
        opened = self._loop.create_datagram_endpoint(lambda: WireSocket(self), sock=kernel)
        sock: WireSocket = self._loop.run_until_complete(opened)[1]
        if group is not None:
            sock.connect((group, sock.getsockname()[1]))
        return sock

    def listener(self) -> WireListener:
        """A TCP socket that listens on a free port."""
        listener = WireListener(self)
        made = self._loop.create_server(listener.new_stream, self._address, 0)
        listener.server = self._loop.run_until_complete(made)
        return listener

    def turn(self) -> None:
        """Run one turn, which passes received data to the sockets."""
        self._loop.call_soon(self._loop.stop)
        self._loop.run_forever()

    def frames(self) -> dict[str, int]:
        """The numbers of frames ``sent`` and ``received`` on the wire."""
        driver = cast("dict[str, Any]", self._loop.stats()["stacks"]["tcpip"]["driver"])
        return {"sent": int(driver["tx_frames"]), "received": int(driver["rx_frames"])}

    def close(self) -> None:
        self.turn()  # ends transports that were closed
        self._loop.close()


class WireSocket(asyncio.DatagramProtocol):
    """The part of a non-blocking UDP socket that the simulator needs."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._arrived: deque[tuple[bytes, Address]] = deque()
        self._peer: Address | None = None

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self._arrived.append((data, addr))

    def connect(self, peer: Address) -> None:
        """Set the destination of :meth:`send`. Datagrams of others are still received."""
        self._peer = peer

    def getsockname(self) -> Address:
        return cast("Address", self._transport.get_extra_info("sockname"))

    def getpeername(self) -> Address:
        if self._peer is None:
            raise OSError("the socket is not connected")
        return self._peer

    def send(self, data: bytes | bytearray) -> None:
        self._transport.sendto(data, self._peer)

    def sendto(self, data: bytes, peer: Address) -> None:
        self._transport.sendto(data, peer)

    def recvfrom(self, size: int) -> tuple[bytes, Address]:
        """The next datagram and its sender. Raises BlockingIOError if there is none."""
        if not self._arrived:
            self._wire.turn()
            if not self._arrived:
                raise BlockingIOError("nothing has arrived")
        data, peer = self._arrived.popleft()
        return data[:size], peer

    def close(self) -> None:
        self._transport.close()


class WireListener:
    """The part of a non-blocking listening TCP socket that the simulator needs."""

    server: asyncio.AbstractServer

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self.accepted: deque[WireStream] = deque()

    def new_stream(self) -> WireStream:
        return WireStream(self._wire, self)

    def setblocking(self, flag: bool) -> None:
        """Does nothing, because the socket never blocks."""

    def getsockname(self) -> Address:
        return cast("Address", cast("Any", self.server).sockets[0].getsockname())

    def accept(self) -> tuple[WireStream, Address]:
        """The next connection and its peer. Raises BlockingIOError if there is none."""
        if not self.accepted:
            self._wire.turn()
            if not self.accepted:
                raise BlockingIOError("no connection has arrived")
        stream = self.accepted.popleft()
        return stream, stream.getpeername()

    def close(self) -> None:
        self.server.close()


class WireStream(asyncio.Protocol):
    """The part of a non-blocking connected TCP socket that the simulator needs."""

    def __init__(self, wire: Wire, listener: WireListener) -> None:
        self._wire, self._listener = wire, listener
        self._arrived = bytearray()
        self._ended = False

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._listener.accepted.append(self)

    def data_received(self, data: bytes) -> None:
        self._arrived += data

    def eof_received(self) -> None:
        self._ended = True

    def connection_lost(self, exc: Exception | None) -> None:
        self._ended = True

    def setblocking(self, flag: bool) -> None:
        """Does nothing, because the socket never blocks."""

    def setsockopt(self, level: int, name: int, value: int) -> None:
        self._transport.get_extra_info("socket").setsockopt(level, name, value)

    def getpeername(self) -> Address:
        return cast("Address", self._transport.get_extra_info("peername"))

    def recv(self, size: int) -> bytes:
        """Received data; empty at the end. Raises BlockingIOError if nothing has arrived."""
        if not self._arrived:
            self._wire.turn()
            if not self._arrived and not self._ended:
                raise BlockingIOError("nothing has arrived")
        data = bytes(self._arrived[:size])
        del self._arrived[:size]
        return data

    def send(self, data: bytes | bytearray) -> int:
        """Send or buffer all of the data. Raises ConnectionError if the connection has ended."""
        if self._transport.is_closing():
            raise ConnectionResetError("the connection has ended")
        self._transport.write(data)
        return len(data)

    def close(self) -> None:
        self._transport.close()
