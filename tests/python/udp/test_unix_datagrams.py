"""AF_UNIX datagram endpoints."""

from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path
from typing import Any

import pytest
from harness.connections import udp
from harness.loops import until
from harness.observed import Run
from harness.recording import DatagramEcho, DatagramRecorder


def test_paths(run: Run, tmp_path: Path) -> None:
    a, b = str(tmp_path / "a"), str(tmp_path / "b")

    async def main() -> None:
        async with (
            udp(DatagramEcho, family=socket.AF_UNIX, local_addr=a) as server,
            udp(DatagramRecorder, family=socket.AF_UNIX, local_addr=b) as client,
        ):
            assert server.transport.get_extra_info("sockname") == a
            client.transport.sendto(b"hello", a)
            await until(lambda: bool(client.received))
            assert client.received == [(b"hello", a)]
            assert server.received == [(b"hello", b)]

    run(main())


def test_connected(run: Run, tmp_path: Path) -> None:
    a, b = str(tmp_path / "a"), str(tmp_path / "b")

    async def main() -> None:
        async with (
            udp(DatagramEcho, family=socket.AF_UNIX, local_addr=a),
            udp(DatagramRecorder, family=socket.AF_UNIX, local_addr=b, remote_addr=a) as client,
        ):
            assert client.transport.get_extra_info("peername") == a
            for i in range(5):
                client.transport.sendto(bytes([i]))
            await until(lambda: len(client.received) == 5)
            assert [data for data, _ in client.received] == [bytes([i]) for i in range(5)]

    run(main())


def test_a_sender_without_a_name(run: Run, tmp_path: Path) -> None:
    path = str(tmp_path / "a")

    async def main() -> None:
        async with udp(DatagramRecorder, family=socket.AF_UNIX, local_addr=path) as server:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.sendto(b"anonymous", path)
            await until(lambda: bool(server.received))
            assert server.received == [(b"anonymous", None)]

    run(main())


@pytest.mark.sfloop_only("asyncio takes a peer without a name for none at all")
def test_socketpair(run: Run) -> None:
    a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)

    async def main() -> None:
        async with udp(DatagramRecorder, sock=a) as one, udp(DatagramRecorder, sock=b) as two:
            one.transport.sendto(b"x")
            await until(lambda: bool(two.received))
            assert two.received[0][0] == b"x"

    run(main())


def test_the_receiver_goes_away(run: Run, tmp_path: Path) -> None:
    path = str(tmp_path / "a")

    async def main() -> None:
        receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        receiver.bind(path)
        async with udp(DatagramRecorder, family=socket.AF_UNIX, remote_addr=path) as client:
            receiver.close()
            client.transport.sendto(b"x")
            await until(lambda: bool(client.errors))
            assert isinstance(client.errors[0], ConnectionRefusedError)

    run(main())


def test_a_name_that_is_not_there(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        async with udp(DatagramRecorder, family=socket.AF_UNIX) as client:
            client.transport.sendto(b"x", str(tmp_path / "nothing"))
            assert isinstance(client.errors[0], FileNotFoundError)

    run(main())


def test_a_stale_path_is_replaced(run: Run, tmp_path: Path) -> None:
    path = str(tmp_path / "a")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as stale:
        stale.bind(path)

    async def main() -> None:
        async with udp(DatagramRecorder, family=socket.AF_UNIX, local_addr=path) as server:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.sendto(b"x", path)
            await until(lambda: bool(server.received))

    run(main())


def test_paths_must_be_strings(run: Run) -> None:
    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        with pytest.raises(TypeError, match="string is expected"):
            await loop.create_datagram_endpoint(DatagramRecorder, family=socket.AF_UNIX, local_addr=("a", 1))

    run(main())


def test_an_abstract_name(run: Run) -> None:
    name = f"\0sfloop-test-{os.getpid()}"

    async def main() -> None:
        async with udp(DatagramRecorder, family=socket.AF_UNIX, local_addr=name) as server:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.bind(f"\0sfloop-test-{os.getpid()}-sender")
                sender.sendto(b"x", name)
                address = sender.getsockname()
            await until(lambda: bool(server.received))
            assert server.received == [(b"x", address)]

    run(main())
