"""UDP by asyncio.DatagramProtocol: an echo server, and a counter of what arrives."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any, cast

from sfloop.bench.serve import say


class Echo(asyncio.DatagramProtocol):
    """Sends back what it is given."""

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


async def echo(parameters: Mapping[str, Any]) -> None:
    """Echo by asyncio.DatagramProtocol."""
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(Echo, local_addr=(parameters["host"], 0))
    say({"port": transport.get_extra_info("sockname")[1]})
    await loop.create_future()


async def flood(parameters: Mapping[str, Any]) -> None:
    """Waits for the first datagram, warms up, then counts those delivered in `seconds`."""
    loop = asyncio.get_running_loop()
    transport, counter = await loop.create_datagram_endpoint(Counter, local_addr=(parameters["host"], 0))
    say({"port": transport.get_extra_info("sockname")[1]})
    await counter.first
    await asyncio.sleep(parameters["warmup"])
    begin, before = time.perf_counter(), counter.count
    await asyncio.sleep(parameters["seconds"])
    end, after = time.perf_counter(), counter.count
    say({"count": after - before, "seconds": end - begin})
    transport.close()
