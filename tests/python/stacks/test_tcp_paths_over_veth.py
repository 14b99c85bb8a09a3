"""TCP of the tcpip stack to hosts behind a router: ICMP errors, narrow paths, dropped privileges."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hashlib
import os
import random
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from harness.capabilities import none_effective
from harness.link import FAR, Link, Side, forward, host_behind
from program import Program, kernel_server

import sfloop

NOWHERE, NETWORK = "198.18.10.2", "198.18.9.0/24"
SOL_RAW, ICMP_FILTER = 255, 1
MTU = 1200


@contextmanager
def router(link: Link) -> Iterator[Side]:
    """The far side forwards to a third host by a path with a narrow middle, and not to another network."""
    with host_behind(link.far, "veth1") as host:
        link.far.ip("route", "replace", NETWORK, "dev", "veth1", "mtu", str(MTU))
        link.far.ip("route", "add", "prohibit", "198.18.10.0/24")
        forward(link.far)
        link.near.ip("route", "add", NETWORK, "via", FAR)
        link.near.ip("route", "add", "198.18.10.0/24", "via", FAR)
        yield host


def answer_with_sum(conn: socket.socket) -> None:
    """Answer with the sum of all received bytes."""
    found = hashlib.sha256()
    while data := conn.recv(1 << 16):
        found.update(data)
    conn.sendall(found.digest())


def deafen_to_icmp() -> None:
    """Discard all messages to the stack's raw socket, as if a router on the way sent none."""
    found = 0
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(int(name))) as sock:
            if sock.type == socket.SOCK_RAW and sock.proto == socket.IPPROTO_ICMP:
                sock.setsockopt(SOL_RAW, ICMP_FILTER, struct.pack("=I", 0xFFFFFFFF))
                found += 1
    assert found == 1


async def upload(loop: sfloop.Loop, address: Any, data: bytes) -> dict[str, Any]:
    """Send `data`, and return the connection's information before its end."""
    reader, writer = await asyncio.open_connection(*address)
    assert writer.get_extra_info("stack") == "tcpip"
    writer.write(data)
    writer.write_eof()
    assert await reader.readexactly(32) == hashlib.sha256(data).digest()
    found: dict[str, Any] = loop.stats()["connections"][0]
    writer.close()
    await writer.wait_closed()
    return found


def test_an_unreachable_network_is_said_at_once(program: Program) -> None:
    async def main() -> None:
        begin = time.monotonic()
        with pytest.raises(OSError) as raised:
            await asyncio.open_connection(NOWHERE, 80)
        assert raised.value.errno == errno.EHOSTUNREACH
        assert time.monotonic() - begin < 1.5

    with router(program.link):
        program.run(main())
    assert program.counters()["icmp_errors"] > 0


def test_a_narrow_path_is_learned(program: Program) -> None:
    data = random.Random(1).randbytes(3 << 20)
    with router(program.link) as host, kernel_server(host, answer_with_sum) as address:
        found = program.run(upload(program.loop, address, data))
    assert found["mss"] == MTU - 20 - 20 - 12
    assert program.counters()["path_mtu_learned"] > 0


@pytest.mark.timeout(60)
def test_a_narrow_path_that_nobody_speaks_of(program: Program) -> None:
    """The path's MTU is found by the loss of large segments (RFC 4821's case), which takes a few timeouts."""
    data = random.Random(2).randbytes(200_000)
    with program.link.near.entered():
        deafen_to_icmp()
    with router(program.link) as host, kernel_server(host, answer_with_sum) as address:
        found = program.run(upload(program.loop, address, data))
    assert 500 <= found["mss"] <= MTU - 52
    assert program.counters()["tcp_black_holes"] > 0


def test_privileges_given_up_after_the_loop_was_made(program: Program) -> None:
    """All that needs privileges exists by then: connections out and in, ICMP, neighbours, filters that come and go."""
    data = random.Random(3).randbytes(300_000)
    got: list[bytes] = []

    async def main(address: Any) -> dict[str, Any]:
        server = await asyncio.start_server(greet, None, 0, family=socket.AF_INET)
        port = server.sockets[0].getsockname()[1]
        await program.loop.run_in_executor(None, call, port)
        server.close()
        await server.wait_closed()
        with pytest.raises(OSError) as raised:
            await asyncio.open_connection(NOWHERE, 80)
        assert raised.value.errno == errno.EHOSTUNREACH
        return await upload(program.loop, address, data)

    async def greet(_: Any, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello")
        writer.close()

    def call(port: int) -> None:
        client.connect((program.link.near.address, port))
        got.append(client.recv(100))

    with (
        router(program.link) as host,
        kernel_server(host, answer_with_sum) as address,
        program.link.far.socket(socket.SOCK_STREAM) as client,
        program.link.near.entered(),
        none_effective(),
    ):
        with pytest.raises(PermissionError):
            socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
        found = program.loop.run_until_complete(asyncio.wait_for(main(address), 25))
    assert got == [b"hello"]
    assert found["mss"] == MTU - 52
