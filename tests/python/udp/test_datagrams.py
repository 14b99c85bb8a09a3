"""UDP endpoints: sending, receiving, addresses."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest
from harness.connections import address_of, free_port, udp
from harness.loops import turns, until
from harness.observed import Run
from harness.recording import DatagramEcho, DatagramRecorder


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_echo(run: Run, host: str) -> None:
    async def main() -> None:
        async with (
            udp(DatagramEcho, local_addr=(host, 0)) as server,
            udp(DatagramRecorder, local_addr=(host, 0)) as client,
        ):
            client.transport.sendto(b"hello", address_of(server))
            await until(lambda: bool(client.received))
            assert client.received == [(b"hello", address_of(server))]
            assert server.received == [(b"hello", address_of(client))]
            assert client.calls == ["connection_made", "datagram_received"]

    run(main())


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_connected(run: Run, host: str) -> None:
    async def main() -> None:
        async with (
            udp(DatagramEcho, local_addr=(host, 0)) as server,
            udp(DatagramRecorder, remote_addr=address_of(server)[:2]) as client,
        ):
            assert client.transport.get_extra_info("peername")[:2] == address_of(server)[:2]
            client.transport.sendto(b"one")
            client.transport.sendto(b"two", None)
            client.transport.sendto(b"three", address_of(server))
            await until(lambda: len(client.received) == 3)
            assert client.received == [(data, address_of(server)) for data in (b"one", b"two", b"three")]

    run(main())


def test_connected_endpoints_send_to_their_peer_only(run: Run) -> None:
    async def main() -> None:
        async with udp(DatagramEcho) as server, udp(DatagramRecorder, remote_addr=address_of(server)) as client:
            with pytest.raises(ValueError, match="Invalid address: must be None or"):
                client.transport.sendto(b"x", ("127.0.0.1", 9))
            client.transport.sendto(b"goes on")
            await until(lambda: bool(client.received))

    run(main())


def test_local_and_remote_address(run: Run) -> None:
    async def main() -> None:
        port = free_port(socket.SOCK_DGRAM)
        async with (
            udp(DatagramEcho) as server,
            udp(DatagramRecorder, local_addr=("127.0.0.1", port), remote_addr=address_of(server)) as client,
        ):
            assert address_of(client) == ("127.0.0.1", port)
            client.transport.sendto(b"x")
            await until(lambda: bool(client.received))
            assert server.received == [(b"x", ("127.0.0.1", port))]

    run(main())


def test_types_and_extra_information(run: Run, loop_kind: str) -> None:
    async def main() -> None:
        async with udp(DatagramRecorder) as endpoint:
            transport = endpoint.transport
            assert isinstance(transport, asyncio.DatagramTransport) or type(transport).__module__.startswith("asyncio")
            sock = transport.get_extra_info("socket")
            assert sock.type == socket.SOCK_DGRAM and sock.getsockname() == transport.get_extra_info("sockname")
            assert transport.get_extra_info("peername") is None
            assert transport.get_extra_info("nothing", 3) == 3
            assert transport.get_protocol() is endpoint
            assert ("stack=tcpip" if loop_kind == "tcpip" else f"fd={sock.fileno()}") in repr(transport)
            assert not transport.is_closing()

    run(main())


@pytest.mark.parametrize("data", [b"bytes", bytearray(b"bytearray"), memoryview(b"memoryview")])
def test_bytes_like_objects(run: Run, data: Any) -> None:
    async def main() -> None:
        async with udp(DatagramRecorder) as a, udp(DatagramRecorder) as b:
            a.transport.sendto(data, address_of(b))
            await until(lambda: bool(b.received))
            assert b.received[0][0] == bytes(data)
            assert type(b.received[0][0]) is bytes

    run(main())


@pytest.mark.parametrize("data", ["text", 5, None, [b"x"]])
def test_other_objects_are_refused(run: Run, data: Any) -> None:
    async def main() -> None:
        async with udp(DatagramRecorder) as a:
            with pytest.raises(TypeError, match="data argument must be a bytes-like object, not"):
                a.transport.sendto(data, ("127.0.0.1", 9))

    run(main())


@pytest.mark.parametrize("size", [1, 1472, 1473, 9000, 65507])
def test_sizes(run: Run, size: int) -> None:
    async def main() -> None:
        async with udp(DatagramEcho) as server, udp(DatagramRecorder) as client:
            data = bytes(i % 251 for i in range(size))
            client.transport.sendto(data, address_of(server))
            await until(lambda: bool(client.received))
            assert client.received == [(data, address_of(server))]

    run(main())


def test_broadcast(run: Run) -> None:
    async def main() -> None:
        for allow in (True, None):
            async with udp(DatagramRecorder, local_addr=("127.0.0.1", 0), allow_broadcast=allow) as endpoint:
                sock = endpoint.transport.get_extra_info("socket")
                assert bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST)) is bool(allow)

    run(main())


def test_reuse_port(run: Run) -> None:
    async def main() -> None:
        async with udp(DatagramRecorder, local_addr=("127.0.0.1", 0), reuse_port=True) as first:
            async with udp(DatagramRecorder, local_addr=address_of(first), reuse_port=True) as second:
                assert address_of(first) == address_of(second)
            with pytest.raises(OSError, match="in use"):
                await asyncio.get_running_loop().create_datagram_endpoint(
                    DatagramRecorder, local_addr=address_of(first)
                )

    run(main())


def test_a_socket_of_the_programs_own(run: Run) -> None:
    async def main() -> None:
        sock = socket.socket(type=socket.SOCK_DGRAM)
        sock.bind(("127.0.0.1", 0))
        async with udp(DatagramEcho, sock=sock) as server, udp(DatagramRecorder) as client:
            client.transport.sendto(b"x", sock.getsockname())
            await until(lambda: bool(client.received))
            server.transport.close()
            await server.lost
            assert sock.fileno() == -1

    run(main())


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_by_family_only(run: Run, family: socket.AddressFamily) -> None:
    async def main() -> None:
        host = "127.0.0.1" if family == socket.AF_INET else "::1"
        async with udp(DatagramEcho, local_addr=(host, 0)) as server, udp(DatagramRecorder, family=family) as client:
            client.transport.sendto(b"x", address_of(server))
            await until(lambda: bool(client.received))

    run(main())


def test_contradictory_arguments(run: Run) -> None:
    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        with socket.socket(type=socket.SOCK_DGRAM) as sock, socket.socket() as stream:
            with pytest.raises(ValueError, match="socket modifier keyword arguments can not be used when sock"):
                await loop.create_datagram_endpoint(DatagramRecorder, local_addr=("127.0.0.1", 0), sock=sock)
            with pytest.raises(ValueError, match="A (UDP|datagram) Socket was expected|was expected"):
                await loop.create_datagram_endpoint(DatagramRecorder, sock=stream)
        with pytest.raises(ValueError, match="unexpected address family"):
            await loop.create_datagram_endpoint(DatagramRecorder)
        with pytest.raises(ValueError, match="can not get address information|address information"):
            await loop.create_datagram_endpoint(
                DatagramRecorder, local_addr=("127.0.0.1", 0), remote_addr=("::1", 9), family=0
            )
        with pytest.raises((TypeError, AssertionError), match="2-tuple is expected"):
            await loop.create_datagram_endpoint(DatagramRecorder, local_addr="127.0.0.1")
        with pytest.raises(OSError, match="assign requested address"):
            await loop.create_datagram_endpoint(DatagramRecorder, local_addr=("198.51.100.1", 0))

    run(main())


@pytest.mark.parametrize("way", ["close", "abort"])
def test_closing(run: Run, way: str) -> None:
    async def main() -> None:
        async with udp(DatagramRecorder) as endpoint:
            getattr(endpoint.transport, way)()
            assert endpoint.transport.is_closing()
            assert not endpoint.lost.done()
            getattr(endpoint.transport, way)()
            assert await endpoint.lost is None
            await turns()
            assert endpoint.calls == ["connection_made", "connection_lost"]
            assert "closed" in repr(endpoint.transport)

    run(main())


@pytest.mark.parametrize("way", ["close", "abort"])
def test_closing_within_datagram_received(run: Run, way: str) -> None:
    """Datagrams that are still in the socket, or in the batch just received, are not delivered any more."""

    class Closing(DatagramRecorder):
        def datagram_received(self, data: bytes, addr: Any) -> None:
            super().datagram_received(data, addr)
            if len(self.received) == 3:
                getattr(self.transport, way)()

    async def main() -> None:
        async with udp(Closing) as server, udp(DatagramRecorder) as client:
            for i in range(50):
                client.transport.sendto(bytes([i]), address_of(server))
            assert await server.lost is None
            await turns()
            assert [data for data, _ in server.received] == [b"\0", b"\1", b"\2"]
            assert server.calls[-1] == "connection_lost"

    run(main())


def test_sending_in_connection_made(run: Run) -> None:
    async def main() -> None:
        async with udp(DatagramRecorder) as server:

            class Greeting(DatagramRecorder):
                def connection_made(self, transport: asyncio.BaseTransport) -> None:
                    super().connection_made(transport)
                    self.transport.sendto(b"hello")

            async with udp(Greeting, remote_addr=address_of(server)):
                await until(lambda: bool(server.received))
                assert server.received[0][0] == b"hello"

    run(main())


def test_what_came_before_is_delivered_after_connection_made(run: Run) -> None:
    async def main() -> None:
        sock = socket.socket(type=socket.SOCK_DGRAM)
        sock.bind(("127.0.0.1", 0))
        with socket.socket(type=socket.SOCK_DGRAM) as sender:
            sender.sendto(b"early", sock.getsockname())
        async with udp(DatagramRecorder, sock=sock) as endpoint:
            await until(lambda: bool(endpoint.received))
            assert endpoint.calls == ["connection_made", "datagram_received"]

    run(main())


def test_an_unclosed_transport_warns(loop: asyncio.AbstractEventLoop) -> None:
    import gc
    import warnings

    transport, protocol = loop.run_until_complete(
        loop.create_datagram_endpoint(asyncio.DatagramProtocol, local_addr=("127.0.0.1", 0))
    )
    loop.close()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        del transport, protocol
        gc.collect()
    assert any("unclosed transport" in str(entry.message) for entry in caught)
