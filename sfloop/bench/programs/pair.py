"""Both ends of a ping-pong on one loop: a round trip over a stack to itself, including the loop."""

from __future__ import annotations

import asyncio
import socket
import sys
import time
from collections.abc import Mapping
from typing import Any, cast

import sfloop
from sfloop.bench.programs.cost import _involuntary_switches
from sfloop.bench.programs.udp import Echo as DatagramEcho
from sfloop.bench.programs.udp import Ping as DatagramPing
from sfloop.bench.serve import say
from sfloop.common.histogram import Histogram
from sfloop.native.cores.core import measure_idle


class Echo(asyncio.Protocol):
    """Writes back what it receives."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


class Ping(asyncio.Protocol):
    """Sends a message, and the next one when all of it has come back."""

    def __init__(self, size: int) -> None:
        self.payload = bytes(size)
        self.latency: Histogram | None = None
        self.count = self.missing = self.sent = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def start(self) -> None:
        """Send the first or the next message."""
        self.missing = len(self.payload)
        self.sent = time.perf_counter_ns()
        self.transport.write(self.payload)

    def data_received(self, data: bytes) -> None:
        self.missing -= len(data)
        if self.missing:
            return
        now = time.perf_counter_ns()
        if self.latency is not None:
            self.latency.record(now - self.sent)
            self.count += 1
        self.start()


async def _measure(client: Ping | DatagramPing, parameters: Mapping[str, Any]) -> None:
    say({"port": 0})
    client.start()
    await asyncio.sleep(parameters["warmup"])
    client.latency = Histogram()
    switches, begin = _involuntary_switches(), time.perf_counter()
    await asyncio.sleep(parameters["seconds"])
    latency, client.latency = client.latency, None
    say(
        {
            "count": client.count,
            "seconds": time.perf_counter() - begin,
            "involuntary_switches": _involuntary_switches() - switches,
            "histogram": latency.buckets(),
        }
    )


async def tcp(parameters: Mapping[str, Any]) -> None:
    """Round trips of a stream with both ends on this loop."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Echo, parameters["host"], 0)
    _, client = await loop.create_connection(lambda: Ping(parameters["size"]), *server.sockets[0].getsockname())
    await _measure(client, parameters)
    client.transport.abort()
    server.close()


async def udp(parameters: Mapping[str, Any]) -> None:
    """Round trips of datagrams with both ends on this loop."""
    loop = asyncio.get_running_loop()
    echo, _ = await loop.create_datagram_endpoint(DatagramEcho, local_addr=(parameters["host"], 0))
    mine = (parameters["from"], 0) if "from" in parameters else None
    transport, client = await loop.create_datagram_endpoint(
        lambda: DatagramPing(parameters["size"]), mine, echo.get_extra_info("sockname")
    )
    await _measure(client, parameters)
    transport.close()
    echo.close()


def _by_shared_memory(wire: str, host: str, other: str) -> None:
    """Give the running loop both ends of the wire, each on a tcpip stack of its own."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, sfloop.Loop)
    for address in (other, host):
        packed = int.from_bytes(socket.inet_aton(address), sys.byteorder)
        loop._open_stack("tcpip", ("shm", wire, packed, [], 0), {"interface": wire})


_OTHER = "127.0.0.2"


async def tcp_by_shm(parameters: Mapping[str, Any]) -> None:
    """The stream, on the tcpip stack over shared memory."""
    _by_shared_memory(parameters["wire"], parameters["host"], _OTHER)
    await tcp(parameters)


async def udp_by_shm(parameters: Mapping[str, Any]) -> None:
    """The datagrams, on the tcpip stack over shared memory."""
    _by_shared_memory(parameters["wire"], parameters["host"], _OTHER)
    await udp({**parameters, "from": _OTHER})


async def idle(parameters: Mapping[str, Any]) -> None:
    """ns of an idle turn of this loop's bypass stack."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, sfloop.Loop)
    endpoint, _ = await loop.create_datagram_endpoint(DatagramEcho, local_addr=(parameters["host"], 0))
    switches, begin = _involuntary_switches(), time.perf_counter()
    found = measure_idle(loop, parameters["seconds"])
    spent = time.perf_counter() - begin
    endpoint.close()
    say({"idle": found, "seconds": spent, "involuntary_switches": _involuntary_switches() - switches})
