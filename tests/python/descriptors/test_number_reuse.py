"""A descriptor is closed while a call waits for it, and its number is used again.

A call that waited for the old file takes no data of the new one, and a callback is not run for it. Its cancellation
changes nothing for the new owner. The old call waits for ever, as on asyncio, or fails.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Callable

import pytest
from harness.observed import Run
from number_owners import (
    HELLO,
    NEW,
    OLD,
    Loop,
    New,
    Old,
    new_pair,
    non_blocking,
    old_recvfrom,
    old_recvfrom_into,
    old_sendto,
    stale,
)

pytestmark = pytest.mark.sfloop_only("asyncio raises FileNotFoundError or reports a RuntimeError in many of them")

if sys.version_info >= (3, 11):
    OLD += [old_recvfrom, old_recvfrom_into, old_sendto]


# ---- the new owner of the number: it has to get HELLO from its peer ----


@pytest.mark.parametrize("cancelled", ["cancelled", "cancelled-later", "waiting"])
@pytest.mark.parametrize("turn", ["same-turn", "later"])
@pytest.mark.parametrize("old", OLD, ids=lambda old: old.__name__)
def test_the_new_owner_is_left_alone(run: Run, old: Callable[[Loop], Old], turn: str, cancelled: str) -> None:
    async def once(new: New) -> None:
        loop: Loop = asyncio.get_running_loop()
        sock, task, others = old(loop)
        await asyncio.sleep(0.001)
        number = sock.fileno()
        if task is not None:
            assert not task.done()
            if cancelled == "cancelled":
                task.cancel()
        sock.close()
        if turn == "later":
            await asyncio.sleep(0.001)
        if task is not None and cancelled == "cancelled-later":
            loop.call_soon(task.cancel)
        await new(loop, number)
        events = loop.stats()["stacks"]["kernel"]["events"]
        await asyncio.sleep(0.002)
        assert loop.stats()["stacks"]["kernel"]["events"] - events < 5
        if task is not None:
            assert task.cancelled() or not task.done() or task.exception() is not None
            task.cancel()
            await asyncio.wait([task])
        for other in others:
            other.close()

    async def main() -> None:
        for new in NEW:
            await once(new)

    run(main())


def test_a_call_on_a_socket_that_lives_on_as_a_duplicate_fails(run: Run) -> None:
    """The kernel reports the old file by its duplicate after the number has become another file's."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        for call in ("recv", "recv_into"):
            a, b = socket.socketpair()
            non_blocking(a)
            number = a.fileno()
            duplicate = a.dup()
            old = asyncio.ensure_future(
                loop.sock_recv(a, 100) if call == "recv" else loop.sock_recv_into(a, bytearray(100))
            )
            await asyncio.sleep(0.001)
            a.close()
            c, d = new_pair(number)
            d.send(HELLO)
            b.send(b"for the old one")
            with pytest.raises(OSError, match="Bad file descriptor"):
                await asyncio.wait_for(old, 5)
            assert c.recv(100) == HELLO
            assert duplicate.recv(100) == b"for the old one"
            for sock in (b, c, d, duplicate):
                sock.close()

    run(main())


def test_a_set_made_anew_does_not_watch_the_new_owner(run: Run) -> None:
    """A duplicate keeps a file open after its descriptor was closed: the loop makes its epoll set again, by number."""

    async def main() -> None:
        loop: Loop = asyncio.get_running_loop()
        old, other = socket.socketpair()
        loop.add_reader(old, stale)
        number = old.fileno()
        old.close()
        new, peer = new_pair(number)
        peer.send(HELLO)
        a, b = socket.socketpair()
        non_blocking(a)
        reading = asyncio.ensure_future(loop.sock_recv(a, 100))
        await asyncio.sleep(0.001)
        duplicate = a.dup()
        a.close()
        b.send(b"nobody reads this")
        with pytest.raises(OSError, match="Bad file descriptor"):
            await reading
        before = loop.stats()["stacks"]["kernel"]
        await asyncio.sleep(0.05)
        after = loop.stats()["stacks"]["kernel"]
        assert after["stale_events"] - before["stale_events"] == 16
        assert after["events"] - before["events"] < 30
        assert new.recv(100) == HELLO
        for sock in (new, peer, other, duplicate, b):
            sock.close()

    run(main())


def test_a_cancelled_accept_loses_no_connection(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with socket.create_server(("127.0.0.1", 0)) as listener:
            non_blocking(listener)
            accepting = asyncio.ensure_future(loop.sock_accept(listener))
            await asyncio.sleep(0.001)
            with socket.create_connection(listener.getsockname()):
                accepting.cancel()  # the connection has arrived, but no iteration has run
                with pytest.raises(asyncio.CancelledError):
                    await accepting
                connection, _ = await asyncio.wait_for(loop.sock_accept(listener), 5)
                connection.close()

    run(main())
