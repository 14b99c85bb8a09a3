"""Sockets of the program's own classes with their own send and receive methods: the transport calls these."""

from __future__ import annotations

import asyncio
import contextlib
import io
import socket
import ssl
from typing import Any

import pytest
from harness.loops import until
from harness.observed import Run
from harness.recording import BufferedRecorder, Echo, Recorder, keeping


class Counting(socket.socket):
    """Counts its calls."""

    received = sent = 0

    def recv(self, *args: Any) -> bytes:
        self.received += 1
        return super().recv(*args)

    def recv_into(self, *args: Any) -> int:
        self.received += 1
        return super().recv_into(*args)

    def recvfrom(self, *args: Any) -> Any:
        self.received += 1
        return super().recvfrom(*args)

    def send(self, *args: Any) -> int:
        self.sent += 1
        return super().send(*args)

    def sendmsg(self, *args: Any) -> int:
        self.sent += 1
        return super().sendmsg(*args)

    def sendto(self, *args: Any) -> int:
        self.sent += 1
        return super().sendto(*args)


class Named(socket.socket):
    """Replaces no method that sends or receives."""

    name = "ours"


@contextlib.asynccontextmanager
async def connected(kind: type[socket.socket], protocol: type[Any] = Recorder, **kwargs: Any) -> Any:
    """Return (socket of the class, its transport's protocol, the transport), connected to an echo server."""
    loop = asyncio.get_running_loop()
    server_side = {"ssl": kwargs.pop("server")} if "ssl" in kwargs else {}
    echoes, accept = keeping(Echo)
    server = await loop.create_server(accept, "127.0.0.1", 0, **server_side)
    sock = kind()
    sock.connect(server.sockets[0].getsockname())
    transport, client = await loop.create_connection(protocol, sock=sock, **kwargs)
    await until(lambda: len(echoes) == 1)
    try:
        yield sock, client, transport
    finally:
        transport.close()
        server.close()
        await client.lost
        await echoes[0].lost
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("protocol", [Recorder, BufferedRecorder])
def test_the_methods_of_a_stream_socket_are_called(run: Run, protocol: type[Any]) -> None:
    async def main() -> None:
        async with connected(Counting, protocol) as (sock, client, transport):
            transport.write(b"one")
            await until(lambda: client.data == b"one")
            transport.writelines([b"two", b"three"])
            await until(lambda: client.data == b"onetwothree")
            assert sock.received >= 2 and sock.sent >= 2
            assert transport.get_extra_info("sockname") == sock.getsockname()
            assert transport.get_extra_info("peername") == sock.getpeername()

    run(main())


def test_under_tls(run: Run, server_context: ssl.SSLContext, client_context: ssl.SSLContext) -> None:
    async def main() -> None:
        given: dict[str, Any] = {"ssl": client_context, "server": server_context, "server_hostname": "localhost"}
        async with connected(Counting, **given) as (sock, client, transport):
            received, sent = sock.received, sock.sent
            transport.write(b"secret")
            await until(lambda: client.data == b"secret")
            assert sock.received > received and sock.sent > sent

    run(main())


def test_a_file_is_sent_by_them(run: Run) -> None:
    async def main() -> None:
        async with connected(Counting) as (sock, client, transport):
            data = bytes(range(256)) * 100
            assert await asyncio.get_running_loop().sendfile(transport, io.BytesIO(data)) == len(data)
            await until(lambda: client.data == data)
            assert sock.sent

    run(main())


def test_the_descriptor_is_taken_while_the_transport_lives(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with connected(Counting) as (sock, _, _transport):
            with pytest.raises(RuntimeError, match="is used by transport"):
                loop.add_reader(sock, print)

    run(main())


@pytest.mark.sfloop_only("asyncio makes a second transport")
def test_a_second_transport_is_refused(run: Run) -> None:
    async def main() -> None:
        async with connected(Counting) as (sock, _, _transport):
            with pytest.raises(RuntimeError, match="is used by transport"):
                await asyncio.get_running_loop().create_connection(Recorder, sock=sock)

    run(main())


def test_the_methods_of_a_datagram_socket_are_called(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        sock = Counting(type=socket.SOCK_DGRAM)
        sock.bind(("127.0.0.1", 0))
        got: list[bytes] = []

        class Collect(asyncio.DatagramProtocol):
            def datagram_received(self, data: bytes, addr: Any) -> None:
                got.append(data)

        transport, protocol = await loop.create_datagram_endpoint(Collect, sock=sock)
        assert isinstance(protocol, Collect)
        transport.sendto(b"to myself", sock.getsockname())
        await until(lambda: got == [b"to myself"])
        assert (sock.received, sock.sent) == (1, 1)
        transport.close()
        await asyncio.sleep(0.01)

    run(main())


@pytest.mark.sfloop_only("it is about which transport is made")
def test_other_subclasses_have_the_native_transport(run: Run) -> None:
    async def main() -> None:
        async with connected(Named) as (_, client, transport):
            assert transport.get_extra_info("stack") == "kernel"
            transport.write(b"x")
            await until(lambda: client.data == b"x")

    run(main())
