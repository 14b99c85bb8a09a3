"""docs/counters.md is generated from the texts in tools/reference, and names exactly the loops' counters."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from harness import zf

import sfloop
from sfloop.testing import WireLoop

ROOT = Path(__file__).parents[3]
sys.path.insert(0, str(ROOT / "tools"))
from reference import drivers, loop, page, tcp, tcpip  # noqa: E402

STACK = loop.STACK.names
#: Attributes of TCPDirect that docs/solarflare.md names. The library checks them.
ATTRIBUTES = {"rx_ring_max", "rx_timestamping", "tcp_delayed_ack"}


def test_page_is_up_to_date() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "tools" / "write_counters.py", "--check"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_every_counter_says_what_it_counts() -> None:
    for section in page.SECTIONS:
        assert len(set(section.names)) == len(section.names)
        for counter in section.counters:
            assert counter.counts.endswith("."), counter.name
            assert "|" not in counter.counts + counter.tells + counter.do, counter.name


def test_counters_that_other_pages_name_exist() -> None:
    known = {name for section in page.SECTIONS for name in section.names}
    code = "\n".join(
        each.read_text() for each in (ROOT / "sfloop").rglob("*") if each.suffix in (".c", ".h", ".py", ".pyx")
    )
    words = set(re.findall(r"\w+", code)) | ATTRIBUTES
    pages = {ROOT / "README.md", ROOT / "SECURITY.md", *(ROOT / "docs").rglob("*.md")} - {ROOT / "docs" / "counters.md"}
    for path in sorted(pages):
        for name in re.findall(r"`(?:driver\.)?((?:rx|tx|tcp)_[a-z_]*[a-z])`", path.read_text()):
            assert name in known | words, f"{path.name} names {name}"


def test_the_loop_and_the_kernel_stack() -> None:
    with sfloop.Runner(stack="kernel") as runner:
        stats = runner.get_loop().stats()
    assert sorted(stats) == sorted([*loop.LOOP.names, "stacks", "connections", "imports"])
    assert {name: sorted(counters) for name, counters in stats["stacks"].items()} == {"kernel": sorted(STACK)}


def test_the_tcpip_stack_and_its_driver() -> None:
    wire = sfloop.new_event_loop(driver="shm", interface=f"counters{os.getpid()}@127.77.0.1", fallback="error")
    try:
        stats = wire.stats()["stacks"]["tcpip"]
    finally:
        wire.close()
    named = [*STACK, *tcpip.FRAMES.names, *tcp.TCP.names, *tcpip.REFUSALS.names, *tcpip.FLOWS.names, "driver"]
    assert sorted(stats) == sorted(named)
    assert sorted(stats["driver"]) == sorted(drivers.DRIVER.names)


class Accepted(asyncio.Protocol):
    """Keeps the transport of the connection that a server accepted."""

    def __init__(self, transport: asyncio.Future[asyncio.Transport]) -> None:
        self.transport = transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport.set_result(transport)


def test_a_connection() -> None:
    async def connect() -> list[dict[str, Any]]:
        running: Any = asyncio.get_running_loop()
        accepted: asyncio.Future[asyncio.Transport] = running.create_future()
        server = await running.create_server(lambda: Accepted(accepted), "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        transport, _ = await running.create_connection(asyncio.Protocol, "127.0.0.1", port)
        (await accepted).abort()
        known: list[dict[str, Any]] = running.stats()["connections"]
        transport.abort()
        server.close()
        await asyncio.sleep(0.01)
        return known

    wire = WireLoop()
    try:
        connections = wire.run_until_complete(connect())
    finally:
        wire.close()
    assert connections
    for connection in connections:
        assert sorted(connection) == sorted([*loop.CONNECTION.names, "local", "remote"])


def test_tcpdirect() -> None:
    simulated = zf.new_loop()
    try:
        stats = simulated.stats()["stacks"]["tcpdirect"]
    finally:
        simulated.close()
    assert sorted(stats) == sorted([*STACK, *loop.TCPDIRECT.names])
