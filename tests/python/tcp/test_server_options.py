"""Every argument of create_server."""

from __future__ import annotations

import asyncio
import socket
import sys
from typing import Any

import pytest
from harness.connections import free_port
from harness.loops import until
from harness.observed import Run
from harness.recording import Echo, Recorder, keeping


async def check(address: tuple[Any, ...]) -> None:
    """Echo over a new connection to the server."""
    _, client = await asyncio.get_running_loop().create_connection(Recorder, *address[:2])
    client.transport.write(b"x")
    await until(lambda: client.data == b"x")
    client.transport.close()
    await client.lost


async def closed(server: Any) -> None:
    server.close()
    await server.wait_closed()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.0.0.2"])
def test_one_host(run: Run, host: str) -> None:
    async def main() -> None:
        server = await asyncio.get_running_loop().create_server(Echo, host, 0)
        for sock in server.sockets:
            await check(sock.getsockname())
        await closed(server)

    run(main())


def test_several_hosts(run: Run) -> None:
    async def main() -> None:
        port = free_port()
        server = await asyncio.get_running_loop().create_server(Echo, ["127.0.0.1", "127.0.0.2", "::1"], port)
        assert sorted(s.getsockname()[:2] for s in server.sockets) == [
            ("127.0.0.1", port),
            ("127.0.0.2", port),
            ("::1", port),
        ]
        for sock in server.sockets:
            await check(sock.getsockname())
        await closed(server)

    run(main())


@pytest.mark.parametrize("host", [None, ""])
def test_all_interfaces(run: Run, host: str | None) -> None:
    async def main() -> None:
        server = await asyncio.get_running_loop().create_server(Echo, host, free_port())
        assert {s.family for s in server.sockets} == {socket.AF_INET, socket.AF_INET6}
        port = server.sockets[0].getsockname()[1]
        for address in ("127.0.0.1", "127.0.0.3", "::1"):
            await check((address, port))
        await closed(server)

    run(main())


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_family(run: Run, family: socket.AddressFamily) -> None:
    async def main() -> None:
        server = await asyncio.get_running_loop().create_server(Echo, None, free_port(), family=family)
        assert {s.family for s in server.sockets} == {family}
        await closed(server)

    run(main())


def test_a_socket_of_the_programs_own(run: Run) -> None:
    async def main() -> None:
        sock = socket.socket()
        sock.bind(("127.0.0.1", 0))
        server = await asyncio.get_running_loop().create_server(Echo, sock=sock)
        assert sock.gettimeout() == 0
        await check(sock.getsockname())
        await closed(server)
        assert sock.fileno() == -1, "the server owns it"

    run(main())


def test_reuse_port_lets_two_servers_share_a_port(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        first = await loop.create_server(Echo, "127.0.0.1", 0, reuse_port=True)
        address = first.sockets[0].getsockname()
        second = await loop.create_server(Echo, *address, reuse_port=True)
        for _ in range(10):
            await check(address)
        with pytest.raises(OSError, match="address already in use"):
            await loop.create_server(Echo, *address)
        await closed(first)
        await check(address)
        await closed(second)

    run(main())


@pytest.mark.parametrize("reuse", [True, False])
def test_reuse_address(run: Run, reuse: bool) -> None:
    async def main() -> None:
        server = await asyncio.get_running_loop().create_server(Echo, "127.0.0.1", 0, reuse_address=reuse)
        assert bool(server.sockets[0].getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR)) is reuse
        await closed(server)

    run(main())


@pytest.mark.sfloop_only("new in Python 3.13", when=sys.version_info < (3, 13))
@pytest.mark.parametrize("keep_alive", [True, False, None])
def test_keep_alive(run: Run, keep_alive: bool | None) -> None:
    made, factory = keeping(Echo)

    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        server = await loop.create_server(factory, "127.0.0.1", 0, keep_alive=keep_alive)
        assert bool(server.sockets[0].getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)) is bool(keep_alive)
        _, client = await loop.create_connection(Recorder, *server.sockets[0].getsockname())
        await until(lambda: made and made[0].made.done())
        sock = made[0].transport.get_extra_info("socket")
        assert bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)) is bool(keep_alive)
        client.transport.close()
        await made[0].lost
        await closed(server)

    run(main())


def test_backlog(run: Run) -> None:
    """ss -l shows the backlog; the kernel keeps a listener's in TCP_INFO's tcpi_sacked."""

    async def main() -> None:
        server = await asyncio.get_running_loop().create_server(Echo, "127.0.0.1", 0, backlog=7)
        info = server.sockets[0].getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
        assert int.from_bytes(info[28:32], sys.byteorder) == 7
        await closed(server)

    run(main())


def test_a_small_backlog_still_serves_many(run: Run) -> None:
    async def main() -> None:
        server = await asyncio.get_running_loop().create_server(Echo, "127.0.0.1", 0, backlog=1)
        address = server.sockets[0].getsockname()
        for _ in range(30):
            await check(address)
        await closed(server)

    run(main())


def test_an_address_in_use(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Echo, "127.0.0.1", 0)
        with pytest.raises(OSError, match="address already in use"):
            await loop.create_server(Echo, *server.sockets[0].getsockname())
        with pytest.raises(OSError, match="address already in use"):
            await loop.create_server(Echo, ["127.0.0.2", "127.0.0.1"], server.sockets[0].getsockname()[1])
        await closed(server)

    run(main())


def test_an_address_that_is_not_ours(run: Run) -> None:
    async def main() -> None:
        with pytest.raises(OSError, match="198.51.100.1"):
            await asyncio.get_running_loop().create_server(Echo, "198.51.100.1", 0)

    run(main())


def test_contradictory_arguments(run: Run) -> None:
    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        with socket.socket() as sock, socket.socket(type=socket.SOCK_DGRAM) as datagram:
            with pytest.raises(ValueError, match="host/port and sock can not be specified at the same time"):
                await loop.create_server(Echo, "127.0.0.1", 0, sock=sock)
            with pytest.raises(ValueError, match="Neither host/port nor sock were specified"):
                await loop.create_server(Echo)
            with pytest.raises(ValueError, match="A Stream Socket was expected"):
                await loop.create_server(Echo, sock=datagram)
        with pytest.raises(TypeError, match="ssl argument must be an SSLContext or None"):
            await loop.create_server(Echo, "127.0.0.1", 0, ssl=True)
        with pytest.raises(ValueError, match="ssl_handshake_timeout is only meaningful with ssl"):
            await loop.create_server(Echo, "127.0.0.1", 0, ssl_handshake_timeout=5)

    run(main())


def test_port_zero_gives_each_host_a_port(run: Run) -> None:
    async def main() -> None:
        server = await asyncio.get_running_loop().create_server(Echo, ["127.0.0.1", "127.0.0.2"], 0)
        assert len(server.sockets) == 2
        for sock in server.sockets:
            assert sock.getsockname()[1] > 0
            await check(sock.getsockname())
        await closed(server)

    run(main())
