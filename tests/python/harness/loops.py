"""Event loops by name, so that a test runs on CPython's own loop, on sfloop, and on sfloop with its tcpip stack."""

from __future__ import annotations

import asyncio
import inspect
from typing import Any

KINDS = ("asyncio", "sfloop", "tcpip", "tcpdirect")


def new_loop(kind: str, **options: Any) -> asyncio.AbstractEventLoop:
    """A new loop of this kind. Options (spin=, cpu=, ...) are sfloop's; asyncio refuses them."""
    if kind == "asyncio":
        if options:
            raise TypeError(f"asyncio's own loop takes no options: {options}")
        return asyncio.SelectorEventLoop()
    if kind == "sfloop":
        import sfloop

        return sfloop.new_event_loop(**options)
    if kind == "tcpip":
        from sfloop.testing import WireLoop

        return WireLoop(**options)
    if kind == "tcpdirect":
        from harness import zf

        return zf.new_loop(fallback="kernel", **options)  # the kernel serves connections beyond 64 zockets
    raise ValueError(f"no such loop: {kind!r}; choose one of {', '.join(KINDS)}")


def drain(loop: asyncio.AbstractEventLoop, turns: int = 10) -> None:
    """Cancel remaining tasks, and turn the loop until closing transports have called connection_lost()."""
    if loop.is_closed():
        return
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()

    async def settle() -> None:
        if tasks:
            await asyncio.gather(*tasks, return_exceptions=True)
        for _ in range(turns):
            await asyncio.sleep(0)

    loop.run_until_complete(settle())
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.run_until_complete(loop.shutdown_default_executor())


def close(loop: asyncio.AbstractEventLoop) -> None:
    """Drain the loop and close it."""
    try:
        drain(loop)
    finally:
        loop.close()


async def turns(n: int = 3) -> None:
    """Let the loop make n turns."""
    for _ in range(n):
        await asyncio.sleep(0)


async def until(condition: Any, limit: float = 10.0) -> None:
    """Turn the loop until condition() is true. Raises TimeoutError with the condition's source after limit seconds."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + limit
    while not condition():
        if loop.time() > deadline:
            try:
                text = inspect.getsource(condition).strip()
            except (OSError, TypeError):
                text = repr(condition)
            raise TimeoutError(f"still false after {limit} s: {text}")
        await asyncio.sleep(0.001)
