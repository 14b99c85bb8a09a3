"""UDP with asyncio.DatagramProtocol: an echo server, and a counter of datagrams."""

from __future__ import annotations

import asyncio
import resource
import time
from collections.abc import Mapping
from typing import Any, cast

from sfloop import multicast
from sfloop.bench.serve import say
from sfloop.common.histogram import Histogram
from sfloop.udp import BatchProtocol


class Echo(asyncio.DatagramProtocol):
    """Sends received datagrams back."""

    transport: asyncio.DatagramTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.transport.sendto(data, addr)


class Counter(asyncio.DatagramProtocol):
    """Counts datagrams."""

    def __init__(self) -> None:
        self.count = 0
        self.first: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.count += 1
        if self.count == 1:
            self.first.set_result(None)


class BatchCounter(BatchProtocol):
    """Counts datagrams in batches."""

    def __init__(self) -> None:
        self.count = 0
        self.first: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def datagrams_received(self, batch: Any) -> None:
        if self.count == 0:
            self.first.set_result(None)
        self.count += len(batch)


class ViewCounter(BatchCounter):
    """Counts datagrams in batches of views instead of copies."""

    zero_copy = True


class Ping(asyncio.DatagramProtocol):
    """Sends a datagram, and the next one when it has come back. Times are in ns."""

    transport: asyncio.DatagramTransport

    def __init__(self, size: int) -> None:
        self.payload = bytes(size)
        self.latency: Histogram | None = None
        self.count = 0
        self.sent = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.DatagramTransport, transport)

    def start(self) -> None:
        self.sent = time.perf_counter_ns()
        self.transport.sendto(self.payload)

    def datagram_received(self, data: bytes, addr: Any) -> None:
        now = time.perf_counter_ns()
        if self.latency is not None:
            self.latency.record(now - self.sent)
            self.count += 1
        self.start()


async def ping(parameters: Mapping[str, Any]) -> None:
    """Measures round trips to an echo server."""
    loop = asyncio.get_running_loop()
    transport, client = await loop.create_datagram_endpoint(
        lambda: Ping(parameters["size"]), local_addr=(parameters["host"], 0), remote_addr=tuple(parameters["server"])
    )
    say({"port": transport.get_extra_info("sockname")[1]})
    client.start()
    await asyncio.sleep(parameters["warmup"])
    client.latency = Histogram()
    begin = time.perf_counter()
    await asyncio.sleep(parameters["seconds"])
    latency, client.latency = client.latency, None
    say({"count": client.count, "seconds": time.perf_counter() - begin, "histogram": latency.buckets()})
    transport.close()


async def echo(parameters: Mapping[str, Any]) -> None:
    """Echo by asyncio.DatagramProtocol."""
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(Echo, local_addr=(parameters["host"], 0))
    say({"port": transport.get_extra_info("sockname")[1]})
    await loop.create_future()


async def flood(parameters: Mapping[str, Any]) -> None:
    """Wait for the first datagram, of a multicast group if one is given, warm up, then count the datagrams of
    `seconds`."""
    await _flood(parameters, Counter)


async def flood_batch(parameters: Mapping[str, Any]) -> None:
    """Like flood(), with a protocol that takes batches."""
    await _flood(parameters, BatchCounter)


async def flood_zero_copy(parameters: Mapping[str, Any]) -> None:
    """Like flood(), with a protocol that takes views."""
    await _flood(parameters, ViewCounter)


def _involuntary_switches() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw


async def _flood(parameters: Mapping[str, Any], kind: type[Counter] | type[BatchCounter]) -> None:
    loop = asyncio.get_running_loop()
    counter = kind()
    if "group" in parameters:
        sock = multicast.open_socket(parameters["group"], 0, interface=parameters["host"])
        transport, _ = await loop.create_datagram_endpoint(lambda: counter, sock=sock)
    else:
        transport, _ = await loop.create_datagram_endpoint(lambda: counter, local_addr=(parameters["host"], 0))
    say({"port": transport.get_extra_info("sockname")[1]})
    await counter.first
    await asyncio.sleep(parameters["warmup"])
    switches = _involuntary_switches()
    begin, before = time.monotonic_ns(), counter.count
    await asyncio.sleep(parameters["seconds"])
    end, after = time.monotonic_ns(), counter.count
    switches = _involuntary_switches() - switches
    # The span, by the system's clock, tells the sender's count in the same time.
    span = {"begin": begin, "end": end, "seconds": (end - begin) / 1e9}
    say({"count": after - before, **span, "involuntary_switches": switches})
    transport.close()
