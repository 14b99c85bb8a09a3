"""TCP from the other end, by asyncio.Protocol: clients that measure round trips, a source and a sink of bulk data."""

from __future__ import annotations

import asyncio
import functools
import resource
import socket
import ssl
import time
from collections.abc import Mapping
from typing import Any, cast

from sfloop.bench.programs.tcp import server_context
from sfloop.bench.serve import say
from sfloop.common.histogram import Histogram

#: The bytes that a source writes at a time, and the most that it lets wait in its transport.
BLOCK = bytes(256 * 1024)
IN_HAND = 4 * len(BLOCK)


class Ping(asyncio.Protocol):
    """Sends a message, and the next when it has come back whole. Times are ns."""

    transport: asyncio.Transport

    def __init__(self, size: int, every: int, number: int) -> None:
        self.payload = bytes(i * 31 & 255 for i in range(size))
        self.received = b""
        self.latency: Histogram | None = None
        self.every = every
        self.count = number  # so that the clocks of many connections are not all read in the same turn
        self.sent = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def start(self) -> None:
        self.sent = time.perf_counter_ns()
        self.transport.write(self.payload)

    def data_received(self, data: bytes) -> None:
        if data != self.payload and not self._whole(data):
            return
        self.count += 1
        if self.sent:
            if self.latency is not None:
                self.latency.record(time.perf_counter_ns() - self.sent)
            self.sent = 0
        if self.count % self.every:
            self.transport.write(self.payload)
        else:
            self.start()

    def _whole(self, data: bytes) -> bool:
        self.received += data
        if len(self.received) < len(self.payload):
            return False
        if self.received != self.payload:
            raise SystemExit("the echo differs from the message")
        self.received = b""
        return True


async def ping(parameters: Mapping[str, Any]) -> None:
    """Measures round trips to an echo server, on `connections` connections at once: the time of one in `every`.

    With `ca`, over TLS: the file of the authority that has signed the server's certificate."""
    loop = asyncio.get_running_loop()
    context = ssl.create_default_context(cafile=parameters["ca"]) if "ca" in parameters else None
    clients: list[Ping] = []
    every = parameters.get("every", 1)
    for number in range(parameters.get("connections", 1)):
        ping_numbered = functools.partial(Ping, parameters["size"], every, number)
        _, client = await loop.create_connection(ping_numbered, *parameters["server"], ssl=context)
        clients.append(client)
    say({"connections": len(clients)})
    for client in clients:
        client.start()
    await asyncio.sleep(parameters["warmup"])
    latency = Histogram()
    for client in clients:
        client.latency = latency
    before = sum(client.count for client in clients)
    begin = time.perf_counter()
    await asyncio.sleep(parameters["seconds"])
    seconds = time.perf_counter() - begin
    count = sum(client.count for client in clients) - before
    say({"count": count, "seconds": seconds, "histogram": latency.buckets()})
    for client in clients:
        client.transport.abort()


class Sink(asyncio.Protocol):
    """Counts bytes."""

    total = 0

    def data_received(self, data: bytes) -> None:
        Sink.total += len(data)


class Source(asyncio.Protocol):
    """Writes without end, as fast as the transport takes it."""

    transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(IN_HAND)
        self.paused = False
        self.resume_writing()

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False
        while not self.paused and not self.transport.is_closing():
            self.transport.write(BLOCK)


def _involuntary_switches() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw


def _turns() -> tuple[int, int]:
    """The turns of the running loop, and those that found nothing; none of a loop that does not count them."""
    stats: dict[str, Any] = getattr(asyncio.get_running_loop(), "stats", dict)()
    return stats.get("turns", 0), stats.get("empty_turns", 0)


async def _idle_turn() -> float:
    """Seconds of CPU time of a turn that finds nothing: the least of several measurements. 0 if the loop does not count
    turns."""
    took = []
    for _ in range(5):
        (_, before), begin = _turns(), time.thread_time()
        await asyncio.sleep(0.004)
        empty = _turns()[1] - before
        took.append((time.thread_time() - begin) / empty if empty else 0.0)
    return min(took)


async def _count(seconds: float, idle_turn: float) -> dict[str, float]:
    """Bytes that the sinks receive in a span, and how busy this loop is: its CPU time minus that of its empty turns."""
    switches = _involuntary_switches()
    before, total, cpu, begin = _turns(), Sink.total, time.thread_time(), time.monotonic_ns()
    await asyncio.sleep(seconds)
    end, found, spent, after = time.monotonic_ns(), Sink.total - total, time.thread_time() - cpu, _turns()
    turns, empty = after[0] - before[0], after[1] - before[1]
    return {
        "count": found,
        "begin": begin,
        "end": end,
        "seconds": (end - begin) / 1e9,
        "turns": turns,
        "empty_turns": empty,
        "busy": max(0.0, spent - empty * idle_turn),
        "involuntary_switches": _involuntary_switches() - switches,
    }


async def sink(parameters: Mapping[str, Any]) -> None:
    """Serve sinks. After the first bytes and a warm-up, count the bytes of `seconds`. A `certificate` means TLS."""
    loop = asyncio.get_running_loop()
    idle_turn = await _idle_turn()
    context = server_context(parameters) if "certificate" in parameters else None
    server = await loop.create_server(Sink, parameters["host"], 0, ssl=context)
    say({"port": server.sockets[0].getsockname()[1]})
    while not Sink.total:
        await asyncio.sleep(0.001)
    await asyncio.sleep(parameters["warmup"])
    say(await _count(parameters["seconds"], idle_turn))
    await loop.create_future()


async def serve_source(parameters: Mapping[str, Any]) -> None:
    """Serve sources, with the congestion control of this name."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Source, parameters["host"], 0, start_serving=False)
    for sock in server.sockets:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, parameters["congestion"].encode())
    await server.start_serving()
    say({"port": server.sockets[0].getsockname()[1]})
    await loop.create_future()


async def drain(parameters: Mapping[str, Any]) -> None:
    """Connect to a source and count the bytes of `seconds`, after a warm-up."""
    loop = asyncio.get_running_loop()
    await loop.create_connection(Sink, *parameters["server"])
    say({"connections": 1})
    await asyncio.sleep(parameters["warmup"])
    before, begin = Sink.total, time.perf_counter()
    await asyncio.sleep(parameters["seconds"])
    say({"count": Sink.total - before, "seconds": time.perf_counter() - begin})


async def source(parameters: Mapping[str, Any]) -> None:
    """Write to a sink until killed. After a warm-up, print how busy the loop is in `seconds`."""
    loop = asyncio.get_running_loop()
    idle_turn = await _idle_turn()
    await loop.create_connection(Source, *parameters["server"])
    say({"connections": 1})
    await asyncio.sleep(parameters["warmup"])
    say(await _count(parameters["seconds"], idle_turn))
    await loop.create_future()
