"""The simulator's side of a wire in shared memory, with sockets on it that are used as plain ones are: without a turn
of an event loop between a call and its effect.

The wire belongs to an sfloop loop on the tcpip stack. What is sent goes out within the call; what has arrived is
fetched by single turns of that loop.
"""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from typing import Any, cast

import sfloop

EXCHANGE_ADDRESS, CLIENT_ADDRESS = "127.77.0.1", "127.77.0.2"
"""Addresses of the two sides: of the loopback block, where any can be bound, so that the kernel can keep the ports."""

Address = tuple[str, int]


class Wire:
    """One side of the wire ``name``, which the client opens from its side.

    Raises OSError when the tcpip stack or its shm driver cannot be had.
    """

    def __init__(self, name: str, address: str = EXCHANGE_ADDRESS) -> None:
        # No CPU: one that the environment names is for the client.
        self._loop = sfloop.new_event_loop(
            stack="tcpip", driver="shm", interface=f"{name}@{address}", fallback="error", cpu=None
        )
        self._address = address

    def socket(self, group: str | None = None) -> WireSocket:
        """A UDP socket on a free port. With ``group`` it sends to that multicast group, to the port of the same
        number."""
        kernel = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        kernel.setblocking(False)
        # A group's datagrams go over the wire when its address is that of the interface they are to leave by.
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
        """Hand what has arrived to the sockets."""
        self._loop.call_soon(self._loop.stop)
        self._loop.run_forever()

    def frames(self) -> dict[str, int]:
        """How many frames went over the wire, ``sent`` and ``received``."""
        driver = cast("dict[str, Any]", self._loop.stats()["stacks"]["tcpip"]["driver"])
        return {"sent": int(driver["tx_frames"]), "received": int(driver["rx_frames"])}

    def close(self) -> None:
        self.turn()  # in which transports that were closed end
        self._loop.close()


class WireSocket(asyncio.DatagramProtocol):
    """What the simulator needs of a non-blocking UDP socket."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._arrived: deque[tuple[bytes, Address]] = deque()
        self._peer: Address | None = None

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self._arrived.append((data, addr))

    def connect(self, peer: Address) -> None:
        """Where :meth:`send` sends to. Datagrams of others are received nevertheless."""
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
        """The next datagram and its sender. Raises BlockingIOError when there is none."""
        if not self._arrived:
            self._wire.turn()
            if not self._arrived:
                raise BlockingIOError("nothing has arrived")
        data, peer = self._arrived.popleft()
        return data[:size], peer

    def close(self) -> None:
        self._transport.close()


class WireListener:
    """What the simulator needs of a non-blocking, listening TCP socket."""

    server: asyncio.AbstractServer

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self.accepted: deque[WireStream] = deque()

    def new_stream(self) -> WireStream:
        return WireStream(self._wire, self)

    def setblocking(self, flag: bool) -> None:
        """It never blocks."""

    def getsockname(self) -> Address:
        return cast("Address", cast("Any", self.server).sockets[0].getsockname())

    def accept(self) -> tuple[WireStream, Address]:
        """The next connection and its peer. Raises BlockingIOError when there is none."""
        if not self.accepted:
            self._wire.turn()
            if not self.accepted:
                raise BlockingIOError("nobody has connected")
        stream = self.accepted.popleft()
        return stream, stream.getpeername()

    def close(self) -> None:
        self.server.close()


class WireStream(asyncio.Protocol):
    """What the simulator needs of a non-blocking, connected TCP socket."""

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
        """It never blocks."""

    def setsockopt(self, level: int, name: int, value: int) -> None:
        self._transport.get_extra_info("socket").setsockopt(level, name, value)

    def getpeername(self) -> Address:
        return cast("Address", self._transport.get_extra_info("peername"))

    def recv(self, size: int) -> bytes:
        """What has arrived; empty at the end. Raises BlockingIOError when nothing has."""
        if not self._arrived:
            self._wire.turn()
            if not self._arrived and not self._ended:
                raise BlockingIOError("nothing has arrived")
        data = bytes(self._arrived[:size])
        del self._arrived[:size]
        return data

    def send(self, data: bytes | bytearray) -> int:
        """Sends or keeps all of it. Raises ConnectionError when the connection has ended."""
        if self._transport.is_closing():
            raise ConnectionResetError("the connection has ended")
        self._transport.write(data)
        return len(data)

    def close(self) -> None:
        self._transport.close()
