"""The cost of sfloop's own stack without Python and without a network, all on this program's CPU."""

from __future__ import annotations

import asyncio
import os
import resource
import time
from collections.abc import Mapping, Sequence
from typing import Any

import sfloop
from sfloop.bench.serve import say
from sfloop.native.cores.core import measure_datagrams, measure_idle, measure_segments

_SENDER, _RECEIVER = "127.77.0.1", "127.77.0.2"


def _involuntary_switches() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw


async def stack(parameters: Mapping[str, Any]) -> None:
    """ns for a datagram sent and received over a shared-memory wire, and for an idle turn."""
    wire, seconds = f"cost{os.getpid()}", parameters["seconds"]
    loops = [
        sfloop.Loop(sfloop.Options(driver="shm", interface=f"{wire}@{address}", fallback="error"))
        for address in (_SENDER, _RECEIVER)
    ]
    # No loop is running in a new thread, so both loops can be run there in turn. The measurement is made here, while
    # this program's own loop stands still.
    sender, receiver = await asyncio.to_thread(_open, *loops)
    switches, begin = _involuntary_switches(), time.perf_counter()
    sent, received = measure_datagrams(sender._core, receiver._core, parameters["size"], seconds)
    found = {"send": sent, "receive": received, "idle": measure_idle(loops[1], seconds)}
    switches, spent = _involuntary_switches() - switches, time.perf_counter() - begin
    await asyncio.to_thread(_close, loops, (sender, receiver))
    say({**found, "seconds": spent, "involuntary_switches": switches})


def _open(from_loop: sfloop.Loop, to_loop: sfloop.Loop) -> tuple[Any, Any]:
    make = to_loop.create_datagram_endpoint(asyncio.DatagramProtocol, local_addr=(_RECEIVER, 0))
    receiver, _ = to_loop.run_until_complete(make)
    make = from_loop.create_datagram_endpoint(
        asyncio.DatagramProtocol, local_addr=(_SENDER, 0), remote_addr=receiver.get_extra_info("sockname")
    )
    sender, _ = from_loop.run_until_complete(make)
    return sender, receiver


def _close(loops: Sequence[sfloop.Loop], transports: Sequence[Any]) -> None:
    for loop, transport in zip(loops, transports, strict=True):
        transport.abort()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()


async def idle(parameters: Mapping[str, Any]) -> None:
    """ns for an idle turn, with the driver that this program was given."""
    switches = _involuntary_switches()
    loop = asyncio.get_running_loop()
    assert isinstance(loop, sfloop.Loop)
    found = measure_idle(loop, parameters["seconds"])
    say({"idle": found, "seconds": parameters["seconds"], "involuntary_switches": _involuntary_switches() - switches})


async def segments(parameters: Mapping[str, Any]) -> None:
    """ns for a TCP segment sent and received over a shared-memory wire, including ACKs."""
    wire = f"cost{os.getpid()}"
    loops = [
        sfloop.Loop(sfloop.Options(driver="shm", interface=f"{wire}@{address}", fallback="error"))
        for address in (_SENDER, _RECEIVER)
    ]
    sender, receiver = await asyncio.to_thread(_connect, *loops)
    switches, begin = _involuntary_switches(), time.perf_counter()
    sent, received = measure_segments(sender._core, receiver._core, parameters["size"], parameters["seconds"])
    switches, spent = _involuntary_switches() - switches, time.perf_counter() - begin
    await asyncio.to_thread(_close, loops, (sender, receiver))
    say({"send": sent, "receive": received, "seconds": spent, "involuntary_switches": switches})


class _Accepted(asyncio.Protocol):
    """Keeps the transport of the accepted connection."""

    transport: asyncio.BaseTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport


def _connect(from_loop: sfloop.Loop, to_loop: sfloop.Loop) -> tuple[Any, Any]:
    """A connection between two loops of one thread, which run in turn until it is established."""
    accepted = _Accepted()
    server = to_loop.run_until_complete(to_loop.create_server(lambda: accepted, _RECEIVER, 0))
    address = server.sockets[0].getsockname()
    connecting = from_loop.create_task(from_loop.create_connection(asyncio.Protocol, *address[:2]))
    while accepted.transport is None or not connecting.done():
        for loop in (from_loop, to_loop):
            loop.run_until_complete(asyncio.sleep(0))
    server.close()
    return connecting.result()[0], accepted.transport
