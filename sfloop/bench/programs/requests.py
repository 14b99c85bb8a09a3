"""HTTP clients of two libraries that fetch the same page again and again, on several connections at once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from sfloop.bench.programs.http import BODY
from sfloop.bench.serve import say
from sfloop.common.histogram import Histogram

#: Fetches the page once and returns its body.
Fetch = Callable[[], Awaitable[bytes]]


async def aiohttp(parameters: Mapping[str, Any]) -> None:
    """aiohttp's client."""
    from aiohttp import ClientSession, TCPConnector  # type: ignore[import-not-found, unused-ignore]

    url = _url(parameters)
    async with ClientSession(connector=TCPConnector(limit=parameters["connections"])) as session:

        async def fetch() -> bytes:
            async with session.get(url) as response:
                body: bytes = await response.read()
                return body

        await _measure(fetch, parameters)


async def httpx(parameters: Mapping[str, Any]) -> None:
    """httpx's client."""
    from httpx import AsyncClient, Limits  # type: ignore[import-not-found, unused-ignore]

    url = _url(parameters)
    async with AsyncClient(limits=Limits(max_connections=parameters["connections"]), trust_env=False) as client:

        async def fetch() -> bytes:
            body: bytes = (await client.get(url)).content
            return body

        await _measure(fetch, parameters)


def _url(parameters: Mapping[str, Any]) -> str:
    host, port = parameters["server"]
    return f"http://{host}:{port}/"


def _carried() -> int:
    """The bytes that a stack past the kernel has received for the running loop; 0 of a loop that has no such stack."""
    stats: dict[str, Any] = getattr(asyncio.get_running_loop(), "stats", dict)()
    stacks: dict[str, dict[str, int]] = stats.get("stacks", {})
    return sum(counts["rx_bytes"] for name, counts in stacks.items() if name != "kernel")


async def _measure(fetch: Fetch, parameters: Mapping[str, Any]) -> None:
    """Fetch on `connections` tasks at once. After a warm-up, measure the round trips of `seconds`. Times are ns."""
    latency: Histogram | None = None

    async def work() -> None:
        while True:
            began = time.perf_counter_ns()
            if await fetch() != BODY:
                raise SystemExit("the page differs from what the server sends")
            if latency is not None:
                latency.record(time.perf_counter_ns() - began)

    workers = [asyncio.create_task(work()) for _ in range(parameters["connections"])]
    say({"connections": len(workers)})
    await asyncio.wait(workers, timeout=parameters["warmup"], return_when=asyncio.FIRST_COMPLETED)
    latency = measured = Histogram()
    before, begin = _carried(), time.perf_counter()
    await asyncio.wait(workers, timeout=parameters["seconds"], return_when=asyncio.FIRST_COMPLETED)
    latency, seconds = None, time.perf_counter() - begin
    carried = _carried() - before
    for worker in workers:
        worker.cancel()
    for outcome in await asyncio.gather(*workers, return_exceptions=True):
        if isinstance(outcome, BaseException) and not isinstance(outcome, asyncio.CancelledError):
            raise outcome
    say({"count": measured.count, "seconds": seconds, "histogram": measured.buckets(), "carried": carried})
