"""The descriptor of a transport's socket, as a pool of connections uses it: poll(2) tells whether the peer has closed
an idle connection. On a stack past the kernel it serves nothing else."""

from __future__ import annotations

import contextlib
import gc
import os
import select
from typing import Any

import pytest
from harness.connections import tcp_pair
from harness.loops import until
from harness.observed import Run
from harness.recording import Recorder


def readable(transport: Any) -> bool:
    """httpcore's question."""
    poll = select.poll()
    poll.register(transport.get_extra_info("socket").fileno(), select.POLLIN)
    return bool(poll.poll(0))


def anonymous_files() -> int:
    """The open descriptors of epoll sets, eventfds and the like. Sockets reserve ports even after the end."""
    found = 0
    for fd in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # the directory's own
            found += os.readlink(f"/proc/self/fd/{fd}").startswith("anon_inode:")
    return found


class KeepingOpen(Recorder):
    def eof_received(self) -> bool:
        super().eof_received()
        return True


def test_an_idle_connection(run: Run) -> None:
    async def main() -> None:
        async with tcp_pair(Recorder, Recorder) as (server, client):
            assert not readable(client.transport)
            server.transport.write(b"one")
            await until(lambda: client.data == b"one")
            assert not readable(client.transport)

    run(main())


def test_unread_data(run: Run) -> None:
    async def main() -> None:
        async with tcp_pair(Recorder, Recorder) as (server, client):
            client.transport.pause_reading()
            assert not readable(client.transport)
            server.transport.write(b"one")
            await until(lambda: readable(client.transport))
            client.transport.resume_reading()
            await until(lambda: client.data == b"one")
            assert not readable(client.transport)

    run(main())


@pytest.mark.parametrize("paused", [False, True])
def test_the_peer_has_closed(run: Run, paused: bool) -> None:
    async def main() -> None:
        async with tcp_pair(Recorder, KeepingOpen) as (server, client):
            if paused:
                client.transport.pause_reading()
            assert not readable(client.transport)
            server.transport.close()
            await until(lambda: readable(client.transport))

    run(main())


def test_the_peer_has_reset(run: Run) -> None:
    async def main() -> None:
        async with tcp_pair(Recorder, Recorder) as (server, client):
            client.transport.pause_reading()
            assert not readable(client.transport)
            server.transport.abort()
            await until(lambda: readable(client.transport))

    run(main())


def test_a_closed_transport(run: Run) -> None:
    async def main() -> None:
        async with tcp_pair(Recorder, Recorder) as (_, client):
            sock = client.transport.get_extra_info("socket")
            assert sock.fileno() >= 0
            client.transport.close()
            await client.lost
            assert sock.fileno() == -1

    run(main())


def test_nothing_is_left(run: Run) -> None:
    async def main() -> None:
        async with tcp_pair(Recorder, Recorder):
            pass
        gc.collect()
        before = anonymous_files()
        for end in ("close", "abort"):
            async with tcp_pair(Recorder, Recorder) as (server, client):
                assert not readable(client.transport)
                assert not readable(server.transport)
                getattr(client.transport, end)()
        gc.collect()
        assert anonymous_files() == before

    run(main())


def test_it_takes_and_gives_no_data(run: Run, loop_kind: str) -> None:
    if loop_kind != "tcpip":
        return  # the kernel's descriptor does

    async def main() -> None:
        async with tcp_pair(Recorder, Recorder) as (server, client):
            client.transport.pause_reading()
            server.transport.write(b"one")
            await until(lambda: readable(client.transport))
            fd = client.transport.get_extra_info("socket").fileno()
            with pytest.raises(OSError):
                os.read(fd, 3)
            with pytest.raises(OSError):
                os.write(fd, b"three")

    run(main())
