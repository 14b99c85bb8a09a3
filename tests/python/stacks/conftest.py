from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import wire
from harness.link import Link
from program import Program

import sfloop
from sfloop.testing import live_objects


@pytest.fixture
def name() -> str:
    return wire.new_name()


@pytest.fixture(params=["adaptive", "never"])
def near(name: str, request: pytest.FixtureRequest) -> Iterator[sfloop.Loop]:
    """The test's side of a wire, spinning and sleeping."""
    loop = wire.open_side(name, wire.NEAR, spin=request.param)
    yield loop
    loop.close()


@pytest.fixture
def far(name: str, near: sfloop.Loop) -> Iterator[Callable[[Any], Any]]:
    """Run coroutines on the far side's loop."""
    with wire.running_in_thread(wire.open_side(name, wire.FAR)) as run:
        yield run


@pytest.fixture
def far_echo(far: Callable[[Any], Any]) -> tuple[str, int]:
    """The address of a UDP echo on the far side."""

    async def serve() -> Any:
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(wire.Echo, local_addr=(wire.FAR, 0))
        return transport.get_extra_info("sockname")

    address: tuple[str, int] = far(serve())
    return address


@pytest.fixture(params=["af_xdp-adaptive", "af_xdp-never", "packet-adaptive", "packet-never"])
def program(link: Link, request: pytest.FixtureRequest) -> Iterator[Program]:
    made = Program(link, *request.param.split("-"))
    yield made
    made.loop.close()


@pytest.fixture(params=["adaptive", "never"])
def ethernet_loop(request: pytest.FixtureRequest) -> Iterator[sfloop.Loop]:
    """A loop for raw frames, which leaves no transport behind."""
    made = sfloop.Loop(sfloop.Options(spin=request.param, stack="kernel"))
    yield made
    made.close()
    gc.collect()
    assert live_objects()["ethernet_transports"] == 0
