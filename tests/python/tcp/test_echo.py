"""TCP: bytes arrive complete and in order, small and large, both ways at once."""

from __future__ import annotations

import asyncio
import hashlib
import random
import socket

import pytest
from harness.connections import answer_lines, facing_socket, tcp_pair
from harness.loops import until
from harness.observed import Run
from harness.recording import BufferedRecorder, Echo, Recorder, keeping


@pytest.mark.parametrize("size", [1, 64, 1024, 65536, 300_000])
def test_echo(run: Run, size: int) -> None:
    async def main() -> None:
        async with tcp_pair(Echo, Recorder) as (server, client):
            for i in range(5):
                message = bytes([i]) * size
                client.data.clear()
                client.transport.write(message)
                await until(lambda: len(client.data) >= size)
                assert client.data == message

    run(main())


@pytest.mark.parametrize("buffered", [False, True], ids=["Protocol", "BufferedProtocol"])
def test_megabytes_both_ways_at_once(run: Run, buffered: bool) -> None:
    size = 8_000_000
    generator = random.Random(1)
    there, back = generator.randbytes(size), generator.randbytes(size)
    factory = (lambda: BufferedRecorder(50_000)) if buffered else Recorder

    async def send(protocol: Recorder, data: bytes) -> None:
        view, position = memoryview(data), 0
        while position < len(data):
            await protocol.writable.wait()
            step = generator.choice([1, 10, 1000, 100_000, 500_000])
            protocol.transport.write(view[position : position + step])
            position += step

    async def main() -> None:
        async with tcp_pair(factory, factory) as (server, client):
            await asyncio.gather(send(client, there), send(server, back))
            await until(lambda: len(server.data) >= size and len(client.data) >= size)
            assert hashlib.sha256(server.data).digest() == hashlib.sha256(there).digest()
            assert hashlib.sha256(client.data).digest() == hashlib.sha256(back).digest()
            assert client.transport.get_write_buffer_size() == 0

    run(main())


def test_many_small_messages_in_order(run: Run) -> None:
    async def main() -> None:
        async with tcp_pair(Recorder, Recorder) as (server, client):
            for i in range(5000):
                client.transport.write(i.to_bytes(4, "big"))
                if not i % 100:
                    await asyncio.sleep(0)
            await until(lambda: len(server.data) >= 20_000)
            assert server.data == b"".join(i.to_bytes(4, "big") for i in range(5000))

    run(main())


def test_what_is_written_in_connection_made_is_sent(run: Run) -> None:
    class Greeting(Recorder):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            self.transport.write(b"hello")

    async def main() -> None:
        async with tcp_pair(Greeting, Greeting) as (server, client):
            await until(lambda: server.data and client.data)
            assert server.data == client.data == b"hello"

    run(main())


def test_data_that_came_before_connection_made_is_delivered_after_it(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        a, b = socket.socketpair()
        a.sendall(b"early")
        a.close()
        b.setblocking(False)
        _, protocol = await loop.create_connection(Recorder, sock=b)
        await protocol.lost
        assert protocol.data == b"early"
        assert protocol.calls == ["connection_made", "data_received", "eof_received", "connection_lost"]

    run(main())


def test_data_is_bytes(run: Run) -> None:
    kinds: set[type] = set()

    class Kinds(Recorder):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            kinds.add(type(data))

    async def main() -> None:
        async with facing_socket(Kinds) as (protocol, peer):
            for size in (1, 100, 5000, 200_000):
                peer.setblocking(True)
                await asyncio.to_thread(peer.sendall, bytes(size))
            await until(lambda: len(protocol.data) == 205_101)

    run(main())
    assert kinds == {bytes}


def test_received_bytes_are_not_changed_by_what_comes_later(run: Run) -> None:
    """A loop that lends its receive buffer fails here."""
    kept: list[bytes] = []

    class Keeping(Recorder):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            kept.append(data)

    async def main() -> None:
        async with facing_socket(Keeping) as (protocol, peer):
            for i in range(200):
                peer.sendall(bytes([i]) * 100)
                if not i % 3:
                    await asyncio.sleep(0.001)
            await until(lambda: len(protocol.data) == 20_000)

    run(main())
    assert b"".join(kept) == b"".join(bytes([i]) * 100 for i in range(200))


def test_streams(run: Run) -> None:
    async def main() -> None:
        server = await asyncio.start_server(answer_lines, "127.0.0.1", 0)
        host, port = server.sockets[0].getsockname()
        reader, writer = await asyncio.open_connection(host, port)
        for i in range(100):
            writer.write(f"line {i}\n".encode())
            assert await reader.readline() == f"LINE {i}\n".encode()
        writer.write(b"x" * 50_000 + b"\n")
        assert await reader.readexactly(50_001) == b"X" * 50_000 + b"\n"
        writer.write_eof()
        assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()
        server.close()
        await server.wait_closed()

    run(main())


def test_a_hundred_connections_at_once(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        served, factory = keeping(Echo)
        server = await loop.create_server(factory, "127.0.0.1", 0)
        address = server.sockets[0].getsockname()
        clients = [
            c for _, c in await asyncio.gather(*(loop.create_connection(Recorder, *address) for _ in range(100)))
        ]
        for i, client in enumerate(clients):
            client.transport.write(i.to_bytes(2, "big") * 500)
        await until(lambda: all(len(client.data) == 1000 for client in clients))
        for i, client in enumerate(clients):
            assert client.data == i.to_bytes(2, "big") * 500
            client.transport.close()
        await asyncio.gather(*(protocol.lost for protocol in [*clients, *served]))
        server.close()
        await server.wait_closed()

    run(main())
