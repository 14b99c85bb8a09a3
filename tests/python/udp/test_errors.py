"""Datagram errors: empty, oversize, refused, unreachable; flow control; failing callbacks."""

from __future__ import annotations

import asyncio
import errno
import socket
import sys
from pathlib import Path
from typing import Any

import pytest
from harness.connections import address_of, free_port, udp
from harness.loops import until
from harness.observed import Contexts, LogLines, Run
from harness.recording import DatagramRecorder


@pytest.mark.sfloop_only("these asyncio drop empty datagrams", when=sys.version_info < (3, 13))
def test_an_empty_datagram(run: Run) -> None:
    async def main() -> None:
        async with udp(DatagramRecorder) as server, udp(DatagramRecorder) as client:
            client.transport.sendto(b"", address_of(server))
            client.transport.sendto(b"after", address_of(server))
            await until(lambda: len(server.received) == 2)
            assert server.received == [(b"", address_of(client)), (b"after", address_of(client))]

    run(main())


def test_receiving_an_empty_datagram(run: Run) -> None:
    async def main() -> None:
        async with udp(DatagramRecorder) as server:
            with socket.socket(type=socket.SOCK_DGRAM) as sender:
                for data in (b"1", b"", b"2"):
                    sender.sendto(data, address_of(server))
            await until(lambda: len(server.received) == 3)
            assert [data for data, _ in server.received] == [b"1", b"", b"2"]

    run(main())


@pytest.mark.parametrize("connected", [False, True])
def test_an_oversize_datagram(run: Run, connected: bool) -> None:
    async def main() -> None:
        async with udp(DatagramRecorder) as server:
            options: dict[str, Any] = (
                {"remote_addr": address_of(server)} if connected else {"local_addr": ("127.0.0.1", 0)}
            )
            async with udp(DatagramRecorder, **options) as client:
                client.transport.sendto(bytes(70_000), None if connected else address_of(server))
                assert [type(exc) for exc in client.errors] == [OSError]
                assert client.errors[0].errno == errno.EMSGSIZE  # type: ignore[attr-defined]
                client.transport.sendto(b"goes on", None if connected else address_of(server))
                await until(lambda: bool(server.received))
                assert [data for data, _ in server.received] == [b"goes on"]

    run(main())


def test_a_refused_datagram(run: Run) -> None:
    """A connected endpoint gets ICMP port unreachable as an error."""

    async def main() -> None:
        async with udp(DatagramRecorder, remote_addr=("127.0.0.1", free_port(socket.SOCK_DGRAM))) as client:
            client.transport.sendto(b"nobody there")
            await until(lambda: bool(client.errors))
            assert isinstance(client.errors[0], ConnectionRefusedError)
            assert not client.transport.is_closing()
            client.transport.sendto(b"again")
            await until(lambda: len(client.errors) >= 2)
            assert "datagram_received" not in client.calls

    run(main())


def test_an_unconnected_endpoint_does_not_hear_of_refusals(run: Run) -> None:
    async def main() -> None:
        async with udp(DatagramRecorder) as client:
            for _ in range(5):
                client.transport.sendto(b"x", ("127.0.0.1", free_port(socket.SOCK_DGRAM)))
            await asyncio.sleep(0.02)
            assert client.errors == []

    run(main())


def test_datagrams_beside_refusals(run: Run) -> None:
    """The endpoint's peer starts later."""

    async def main() -> None:
        port = free_port(socket.SOCK_DGRAM)
        async with udp(DatagramRecorder, remote_addr=("127.0.0.1", port)) as client:
            client.transport.sendto(b"too early")
            await until(lambda: bool(client.errors))
            async with udp(DatagramRecorder, local_addr=("127.0.0.1", port)) as server:
                client.transport.sendto(b"in time")
                await until(lambda: bool(server.received))
                server.transport.sendto(b"answer", address_of(client))
                await until(lambda: bool(client.received))
                assert client.received == [(b"answer", ("127.0.0.1", port))]

    run(main())


def test_an_unreachable_network(run: Run) -> None:
    async def main() -> None:
        async with udp(DatagramRecorder) as client:  # bound to loopback, so that nothing leaves the machine
            client.transport.sendto(b"x", ("198.51.100.1", 9))
            assert [type(exc) for exc in client.errors] == [OSError]

    run(main())


def test_broadcast_without_permission(run: Run) -> None:
    async def main() -> None:
        async with udp(DatagramRecorder) as client:
            client.transport.sendto(b"x", ("127.255.255.255", 9))
            assert isinstance(client.errors[0], PermissionError)

    run(main())


def test_no_address_on_an_unconnected_endpoint(run: Run, contexts: Contexts) -> None:
    """asyncio passes None to sendto: a TypeError ends the transport. An OSError or an exception of the call is accepted
    too."""

    async def main() -> None:
        async with udp(DatagramRecorder) as client:
            try:
                client.transport.sendto(b"x")
            except (ValueError, TypeError, OSError):
                return
            await asyncio.sleep(0.01)
            assert client.errors or client.lost.done()

    run(main())
    contexts.clear()


@pytest.mark.parametrize("address", [("127.0.0.1", 70_000), ("127.0.0.1", -1), ("127.0.0.1", "x"), "127.0.0.1", 5])
def test_addresses_that_are_none(run: Run, contexts: Contexts, address: Any) -> None:
    """asyncio reports a fatal error for them. An exception is accepted too; silence is not."""

    async def main() -> None:
        async with udp(DatagramRecorder) as client:
            try:
                client.transport.sendto(b"x", address)
            except (ValueError, TypeError, OverflowError, OSError):
                return
            await asyncio.sleep(0.01)
            assert client.errors or client.lost.done()

    run(main())
    contexts.clear()


def test_failing_error_received(run: Run, contexts: Contexts) -> None:
    class Failing(DatagramRecorder):
        def error_received(self, exc: Exception) -> None:
            super().error_received(exc)
            raise ZeroDivisionError("error_received")

    async def main() -> None:
        async with udp(Failing, remote_addr=("127.0.0.1", free_port(socket.SOCK_DGRAM))) as client:
            client.transport.sendto(b"nobody there")
            await until(lambda: bool(client.errors))
            await until(lambda: bool(contexts))
            assert isinstance(contexts.take("Exception in ")["exception"], ZeroDivisionError)

    run(main())


def test_failing_connection_made_and_lost(run: Run, contexts: Contexts) -> None:
    class Failing(DatagramRecorder):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            raise ZeroDivisionError("connection_made")

        def connection_lost(self, exc: BaseException | None) -> None:
            super().connection_lost(exc)
            raise ZeroDivisionError("connection_lost")

    async def main() -> None:
        async with udp(Failing) as endpoint:
            contexts.take("Exception in callback")
            sock = endpoint.transport.get_extra_info("socket")
            endpoint.transport.close()
            await endpoint.lost
            await asyncio.sleep(0)
            contexts.take("Exception in callback")
            assert sock.fileno() == -1

    run(main())


def test_sending_after_close(run: Run, asyncio_log: LogLines) -> None:
    async def main() -> None:
        async with udp(DatagramRecorder) as server, udp(DatagramRecorder, remote_addr=address_of(server)) as client:
            client.transport.close()
            for _ in range(4):
                client.transport.sendto(b"ignored")
            assert not asyncio_log.lines
            client.transport.sendto(b"ignored")
            client.transport.sendto(b"ignored")
            assert asyncio_log.take("socket.send() raised exception.").startswith("WARNING")
            await client.lost
            await asyncio.sleep(0.01)
            assert server.received == []

    run(main())


class SlowReceiver:
    """An unread AF_UNIX datagram socket, whose queue of a few datagrams fills up at once."""

    def __init__(self, path: Path) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sock.bind(str(path))
        self.sock.setblocking(False)

    def receive(self) -> list[bytes]:
        received = []
        while True:
            try:
                received.append(self.sock.recv(100_000))
            except BlockingIOError:
                return received


@pytest.mark.parametrize("connected", [False, True])
def test_flow_control(run: Run, tmp_path: Path, connected: bool) -> None:
    path = tmp_path / "slow"
    slow = SlowReceiver(path)

    async def main() -> None:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        if connected:
            sock.connect(str(path))
        async with udp(DatagramRecorder, sock=sock) as client:
            to = None if connected else str(path)
            client.transport.set_write_buffer_limits(high=50_000, low=10_000)  # type: ignore[attr-defined]
            sent = 0
            while "pause_writing" not in client.calls:
                client.transport.sendto(sent.to_bytes(4, "big") * 250, to)
                sent += 1
                assert sent < 10_000
            size = client.transport.get_write_buffer_size()  # type: ignore[attr-defined]
            assert 50_000 < size <= 52_000
            received: list[bytes] = []
            while "resume_writing" not in client.calls:
                received += slow.receive()
                await asyncio.sleep(0)
            assert client.transport.get_write_buffer_size() <= 10_000 + 50 * 8  # type: ignore[attr-defined]
            while len(received) < sent:
                received += slow.receive()
                await asyncio.sleep(0)
            assert received == [i.to_bytes(4, "big") * 250 for i in range(sent)]
            assert client.calls == ["connection_made", "pause_writing", "resume_writing"]
            assert client.errors == []

    run(main())
    slow.sock.close()


def test_close_flushes_and_abort_does_not(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        for way in ("close", "abort"):
            slow = SlowReceiver(tmp_path / way)
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            sock.connect(str(tmp_path / way))
            async with udp(DatagramRecorder, sock=sock) as client:
                for i in range(100):
                    client.transport.sendto(bytes([i]))
                getattr(client.transport, way)()
                received: list[bytes] = []
                deadline = asyncio.get_running_loop().time() + 10
                while not client.lost.done():
                    await asyncio.sleep(0)
                    received += slow.receive()
                    assert asyncio.get_running_loop().time() < deadline
                received += slow.receive()
                assert received == [bytes([i]) for i in range(100 if way == "close" else len(received))]
                assert way == "close" or len(received) < 100
            slow.sock.close()

    run(main())


def test_buffered_data_is_copied(run: Run, tmp_path: Path) -> None:
    slow = SlowReceiver(tmp_path / "slow")

    async def main() -> None:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        sock.connect(str(tmp_path / "slow"))
        async with udp(DatagramRecorder, sock=sock) as client:
            data = bytearray(b"aaaa")
            for _ in range(50):
                client.transport.sendto(data)
            data[:] = b"zzzz"
            data += b"resized"
            received: list[bytes] = []
            while len(received) < 50:
                received += slow.receive()
                await asyncio.sleep(0)
            assert set(received) == {b"aaaa"}

    run(main())
    slow.sock.close()
