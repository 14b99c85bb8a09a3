"""Watched descriptors at the end: end of file, closed ones, dead ones, duplicates, and the loop's own end."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import socket

import pytest
from descriptor_pairs import detached_socket_pair, socket_pair
from harness.loops import turns, until
from harness.observed import Run


def test_end_of_file_is_readable(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        for make in (os.pipe, detached_socket_pair):
            r, w = make()
            seen: list[bytes] = []
            loop.add_reader(r, functools.partial(lambda r, seen: seen.append(os.read(r, 10)), r, seen))
            os.close(w)
            await until(lambda seen=seen: bool(seen))
            assert seen[0] == b""
            loop.remove_reader(r)
            os.close(r)

    run(main())


def test_a_pipe_without_reader_is_writable(run: Run) -> None:
    """EPOLLERR must reach a writer, because it learns of the error by writing."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        r, w = os.pipe()
        os.set_blocking(w, False)
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(w, bytes(10_000))
        errors: list[OSError] = []

        def write() -> None:
            try:
                os.write(w, b"x")
            except OSError as exc:
                errors.append(exc)
                loop.remove_writer(w)

        loop.add_writer(w, write)
        await turns()
        assert not errors
        os.close(r)
        await until(lambda: bool(errors))
        assert isinstance(errors[0], BrokenPipeError)
        os.close(w)

    run(main())


def test_a_number_used_again_after_removal(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        for i in range(50):
            a, b = socket.socketpair()
            seen: list[bytes] = []
            loop.add_reader(b, functools.partial(lambda b, seen: seen.append(b.recv(10)), b, seen))
            a.send(b"%d" % i)
            await until(lambda seen=seen: bool(seen))
            assert seen == [b"%d" % i]
            loop.remove_reader(b)
            a.close()
            b.close()

    run(main())


@pytest.mark.sfloop_only("asyncio's selector takes the new descriptor for the old one and fails or stays deaf")
def test_a_descriptor_closed_without_removal(run: Run) -> None:
    """The kernel forgets it silently. When its number is used again, adding it must work."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        a, b = socket.socketpair()
        number = b.fileno()
        stale: list[str] = []
        loop.add_reader(b, stale.append, "stale")
        a.close()
        await asyncio.sleep(0.002)
        stale.clear()
        c, d = socket.socketpair()
        b.close()
        os.dup2(d.fileno(), number)
        again = socket.socket(fileno=number)
        seen: list[bytes] = []
        loop.add_reader(again, lambda: seen.append(again.recv(10)))
        c.send(b"fresh")
        await until(lambda: bool(seen))
        assert seen == [b"fresh"] and stale == []
        assert loop.remove_reader(again) is True
        for sock in (c, d, again):
            sock.close()

    run(main())


@pytest.mark.sfloop_only("asyncio raises OSError for EBADF when one of two callbacks is removed")
def test_a_dead_descriptor_can_be_removed(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        a, b = socket.socketpair()
        fd = b.fileno()
        loop.add_reader(fd, print)
        loop.add_writer(fd, int)
        a.close()
        b.close()
        assert loop.remove_writer(fd) is True
        assert loop.remove_reader(fd) is True
        assert loop.remove_reader(fd) is False

    run(main())


def test_a_duplicate_keeps_the_kernel_reporting(run: Run) -> None:
    """epoll watches the file behind the number: close() while a duplicate is open does not end the reports."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        a, b = socket.socketpair()
        duplicate = b.dup()
        seen: list[str] = []
        loop.add_reader(b, seen.append, "read")
        assert loop.remove_reader(b) is True
        b.close()
        a.send(b"x")
        await asyncio.sleep(0.01)
        assert seen == []
        a.close()
        duplicate.close()

    run(main())


def test_watched_descriptors_at_close_of_the_loop(loop_kind: str) -> None:
    from harness.loops import new_loop

    loop = new_loop(loop_kind)
    with socket_pair() as (w, r):
        loop.add_reader(r, print)
        loop.add_writer(w, print)
        loop.close()
        assert loop.remove_reader(r) is False
