"""create_connection and connect_accepted_socket."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest
from harness.connections import free_port
from harness.loops import until
from harness.observed import Run
from harness.recording import Echo, Recorder


@contextlib.asynccontextmanager
async def echo_server(host: Any = "127.0.0.1") -> AsyncIterator[Any]:
    server = await asyncio.get_running_loop().create_server(Echo, host, 0)
    try:
        yield server.sockets[0].getsockname()
    finally:
        await asyncio.sleep(0.002)
        server.close()
        await server.wait_closed()


async def check(protocol: Recorder) -> None:
    protocol.transport.write(b"x")
    await until(lambda: protocol.data == b"x")
    protocol.transport.close()
    await protocol.lost


def test_by_name_and_by_address(run: Run) -> None:
    async def main() -> None:
        async with echo_server() as (_, port):
            for host in ("127.0.0.1", "localhost"):
                transport, protocol = await asyncio.get_running_loop().create_connection(Recorder, host, port)
                assert transport is protocol.transport
                assert protocol.made.done(), "connection_made has been called"
                await check(protocol)

    run(main())


def test_ipv6(run: Run) -> None:
    async def main() -> None:
        async with echo_server("::1") as address:
            _, protocol = await asyncio.get_running_loop().create_connection(Recorder, *address[:2])
            assert protocol.transport.get_extra_info("peername")[:2] == address[:2]
            await check(protocol)

    run(main())


def test_local_address(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with echo_server() as address:
            port = free_port()
            _, protocol = await loop.create_connection(Recorder, *address, local_addr=("127.0.0.5", port))
            assert protocol.transport.get_extra_info("sockname") == ("127.0.0.5", port)
            await check(protocol)
            with pytest.raises(OSError, match="198.51.100.1"):
                await loop.create_connection(Recorder, *address, local_addr=("198.51.100.1", 0))

    run(main())


def test_a_socket_of_the_programs_own(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with echo_server() as address:
            sock = socket.socket()
            sock.setblocking(False)
            await loop.sock_connect(sock, address)
            _, protocol = await loop.create_connection(Recorder, sock=sock)
            await check(protocol)
            assert sock.fileno() == -1

    run(main())


def test_refused(run: Run) -> None:
    async def main() -> None:
        with pytest.raises(ConnectionRefusedError):
            await asyncio.get_running_loop().create_connection(Recorder, "127.0.0.1", free_port())

    run(main())


def test_all_addresses_refused(run: Run) -> None:
    async def main() -> None:
        with pytest.raises(OSError) as raised:
            await asyncio.get_running_loop().create_connection(Recorder, "localhost", free_port())
        assert isinstance(raised.value, ConnectionRefusedError) or "Multiple exceptions" in str(raised.value)

    run(main())


@pytest.mark.skipif(sys.version_info < (3, 12), reason="all_errors is new in Python 3.12")
def test_all_errors(run: Run) -> None:
    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        with pytest.raises(BaseException) as raised:
            await loop.create_connection(Recorder, "127.0.0.1", free_port(), all_errors=True)
        group: Any = raised.value
        assert type(group).__name__ == "ExceptionGroup"
        assert all(isinstance(exc, ConnectionRefusedError) for exc in group.exceptions)

    run(main())


def test_unknown_host(run: Run) -> None:
    async def main() -> None:
        with pytest.raises(socket.gaierror):
            await asyncio.get_running_loop().create_connection(Recorder, "no host", 1)

    run(main())


def resolving_to(*addresses: tuple[str, int]) -> Any:
    """Replace the loop's name resolution: these addresses for any.name, and addresses as they are."""

    async def resolve(address: Any, **kwargs: Any) -> list[Any]:
        return [
            (socket.AF_INET6 if ":" in a[0] else socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", a)
            for a in (addresses if address[0] == "any.name" else [address])
        ]

    return resolve


@contextlib.asynccontextmanager
async def black_hole() -> AsyncIterator[tuple[str, int]]:
    """Yield a loopback address where connect() neither succeeds nor fails: a listener whose queue is full."""
    with socket.socket() as listener, contextlib.ExitStack() as stack:
        listener.bind(("127.0.0.9", 0))
        listener.listen(0)
        for _ in range(2):
            client = stack.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(listener.getsockname())
        await asyncio.sleep(0.01)
        yield listener.getsockname()


def test_happy_eyeballs(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        async with echo_server() as good, black_hole() as bad:
            monkeypatch.setattr(loop, "_ensure_resolved", resolving_to(bad, good))
            _, protocol = await asyncio.wait_for(
                loop.create_connection(Recorder, "any.name", 1, happy_eyeballs_delay=0.02), 5
            )
            assert protocol.transport.get_extra_info("peername") == good
            await check(protocol)

    run(main())


def test_without_happy_eyeballs_the_first_address_is_waited_for(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        async with echo_server() as good, black_hole() as bad:
            monkeypatch.setattr(loop, "_ensure_resolved", resolving_to(bad, good))
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(loop.create_connection(Recorder, "any.name", 1), 0.1)

    run(main())


def test_interleave(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        async with echo_server() as good:
            dead = ("::1", free_port())
            monkeypatch.setattr(loop, "_ensure_resolved", resolving_to(dead, dead, good))
            for interleave in (0, 1, 2):
                _, protocol = await loop.create_connection(
                    Recorder, "any.name", 1, happy_eyeballs_delay=0.01, interleave=interleave
                )
                assert protocol.transport.get_extra_info("peername") == good
                await check(protocol)

    run(main())


def test_cancelling_a_connect_closes_the_socket(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with black_hole() as bad:
            task = asyncio.ensure_future(loop.create_connection(Recorder, *bad))
            await asyncio.sleep(0.02)
            assert not task.done()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    run(main())


def test_cancelling_at_every_moment(run: Run) -> None:
    """After any number of iterations: connected or cancelled, without a leak (the fixture counts)."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with echo_server() as address:
            for count in range(12):
                task = asyncio.ensure_future(loop.create_connection(Recorder, *address))
                for _ in range(count):
                    await asyncio.sleep(0)
                task.cancel()
                try:
                    _, protocol = await task
                except asyncio.CancelledError:
                    continue
                protocol.transport.close()
                await protocol.lost
            await asyncio.sleep(0.02)

    import gc
    import warnings

    with warnings.catch_warnings():
        # The garbage collector closes the transport of a connect that is cancelled after the transport was made.
        warnings.simplefilter("ignore", ResourceWarning)
        run(main())
        gc.collect()


def test_contradictory_arguments(run: Run) -> None:
    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        with socket.socket() as sock, socket.socket(type=socket.SOCK_DGRAM) as datagram:
            with pytest.raises(ValueError, match="host/port and sock can not be specified at the same time"):
                await loop.create_connection(Recorder, "127.0.0.1", 1, sock=sock)
            with pytest.raises(ValueError, match="host and port was not specified and no sock specified"):
                await loop.create_connection(Recorder)
            with pytest.raises(ValueError, match="A Stream Socket was expected"):
                await loop.create_connection(Recorder, sock=datagram)
        with pytest.raises(ValueError, match="server_hostname is only meaningful with ssl"):
            await loop.create_connection(Recorder, "127.0.0.1", 1, server_hostname="x")
        with pytest.raises(ValueError, match="You must set server_hostname when using ssl without a host"):
            await loop.create_connection(Recorder, "", 1, ssl=True)

    run(main())


def test_connect_accepted_socket(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with socket.create_server(("127.0.0.1", 0)) as listener:
            client = socket.create_connection(listener.getsockname())
            accepted, peer = listener.accept()
        transport, protocol = await loop.connect_accepted_socket(Echo, accepted)
        assert protocol.made.done()
        assert transport.get_extra_info("peername") == peer
        client.sendall(b"through")
        client.setblocking(False)
        assert await loop.sock_recv(client, 100) == b"through"
        client.close()
        await protocol.lost

    run(main())


def test_connect_accepted_socket_wants_a_stream(run: Run) -> None:
    async def main() -> None:
        with socket.socket(type=socket.SOCK_DGRAM) as sock:
            with pytest.raises(ValueError, match="A Stream Socket was expected"):
                await asyncio.get_running_loop().connect_accepted_socket(Echo, sock)

    run(main())


def test_a_socket_that_is_not_connected(run: Run) -> None:
    """The transport is made; reading from it fails, and connection_lost gets the error."""

    async def main() -> None:
        sock = socket.socket()
        sock.setblocking(False)
        _, protocol = await asyncio.get_running_loop().create_connection(Recorder, sock=sock)
        exc = await asyncio.wait_for(protocol.lost, 5)
        assert isinstance(exc, OSError)

    run(main())
