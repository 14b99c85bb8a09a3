"""Follows a feed of JSON messages over a websocket and prints their ages when they reach the program.

    python examples/websocket_ticker.py ws://127.0.0.1:8765/ --messages 1000
    sfloop run examples/websocket_ticker.py ws://127.0.0.1:8765/ --messages 1000
    sfloop run --driver af_xdp --interface enp1s0f0 examples/websocket_ticker.py ws://198.18.7.2:8765/

The program uses the `websockets` package, 13 or later, and does not import sfloop. Each message is an object with the
time at which it was sent, CLOCK_REALTIME in ns, under "sent_ns". Both ends have to share a clock.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time

from websockets.asyncio.client import connect


async def follow(url: str, messages: int) -> list[int]:
    """Return the ages of the first `messages` messages, in ns."""
    ages: list[int] = []
    async with connect(url) as feed:
        await feed.send(json.dumps({"subscribe": "prices"}))
        async for message in feed:
            ages.append(time.time_ns() - json.loads(message)["sent_ns"])
            if len(ages) == messages:
                break
    return ages


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("url")
    parser.add_argument("--messages", type=int, default=1000)
    options = parser.parse_args()
    ages = sorted(asyncio.run(follow(options.url, options.messages)))
    if not ages:
        raise SystemExit("the feed ended without a message")
    middle, last = ages[len(ages) // 2], ages[len(ages) * 99 // 100]
    print(f"{len(ages)} messages, median age {middle / 1e3:.1f} µs, p99 {last / 1e3:.1f} µs")


if __name__ == "__main__":
    main()
