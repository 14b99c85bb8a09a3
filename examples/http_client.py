"""Fetch a URL repeatedly over one connection, and print how long the replies take.

    python examples/http_client.py http://127.0.0.1:8080/ --requests 1000
    sfloop run examples/http_client.py http://127.0.0.1:8080/ --requests 1000
    sfloop run --stack onload examples/http_client.py http://198.18.7.2:8080/

A plain aiohttp program that does not know sfloop. Needs aiohttp. Its client makes its sockets itself, so the kernel
serves them on every stack except Onload, which accelerates them, too.
"""

from __future__ import annotations

import argparse
import asyncio
import time

import aiohttp


async def fetch(url: str, requests: int) -> list[int]:
    """The times of `requests` replies in ns, from the request to the end of the body."""
    times = []
    async with aiohttp.ClientSession(raise_for_status=True) as session:
        for _ in range(requests):
            started = time.perf_counter_ns()
            async with session.get(url) as response:
                await response.read()
            times.append(time.perf_counter_ns() - started)
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("url")
    parser.add_argument("--requests", type=int, default=1000)
    options = parser.parse_args()
    times = sorted(asyncio.run(fetch(options.url, options.requests)))
    middle, last = times[len(times) // 2], times[len(times) * 99 // 100]
    print(f"{len(times)} replies, median {middle / 1e3:.1f} µs, p99 {last / 1e3:.1f} µs")


if __name__ == "__main__":
    main()
