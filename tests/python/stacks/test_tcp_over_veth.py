"""asyncio's TCP on the tcpip stack over AF_XDP and AF_PACKET; at the other end of a veth pair is the kernel's TCP."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import http.client
import os
import random
import socket
import ssl
import struct
import threading
import time
from typing import Any

import pytest
import trustme
import wire
from harness.connections import exchange
from harness.link import ETHTOOL_STXCSUM, FAR, NEAR, Link
from harness.tunnels import put_tunnel
from program import Program, echo, kernel_server

import sfloop

BLOCK = random.Random(0).randbytes(1 << 20)

#: Mebibytes of a bulk transfer: small here; 1024 for the gigabyte.
BULK = int(os.environ.get("SFLOOP_TEST_BULK_MIB", "48"))


def echoes(sock: socket.socket, size: int) -> bool:
    """Send random data; return whether the echo is the same."""
    data = random.Random(size).randbytes(size)
    sender = threading.Thread(target=sock.sendall, args=(data,))
    sender.start()
    got = b""
    while len(got) < size:
        got += sock.recv(1 << 16)
    sender.join()
    return got == data


def digest(mebibytes: int) -> bytes:
    found = hashlib.sha256()
    for _ in range(mebibytes):
        found.update(BLOCK)
    return found.digest()


async def write_bulk(writer: asyncio.StreamWriter, mebibytes: int) -> None:
    for _ in range(mebibytes):
        writer.write(BLOCK)
        await writer.drain()
    writer.write_eof()


async def read_bulk(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    found, got = hashlib.sha256(), 0
    while data := await reader.read(1 << 20):
        found.update(data)
        got += len(data)
    return got, found.digest()


async def there_and_back(loop: sfloop.Loop, address: Any, mebibytes: int) -> dict[str, Any]:
    """Send data in both directions at once and compare hashes; return the connection's information before its end."""
    reader, writer = await asyncio.open_connection(*address)
    assert writer.get_extra_info("stack") == "tcpip"
    sending = asyncio.ensure_future(write_bulk(writer, mebibytes))
    assert await read_bulk(reader) == (mebibytes << 20, digest(mebibytes))
    await sending
    (known,) = loop.stats()["connections"]
    writer.close()
    await writer.wait_closed()
    return dict(known)


@pytest.mark.parametrize("offload", [True, False])
def test_a_client_of_a_kernel_server(program: Program, offload: bool) -> None:
    program.link.set_offload(ETHTOOL_STXCSUM, offload)

    async def main(address: Any) -> None:
        reader, writer = await asyncio.open_connection(*address)
        assert writer.get_extra_info("stack") == "tcpip"
        assert writer.get_extra_info("sockname")[0] == NEAR
        await exchange(reader, writer, (1, 64, 1448, 1449, 40_000, 300_000))

    with kernel_server(program.link.far, echo) as address:
        program.run(main(address))
    assert program.frames()[1] > 20


def test_a_server_of_kernel_clients(program: Program) -> None:
    """Two clients at once connect by the interface; a third by loopback, where the kernel's half of the server accepts
    it."""

    def talk(near_side: bool, address: tuple[str, int], size: int) -> None:
        side = program.link.near if near_side else program.link.far
        with side.socket(socket.SOCK_STREAM) as sock:
            sock.settimeout(20)
            sock.connect(address)
            assert echoes(sock, size)

    async def main() -> None:
        server = await asyncio.start_server(wire.serve_echo, None, 0, family=socket.AF_INET)
        port = server.sockets[0].getsockname()[1]
        threads = [
            program.loop.run_in_executor(None, talk, *arguments)
            for arguments in (
                (False, (NEAR, port), 500_000),
                (False, (NEAR, port), 3),
                (True, ("127.0.0.1", port), 1000),
            )
        ]
        await asyncio.gather(*threads)
        server.close()
        await server.wait_closed()

    program.run(main())


@pytest.mark.parametrize("mtu", [576, 1500, 3400, 9000])
def test_bulk_in_both_directions_by_hash(link: Link, mtu: int) -> None:
    link.set_mtu(mtu)
    program = Program(link, "af_xdp", "adaptive")
    mebibytes = BULK if mtu == 1500 else 8

    with kernel_server(link.far, echo) as address, link.near.entered():
        program.loop.run_until_complete(
            asyncio.wait_for(there_and_back(program.loop, address, mebibytes), 25 + 2 * mebibytes)
        )
    program.loop.close()


def test_segments_that_the_kernel_has_merged(link: Link) -> None:
    """A virtual peer's segments of up to 64 KiB reach a program in skb mode uncut."""
    program = Program(link, "af_xdp", "adaptive", interface=put_tunnel(link))
    mode = program.loop.describe()["driver"]["mode"]
    assert mode.startswith("skb, copy") and "merged segments" in mode

    with kernel_server(link.far, echo) as address:
        program.run(there_and_back(program.loop, address, 48))
    driver = program.counters()["driver"]
    assert driver["rx_bytes"] / driver["rx_frames"] > 3000
    with link.near.entered():
        program.loop.close()


@pytest.mark.parametrize(
    "faults",
    [
        "loss=0.1%,seed=1",
        "loss=1%,seed=2",
        "loss=5%,seed=3",
        "reorder=5%,seed=4",
        "duplicate=5%,seed=5",
        "corrupt=2%,seed=6",
        "loss=1%,reorder=2%,duplicate=1%,corrupt=0.5%,delay=50us..500us,seed=7",
    ],
)
def test_nothing_is_lost_on_a_bad_wire(link: Link, faults: str) -> None:
    program = Program(link, "af_xdp", "adaptive", faults=faults)

    with kernel_server(link.far, echo) as address:
        known = program.run(there_and_back(program.loop, address, 2))
    if "loss=1" in faults or "loss=5" in faults or "corrupt" in faults:
        assert known["retransmits"] > 0
    program.loop.close()


def test_an_unmodified_aiohttp_server_with_tls(program: Program) -> None:
    """The kernel's sockets at the other end speak HTTP and TLS by Python's own modules."""
    from aiohttp import web

    authority = trustme.CA()
    context, trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert(NEAR).configure_cert(context)
    authority.configure_trust(trusting)
    body = random.Random(5).randbytes(200_000)

    async def answer(request: web.Request) -> web.Response:
        assert request.transport is not None
        assert request.transport.get_extra_info("stack") == "tcpip"
        return web.Response(body=await request.read())

    def post(address: tuple[str, int]) -> list[bytes]:
        with program.link.far.socket(socket.SOCK_STREAM) as sock:
            sock.settimeout(20)
            sock.connect(address)
            connection = http.client.HTTPSConnection(NEAR, context=trusting)
            connection.sock = trusting.wrap_socket(sock, server_hostname=NEAR)
            answers = []
            for _ in range(3):
                connection.request("POST", "/", body)
                answers.append(connection.getresponse().read())
            connection.close()
            return answers

    async def main() -> None:
        application = web.Application(client_max_size=1 << 20)
        application.router.add_post("/", answer)
        runner = web.AppRunner(application)
        await runner.setup()
        site = web.TCPSite(runner, NEAR, 0, ssl_context=context)
        await site.start()
        assert await program.loop.run_in_executor(None, post, runner.addresses[0]) == [body] * 3
        await runner.cleanup()

    program.run(main())


def test_a_window_of_zero_for_a_second(program: Program) -> None:
    """The kernel's program does not read for a while; then all data arrives."""
    read: list[bytes] = []

    def serve(conn: socket.socket) -> None:
        conn.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        time.sleep(1.2)
        while data := conn.recv(1 << 16):
            read.append(data)

    async def main(address: Any) -> None:
        _, writer = await asyncio.open_connection(*address)
        writer.write(BLOCK * 4)
        await asyncio.sleep(0.6)
        assert writer.transport.get_write_buffer_size() > 0 or program.loop.stats()["connections"][0]["unsent"] > 0
        while not read or sum(map(len, read)) < 4 << 20:
            await asyncio.sleep(0.02)
        writer.close()
        await writer.wait_closed()

    with kernel_server(program.link.far, serve) as address:
        program.run(main(address))
    assert b"".join(read) == BLOCK * 4


def test_our_window_closes_while_we_do_not_read(program: Program) -> None:
    def serve(conn: socket.socket) -> None:
        conn.sendall(BLOCK * 24)

    async def main(address: Any) -> None:
        received = []

        class Slow(wire.Flow):
            def data_received(self, data: bytes) -> None:
                received.append(data)

        transport, protocol = await program.loop.create_connection(Slow, *address)
        transport.pause_reading()
        await asyncio.sleep(0.7)
        before = len(received)
        assert program.loop.stats()["connections"][0]["unread"] > 64 << 10
        assert program.loop.stats()["connections"][0]["bytes_received"] < 24 << 20
        transport.resume_reading()
        assert await protocol.lost is None
        assert len(received) > before
        assert b"".join(received) == BLOCK * 24

    with kernel_server(program.link.far, serve) as address:
        program.run(main(address))


def test_refused_reset_and_half_closed(program: Program) -> None:
    served = threading.Event()

    def serve(conn: socket.socket) -> None:
        order = conn.recv(1)
        if order == b"r":
            conn.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        elif order == b"h":
            conn.shutdown(socket.SHUT_WR)
            got = b""
            while data := conn.recv(1 << 16):
                got += data
            assert len(got) == 100_000
            served.set()

    async def main(address: Any) -> None:
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(FAR, 9)
        reader, writer = await asyncio.open_connection(*address)
        writer.write(b"r")
        with pytest.raises(ConnectionResetError):
            await reader.read()
        writer.transport.abort()
        reader, writer = await asyncio.open_connection(*address)
        writer.write(b"h")
        assert await reader.read() == b""
        writer.write(bytes(100_000))
        writer.close()
        await writer.wait_closed()
        while not served.is_set():  # the stack delivers while its loop runs
            await asyncio.sleep(0.01)

    with kernel_server(program.link.far, serve) as address:
        program.run(main(address))


def test_connections_outlive_their_listener(program: Program) -> None:
    """Their own filters replace the listener's; its port is the kernel's again, and free after the last connection's
    end."""
    link, loop = program.link, program.loop

    def refused(port: int) -> bool:
        with link.far.socket(socket.SOCK_STREAM) as sock:
            return sock.connect_ex((NEAR, port)) == errno.ECONNREFUSED

    async def main() -> None:
        server = await asyncio.start_server(wire.serve_echo, NEAR, 0)
        port = server.sockets[0].getsockname()[1]
        with link.far.socket(socket.SOCK_STREAM) as first, link.far.socket(socket.SOCK_STREAM) as second:
            for sock in (first, second):
                await loop.run_in_executor(None, sock.connect, (NEAR, port))
                assert await loop.run_in_executor(None, echoes, sock, 10)
            server.close()
            await asyncio.sleep(0.05)
            assert await loop.run_in_executor(None, refused, port)
            for sock in (first, second):
                assert await loop.run_in_executor(None, echoes, sock, 300_000)
        while loop.stats()["connections"]:
            await asyncio.sleep(0.01)
        with link.near.socket(socket.SOCK_STREAM) as another:
            another.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            another.bind((NEAR, port))
            another.listen()
            with link.far.socket(socket.SOCK_STREAM) as sock:
                await loop.run_in_executor(None, sock.connect, (NEAR, port))
                with another.accept()[0] as conn:
                    conn.sendall(b"the kernel's")
                    assert sock.recv(100) == b"the kernel's"

    program.run(main())
