"""What sfloop's own stack takes without Python and without a network, all on this program's CPU."""

from __future__ import annotations

import asyncio
import os
import resource
import time
from collections.abc import Mapping, Sequence
from typing import Any

import sfloop
from sfloop.bench.serve import say
from sfloop.native.engine.core import measure_datagrams, measure_idle

_SENDER, _RECEIVER = "127.77.0.1", "127.77.0.2"


def _involuntary_switches() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw


async def stack(parameters: Mapping[str, Any]) -> None:
    """ns for a datagram sent and received over a wire in shared memory, and for a turn in which nothing arrives."""
    wire, seconds = f"cost{os.getpid()}", parameters["seconds"]
    loops = [
        sfloop.Loop(sfloop.Options(driver="shm", interface=f"{wire}@{address}", fallback="error"))
        for address in (_SENDER, _RECEIVER)
    ]
    # In a thread no loop is running, so that both can be run there, one after the other. Measured is here: the loop of
    # this program stands still meanwhile.
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
    """ns for a turn in which nothing arrives, on whatever driver this program was given."""
    switches = _involuntary_switches()
    loop = asyncio.get_running_loop()
    assert isinstance(loop, sfloop.Loop)
    found = measure_idle(loop, parameters["seconds"])
    say({"idle": found, "seconds": parameters["seconds"], "involuntary_switches": _involuntary_switches() - switches})
