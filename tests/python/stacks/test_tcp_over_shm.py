"""asyncio's TCP on the tcpip stack, over a wire in shared memory: clients and servers, streams and TLS."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import io
import random
import socket
import ssl
from typing import Any

import pytest
import trustme
import wire
from far_servers import Far, bypassed, far_server
from harness.connections import exchange

import sfloop


def test_echo(near: sfloop.Loop, far: Far) -> None:
    address = far_server(far)

    async def main() -> None:
        reader, writer = await asyncio.open_connection(*address)
        assert bypassed(writer)
        assert writer.get_extra_info("peername") == address
        assert writer.get_extra_info("sockname")[0] == wire.NEAR
        await exchange(reader, writer, (1, 64, 1448, 1449, 20_000, 300_000))

    near.run_until_complete(asyncio.wait_for(main(), 20))


def test_served_by_the_near_side_and_by_the_kernel_at_once(near: sfloop.Loop, far: Far) -> None:
    """host=None listens on every address of the machine and on the wire's, in one Server."""

    async def main() -> None:
        peers: list[Any] = []
        ended: list[Any] = []

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            peers.append((writer.get_extra_info("peername")[0], bypassed(writer)))
            await wire.serve_echo(reader, writer)
            await writer.wait_closed()
            ended.append(writer)

        server = await asyncio.start_server(serve, None, 0, family=socket.AF_INET)
        port = server.sockets[0].getsockname()[1]

        async def talk() -> bytes:
            reader, writer = await asyncio.open_connection(wire.NEAR, port)
            writer.write(b"by the wire")
            data = await reader.readexactly(11)
            writer.close()
            await writer.wait_closed()
            return data

        assert await near.run_in_executor(None, far, talk()) == b"by the wire"
        with socket.create_connection(("127.0.0.1", port)) as kernel:
            kernel.setblocking(False)
            await near.sock_sendall(kernel, b"by loopback")
            assert await near.sock_recv(kernel, 100) == b"by loopback"
        assert peers == [(wire.FAR, True), ("127.0.0.1", False)]
        while len(ended) < 2:
            await asyncio.sleep(0.001)
        server.close()
        await server.wait_closed()

    near.run_until_complete(asyncio.wait_for(main(), 20))


def test_bulk_by_hash_in_both_directions(near: sfloop.Loop, far: Far) -> None:
    address = far_server(far)

    async def main() -> None:
        reader, writer = await asyncio.open_connection(*address)
        total = 32 << 20
        blocks = [random.Random(i).randbytes(256 << 10) for i in range(8)]
        sent, received = hashlib.sha256(), hashlib.sha256()

        async def send() -> None:
            for i in range(total // (256 << 10)):
                writer.write(blocks[i % 8])
                sent.update(blocks[i % 8])
                await writer.drain()
            writer.write_eof()

        sending = asyncio.ensure_future(send())
        got = 0
        while data := await reader.read(1 << 20):
            received.update(data)
            got += len(data)
        await sending
        assert got == total
        assert sent.digest() == received.digest()
        writer.close()

    near.run_until_complete(asyncio.wait_for(main(), 60))


def test_refused(near: sfloop.Loop, far: Far) -> None:
    async def main() -> None:
        with pytest.raises(ConnectionRefusedError, match=r"Connect call failed \('127.77.0.2', 9\)"):
            await asyncio.open_connection(wire.FAR, 9)

    near.run_until_complete(asyncio.wait_for(main(), 20))


def test_connect_is_cancelled(near: sfloop.Loop) -> None:
    async def main() -> None:
        before = near.stats()["sockets"]
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(asyncio.open_connection(wire.FAR, 9), 0.05)
        assert near.stats()["sockets"] == before

    # The far side of the wire is silent, because a kernel would answer for the address, which is loopback's.
    with wire.silent_far_side(near):
        near.run_until_complete(main())


def test_local_address(near: sfloop.Loop, far: Far) -> None:
    address = far_server(far)

    async def main() -> None:
        with socket.socket() as reserved:
            reserved.bind((wire.NEAR, 0))
            taken = reserved.getsockname()
            with pytest.raises(OSError) as raised:
                await asyncio.open_connection(*address, local_addr=taken)
            assert raised.value.errno == errno.EADDRINUSE
        _, writer = await asyncio.open_connection(*address, local_addr=taken)
        assert writer.get_extra_info("sockname") == taken
        with socket.socket() as other, pytest.raises(OSError):  # the port is ours while the connection lives
            other.bind(taken)
        writer.close()
        await writer.wait_closed()

    near.run_until_complete(asyncio.wait_for(main(), 20))


def test_options_that_programs_set(near: sfloop.Loop, far: Far) -> None:
    address = far_server(far)

    async def main() -> None:
        _, writer = await asyncio.open_connection(*address)
        sock = writer.get_extra_info("socket")
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
        for level, name, value in [
            (socket.IPPROTO_TCP, socket.TCP_NODELAY, 0),
            (socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1),
            (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
            (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 30),
            (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5),
            (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
            (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 20_000),
        ]:
            sock.setsockopt(level, name, value)
            assert sock.getsockopt(level, name) == value
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE) == socket.SOCK_STREAM
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) > 0
        with pytest.raises(OSError) as raised:
            sock.setsockopt(socket.SOL_SOCKET, 12345, 1)
        assert raised.value.errno == errno.ENOPROTOOPT
        with pytest.raises(OSError):
            sock.dup()
        writer.close()
        await writer.wait_closed()

    near.run_until_complete(asyncio.wait_for(main(), 20))


def test_what_stats_says_of_a_connection(near: sfloop.Loop, far: Far) -> None:
    address = far_server(far)

    async def main() -> None:
        reader, writer = await asyncio.open_connection(*address)
        for _ in range(20):
            writer.write(b"x" * 1000)
            await reader.readexactly(1000)
        (known,) = near.stats()["connections"]
        assert known["remote"] == address
        assert known["local"] == writer.get_extra_info("sockname")
        assert known["state"] == "ESTABLISHED"
        assert known["bytes_sent"] == known["bytes_received"] == 20_000
        assert 0 < known["rtt"] < 1
        assert known["cwnd"] >= known["mss"] > 0
        assert known["rcv_wnd"] > 0
        assert known["snd_wnd"] > 0
        writer.close()
        await writer.wait_closed()
        assert near.stats()["connections"] == []

    near.run_until_complete(asyncio.wait_for(main(), 20))


def test_back_pressure_down_to_the_window(near: sfloop.Loop, far: Far) -> None:
    """A paused reader stops the sender, for any amount of data; nothing is lost."""
    received = []

    class Slow(asyncio.Protocol):
        def connection_made(self, transport: Any) -> None:
            self.transport = transport
            wire.open_transports.append(transport)
            transport.pause_reading()

        def data_received(self, data: bytes) -> None:
            received.append(data)

    async def start() -> Any:
        server = await asyncio.get_running_loop().create_server(Slow, wire.FAR, 0)
        wire.open_servers.append(server)
        return server.sockets[0].getsockname()

    address = far(start())

    async def resume() -> None:
        wire.open_transports[0].resume_reading()

    async def main() -> None:
        transport, protocol = await near.create_connection(wire.Flow, *address)
        payload = random.Random(1).randbytes(24 << 20)
        transport.write(payload)
        left = 0
        while left != transport.get_write_buffer_size():  # until the buffer stops shrinking
            left = transport.get_write_buffer_size()
            await asyncio.sleep(0.2)
        assert left > 8 << 20
        assert protocol.paused
        assert not received
        far(resume())
        while transport.get_write_buffer_size() or sum(map(len, received)) < len(payload):
            await asyncio.sleep(0.01)
        assert b"".join(received) == payload
        assert not protocol.paused
        transport.close()
        await protocol.lost

    near.run_until_complete(asyncio.wait_for(main(), 20))


def test_sendfile_falls_back(near: sfloop.Loop, far: Far) -> None:
    address = far_server(far)

    async def main() -> None:
        reader, writer = await asyncio.open_connection(*address)
        data = random.Random(3).randbytes(100_000)
        assert await near.sendfile(writer.transport, io.BytesIO(data)) == len(data)
        assert await reader.readexactly(len(data)) == data
        with pytest.raises(RuntimeError, match="fallback is disabled"):
            await near.sendfile(writer.transport, io.BytesIO(data), fallback=False)
        writer.close()

    near.run_until_complete(asyncio.wait_for(main(), 20))


@pytest.fixture(scope="module")
def tls() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    authority = trustme.CA()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(server)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    return server, client


@pytest.mark.parametrize("most", [1 << 20, 16_384, 2000])
def test_tls(near: sfloop.Loop, far: Far, tls: tuple[ssl.SSLContext, ssl.SSLContext], most: int) -> None:
    """Writes of up to `most` bytes: one record each, or many. Most of them find the send buffer full."""
    address = far_server(far, ssl=tls[0])

    async def main() -> None:
        reader, writer = await asyncio.open_connection(*address, ssl=tls[1], server_hostname="localhost")
        assert bypassed(writer)
        numbers = random.Random(7)
        data = numbers.randbytes(1 << 20)
        begin = 0
        while begin < len(data):
            end = begin + numbers.randint(most // 2, most)
            writer.write(data[begin:end])
            begin = end
        assert await reader.readexactly(len(data)) == data
        writer.close()
        await writer.wait_closed()

    near.run_until_complete(asyncio.wait_for(main(), 20))


def test_happy_eyeballs_over_two_stacks(near: sfloop.Loop, far: Far) -> None:
    """The first address does not answer; the second is the kernel's."""

    async def main() -> None:
        served = asyncio.Event()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await wire.serve_echo(reader, writer)
            await writer.wait_closed()
            served.set()

        server = await asyncio.start_server(serve, "::1", 0)
        port = server.sockets[0].getsockname()[1]
        infos = [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", (wire.FAR, port)),
            (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1", port, 0, 0)),
        ]

        async def resolve(*_: Any, **__: Any) -> Any:
            return infos

        near.getaddrinfo = resolve  # type: ignore[method-assign]
        reader, writer = await asyncio.open_connection("two.example", port, happy_eyeballs_delay=0.05)
        assert not bypassed(writer)
        writer.write(b"hello")
        assert await reader.readexactly(5) == b"hello"
        writer.close()
        await writer.wait_closed()
        await served.wait()
        server.close()

    near.run_until_complete(asyncio.wait_for(main(), 20))
