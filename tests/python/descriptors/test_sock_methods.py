"""loop.sock_*: operations on the program's own sockets."""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from harness.connections import free_port
from harness.observed import Run


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    a, b = socket.socketpair()
    for sock in (a, b):
        sock.setblocking(False)
    with a, b:
        yield a, b


@pytest.fixture
def udp_pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    with socket.socket(type=socket.SOCK_DGRAM) as a, socket.socket(type=socket.SOCK_DGRAM) as b:
        for sock in (a, b):
            sock.setblocking(False)
            sock.bind(("127.0.0.1", 0))
        yield a, b


Pair = tuple[socket.socket, socket.socket]


@pytest.mark.parametrize("waiting", [False, True])
def test_recv(run: Run, pair: Pair, waiting: bool) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        a, b = pair
        if waiting:
            loop.call_later(0.01, a.send, b"data")
        else:
            a.send(b"data")
        assert await loop.sock_recv(b, 2) == b"da"
        assert await loop.sock_recv(b, 100) == b"ta"
        a.shutdown(socket.SHUT_WR)
        assert await loop.sock_recv(b, 100) == b""

    run(main())


@pytest.mark.parametrize("waiting", [False, True])
@pytest.mark.parametrize("kind", [bytearray, lambda n: memoryview(bytearray(n))])
def test_recv_into(run: Run, pair: Pair, waiting: bool, kind: Any) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        a, b = pair
        buffer = kind(10)
        if waiting:
            loop.call_later(0.01, a.send, b"data")
        else:
            a.send(b"data")
        assert await loop.sock_recv_into(b, buffer) == 4
        assert bytes(buffer) == b"data" + bytes(6)

    run(main())


def test_sendall_and_recv_of_megabytes(run: Run, pair: Pair) -> None:
    data = random.Random(1).randbytes(5_000_000)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        a, b = pair

        async def receive() -> bytes:
            received = bytearray()
            while len(received) < len(data):
                received += await loop.sock_recv(b, 100_000)
            return bytes(received)

        _, received = await asyncio.gather(loop.sock_sendall(a, data), receive())
        assert received == data
        await loop.sock_sendall(a, b"")
        await loop.sock_sendall(a, bytearray(b"1"))
        await loop.sock_sendall(a, memoryview(b"2"))
        assert await loop.sock_recv(b, 10) == b"12"

    run(main())


def test_both_directions_of_one_socket_at_once(run: Run, pair: Pair) -> None:
    data = bytes(3_000_000)

    async def main() -> None:
        loop = asyncio.get_running_loop()

        async def receive(sock: socket.socket) -> int:
            total = 0
            while total < len(data):
                total += len(await loop.sock_recv(sock, 65536))
            return total

        a, b = pair
        results = await asyncio.gather(loop.sock_sendall(a, data), loop.sock_sendall(b, data), receive(a), receive(b))
        assert list(results[2:]) == [len(data), len(data)]

    run(main())


@pytest.mark.skipif(not hasattr(asyncio.AbstractEventLoop, "sock_recvfrom"), reason="new in Python 3.11")
@pytest.mark.parametrize("waiting", [False, True])
def test_datagrams(run: Run, udp_pair: Pair, waiting: bool) -> None:
    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        a, b = udp_pair

        async def send(data: bytes) -> None:
            assert await loop.sock_sendto(a, data, b.getsockname()) == len(data)

        for data in (b"first", b"", b"x" * 60_000):
            if waiting:
                loop.call_later(0.005, lambda data=data: asyncio.ensure_future(send(data)))
            else:
                await send(data)
            assert await loop.sock_recvfrom(b, 65536) == (data, a.getsockname())
        buffer = bytearray(10)
        if waiting:
            loop.call_later(0.005, lambda: asyncio.ensure_future(send(b"12345")))
        else:
            await send(b"12345")
        assert await loop.sock_recvfrom_into(b, buffer) == (5, a.getsockname())
        assert buffer == b"12345" + bytes(5)
        await send(b"abcdefghi")
        assert await loop.sock_recvfrom_into(b, buffer, 3) == (3, a.getsockname())
        assert buffer[:5] == b"abc45"

    run(main())


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_connect_and_accept(run: Run, host: str) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET

    async def main() -> None:
        loop = asyncio.get_running_loop()
        with socket.socket(family) as listener, socket.socket(family) as client:
            listener.setblocking(False)
            client.setblocking(False)
            listener.bind((host, 0))
            listener.listen()
            accept = asyncio.ensure_future(loop.sock_accept(listener))
            await asyncio.sleep(0.005)
            assert not accept.done()
            await loop.sock_connect(client, (host, listener.getsockname()[1]))
            accepted, address = await accept
            with accepted:
                assert accepted.gettimeout() == 0
                assert address == client.getsockname()
                await loop.sock_sendall(client, b"through")
                assert await loop.sock_recv(accepted, 100) == b"through"

    run(main())


def test_accept_of_a_connection_that_waits(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.setblocking(False)
            with socket.create_connection(listener.getsockname()) as client:
                accepted, address = await loop.sock_accept(listener)
                accepted.close()
                assert address == client.getsockname()

    run(main())


def test_connect_refused(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with socket.socket() as sock:
            sock.setblocking(False)
            with pytest.raises(ConnectionRefusedError):
                await loop.sock_connect(sock, ("127.0.0.1", free_port()))

    run(main())


def test_connect_of_af_unix(run: Run, tmp_path: Any) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        path = str(tmp_path / "socket")
        with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as sock:
            listener.bind(path)
            listener.listen()
            sock.setblocking(False)
            await loop.sock_connect(sock, path)
            assert sock.getpeername() == path

    run(main())


def test_the_peer_resets(run: Run) -> None:
    from harness.connections import reset_on_close

    async def main() -> None:
        loop = asyncio.get_running_loop()
        with socket.create_server(("127.0.0.1", 0)) as listener:
            client = socket.create_connection(listener.getsockname())
            client.setblocking(False)
            peer, _ = listener.accept()
        reading = asyncio.ensure_future(loop.sock_recv(client, 1))
        await asyncio.sleep(0.005)
        reset_on_close(peer)
        peer.close()
        with pytest.raises(ConnectionResetError):
            await reading
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            await loop.sock_sendall(client, bytes(10_000_000))
        client.close()

    run(main())


def test_many_waiting_at_once(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        pairs = [socket.socketpair() for _ in range(200)]
        for a, b in pairs:
            a.setblocking(False)
            b.setblocking(False)
        readers = [asyncio.ensure_future(loop.sock_recv(b, 10)) for _, b in pairs]
        await asyncio.sleep(0)
        for i, (a, _) in enumerate(pairs):
            await loop.sock_sendall(a, str(i).encode())
        assert await asyncio.gather(*readers) == [str(i).encode() for i in range(200)]
        for a, b in pairs:
            a.close()
            b.close()

    run(main())


@pytest.mark.parametrize("method", ["sock_recv", "sock_accept", "sock_sendall", "sock_recv_into", "sock_connect"])
def test_cancellation_leaves_the_descriptor_free(run: Run, pair: Pair, method: str) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        a, b = pair
        with socket.create_server(("127.0.0.1", 0), backlog=0) as listener, socket.socket() as client:
            listener.setblocking(False)
            client.setblocking(False)
            fillers = []
            if method == "sock_connect":
                for _ in range(2):
                    fillers.append(socket.socket())
                    fillers[-1].setblocking(False)
                    fillers[-1].connect_ex(listener.getsockname())
                await asyncio.sleep(0.005)
            operation: Any = {
                "sock_recv": lambda: loop.sock_recv(b, 1),
                "sock_recv_into": lambda: loop.sock_recv_into(b, bytearray(1)),
                "sock_accept": lambda: loop.sock_accept(listener),
                "sock_sendall": lambda: loop.sock_sendall(a, bytes(10_000_000)),
                "sock_connect": lambda: loop.sock_connect(client, listener.getsockname()),
            }[method]
            task = asyncio.ensure_future(operation())
            await asyncio.sleep(0.005)
            assert not task.done()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            for sock in (a, b, listener, client):
                assert loop.remove_reader(sock) is False
                assert loop.remove_writer(sock) is False
            for filler in fillers:
                filler.close()
            if method == "sock_recv":  # and can be used again
                a.send(b"x")
                assert await loop.sock_recv(b, 1) == b"x"

    run(main())


def test_timeouts(run: Run, pair: Pair) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        a, b = pair
        for _ in range(10):
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(loop.sock_recv(b, 1), 0.002)
        a.send(b"x")
        assert await asyncio.wait_for(loop.sock_recv(b, 1), 5) == b"x"

    run(main())


def test_blocking_sockets_are_refused_in_debug_mode(loop: asyncio.AbstractEventLoop, run: Run) -> None:
    async def main() -> None:
        loop.set_debug(True)
        a, b = socket.socketpair()
        operations: list[Any] = [
            lambda: loop.sock_recv(a, 1),
            lambda: loop.sock_recv_into(a, bytearray(1)),
            lambda: loop.sock_sendall(a, b"x"),
            lambda: loop.sock_accept(a),
            lambda: loop.sock_connect(a, ("127.0.0.1", 1)),
        ]
        for operation in operations:
            with pytest.raises(ValueError, match="the socket must be non-blocking"):
                await operation()
        a.close()
        b.close()

    run(main())


def test_closed_sockets(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        a, b = socket.socketpair()
        a.close()
        b.close()
        with pytest.raises(OSError):
            await loop.sock_recv(a, 1)
        with pytest.raises(OSError):
            await loop.sock_sendall(a, b"x")
        with pytest.raises((OSError, ValueError)):
            await loop.sock_accept(a)

    run(main())


def test_a_socket_that_a_transport_uses(run: Run, pair: Pair) -> None:
    from harness.recording import Recorder

    async def main() -> None:
        loop = asyncio.get_running_loop()
        a, b = pair
        _, protocol = await loop.create_connection(Recorder, sock=a)
        with pytest.raises(RuntimeError, match="is used by transport"):
            await loop.sock_recv(a, 1)
        protocol.transport.close()
        await protocol.lost

    run(main())


def test_results_are_the_kernel_ones(run: Run, pair: Pair) -> None:
    """OSError passes through with its errno."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        with socket.socket() as unconnected:
            unconnected.setblocking(False)
            with pytest.raises(OSError, match="not connected"):
                await loop.sock_recv(unconnected, 1)

    run(main())
