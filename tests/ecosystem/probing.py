"""One side of a probe: ``python -m ecosystem.probing NAME client|server HOST PORT [DRIVER INTERFACE]``.

With a driver, the side runs on an sfloop loop over it, and prints the bytes that each of the loop's stacks has carried.
A server ends at the end of its input. ``NAME roles`` prints the roles in which the probe uses its library.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import sys
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

import sfloop

#: A server sends each message back. A client sends COUNT messages of SIZE bytes, one after another.
COUNT, SIZE = 300, 1000
LIMIT = 20  # seconds


class Probe(Protocol):
    """A module of ``probes``. ROLES are those that use the library."""

    ROLES: tuple[str, ...]
    serve: Callable[[str, int], AbstractAsyncContextManager[object]]
    talk: Callable[[str, int], Awaitable[None]]


async def _serve(probe: Probe, host: str, port: int) -> None:
    async with probe.serve(host, port):
        print("ready", flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


async def _side(probe: Probe, role: str, host: str, port: int) -> None:
    if role == "server":
        await _serve(probe, host, port)
    else:
        await asyncio.wait_for(probe.talk(host, port), LIMIT)


def main(name: str, role: str, *arguments: str) -> None:
    probe: Any = importlib.import_module(f"ecosystem.probes.{name}")
    if role == "roles":
        print(*probe.ROLES)
        return
    host, port, *over = arguments
    if not over:
        asyncio.run(_side(probe, role, host, int(port)))
        return
    driver, interface = over

    async def counted() -> dict[str, dict[str, int]]:
        await _side(probe, role, host, int(port))
        stacks = asyncio.get_running_loop().stats()["stacks"]  # type: ignore[attr-defined]
        return {name: {key: counters[key] for key in ("rx_bytes", "tx_bytes")} for name, counters in stacks.items()}

    print(json.dumps(sfloop.run(counted(), driver=driver, interface=interface, fallback="error")))


if __name__ == "__main__":
    main(*sys.argv[1:])
