"""add_reader, add_writer and their removal, on every kind of descriptor that can be polled."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import select
import socket
import tempfile
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from descriptor_pairs import KINDS, socket_pair
from harness.loops import turns, until
from harness.observed import Contexts, Run


@pytest.fixture(params=KINDS)
def ends(request: pytest.FixtureRequest) -> Iterator[tuple[int, int, str]]:
    """Yield (descriptor to write to, descriptor to read from, kind) of each kind."""
    with KINDS[request.param]() as (w, r):
        yield w, r, request.param


def test_reader(run: Run, ends: tuple[int, int, str]) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        w, r, _ = ends
        received: list[bytes] = []
        loop.add_reader(r, lambda: received.append(os.read(r, 100)))
        await turns()
        assert received == []
        for i in range(5):
            os.write(w, b"%d" % i)
            await until(lambda i=i: len(received) == i + 1)
        assert loop.remove_reader(r) is True
        assert loop.remove_reader(r) is False
        os.write(w, b"unread")
        await asyncio.sleep(0.005)
        assert received == [b"0", b"1", b"2", b"3", b"4"]

    run(main())


def test_writer(run: Run, ends: tuple[int, int, str]) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        w, r, _ = ends
        os.set_blocking(w, False)
        count = 0

        def writable() -> None:
            nonlocal count
            count += 1

        loop.add_writer(w, writable)
        await until(lambda: count >= 3)  # called as long as it is writable
        filled = 0
        with contextlib.suppress(BlockingIOError):
            while True:
                filled += os.write(w, b"x" * 1000)
        await asyncio.sleep(0.005)
        before = count
        await asyncio.sleep(0.01)
        if ends[2] != "terminal":  # a terminal may report that it is writable and refuse all the same
            assert count <= before + 1, "called while it cannot be written"
        while filled > 0:
            filled -= len(os.read(r, 100_000))
        await until(lambda: count > before + 1)
        assert loop.remove_writer(w) is True
        assert loop.remove_writer(w) is False
        before = count
        await asyncio.sleep(0.005)
        assert count == before

    run(main())


def test_eventfd(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        fd = os.eventfd(0, os.EFD_NONBLOCK)
        seen: list[int] = []
        loop.add_reader(fd, lambda: seen.append(os.eventfd_read(fd)))
        os.eventfd_write(fd, 3)
        await until(lambda: seen == [3])
        loop.remove_reader(fd)
        os.close(fd)

    if not hasattr(os, "eventfd"):  # before Python 3.10.0 only
        raise AssertionError("this Python has no os.eventfd")
    run(main())


def test_an_epoll_descriptor(run: Run) -> None:
    """An event loop inside an event loop, as some libraries have it."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        with socket_pair() as (w, r), contextlib.closing(select.epoll()) as inner:
            inner.register(r, select.EPOLLIN)
            seen: list[Any] = []

            def drain() -> None:
                seen.append(inner.poll(0))
                os.read(r, 10)

            loop.add_reader(inner.fileno(), drain)
            os.write(w, b"x")
            await until(lambda: bool(seen))
            assert seen[0] == [(r, select.EPOLLIN)]
            loop.remove_reader(inner.fileno())

    run(main())


def test_arguments_and_contexts(run: Run) -> None:
    import contextvars

    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")

    async def main() -> None:
        loop = asyncio.get_running_loop()
        with socket_pair() as (w, r):
            seen: list[Any] = []

            def callback(*args: Any) -> None:
                seen.append((args, variable.get()))
                os.read(r, 10)

            variable.set("when added")
            loop.add_reader(r, callback, 1, "two")
            variable.set("later")
            os.write(w, b"x")
            await until(lambda: bool(seen))
            assert seen == [((1, "two"), "when added")]
            loop.remove_reader(r)

    run(main())


def test_objects_with_fileno(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        a, b = socket.socketpair()
        with a, b:
            seen: list[bytes] = []
            loop.add_reader(b, lambda: seen.append(b.recv(10)))
            a.send(b"x")
            await until(lambda: bool(seen))
            assert loop.remove_reader(b) is True
            loop.add_writer(a, seen.append, b"w")
            await until(lambda: b"w" in seen)
            assert loop.remove_writer(a.fileno()) is True

    run(main())


def test_replacing_a_callback(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with socket_pair() as (w, r):
            seen: list[str] = []
            loop.add_reader(r, seen.append, "first")

            def second() -> None:
                seen.append("second")
                os.read(r, 10)

            loop.add_reader(r, second)
            os.write(w, b"x")
            await until(lambda: bool(seen))
            await turns()
            assert seen == ["second"]
            assert loop.remove_reader(r) is True
            assert loop.remove_reader(r) is False

    run(main())


def test_replacing_within_the_callback(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with socket_pair() as (w, r):
            seen: list[str] = []

            def first() -> None:
                seen.append("first")
                loop.add_reader(r, second)

            def second() -> None:
                seen.append("second")
                loop.remove_reader(r)

            loop.add_reader(r, first)
            os.write(w, b"x")
            await until(lambda: len(seen) == 2)
            await turns()
            assert seen == ["first", "second"]

    run(main())


def test_reader_and_writer_on_one_descriptor(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with socket_pair() as (w, r):
            seen: list[str] = []

            def read() -> None:
                seen.append("read")
                os.read(r, 10)

            loop.add_reader(r, read)
            loop.add_writer(r, seen.append, "write")
            os.write(w, b"x")
            await until(lambda: {"read", "write"} <= set(seen))
            assert loop.remove_writer(r) is True
            await turns()
            count = len(seen)
            os.write(w, b"x")
            await until(lambda: len(seen) == count + 1)
            assert seen[-1] == "read"
            assert loop.remove_reader(r) is True

    run(main())


def test_a_removed_reader_is_not_called_any_more_in_the_same_turn(run: Run) -> None:
    """Two descriptors are ready; the callback of each removes the other's."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        with socket_pair() as (w1, r1), socket_pair() as (w2, r2):
            seen: list[int] = []

            def callback(me: int, other: int) -> None:
                seen.append(me)
                loop.remove_reader(other)
                loop.remove_reader(me)

            os.write(w1, b"x")
            os.write(w2, b"x")
            loop.add_reader(r1, callback, r1, r2)
            loop.add_reader(r2, callback, r2, r1)
            await asyncio.sleep(0.01)
            assert len(seen) == 1

    run(main())


def test_a_failing_callback_is_reported_and_stays(run: Run, contexts: Contexts) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with socket_pair() as (w, r):
            seen: list[bytes] = []

            def fail() -> None:
                seen.append(os.read(r, 1))
                raise ZeroDivisionError

            loop.add_reader(r, fail)
            os.write(w, b"12")
            await until(lambda: len(seen) == 2)
            loop.remove_reader(r)
            for _ in range(2):
                assert isinstance(contexts.take("Exception in callback")["exception"], ZeroDivisionError)

    run(main())


def test_callbacks_are_freed(run: Run) -> None:
    class Payload:
        def method(self) -> None:
            pass

    async def main() -> None:
        loop = asyncio.get_running_loop()
        with socket_pair() as (_, r):
            for add, remove in ((loop.add_reader, loop.remove_reader), (loop.add_writer, loop.remove_writer)):
                payload, replacement = Payload(), Payload()
                gone, replaced = weakref.ref(payload), weakref.ref(replacement)
                add(r, payload.method)
                add(r, replacement.method)
                del payload
                await turns()
                gc.collect()
                assert gone() is None
                del replacement
                remove(r)
                await turns()
                gc.collect()
                assert replaced() is None

    run(main())


def test_regular_files_are_refused(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with tempfile.TemporaryFile() as file:
            for add in (loop.add_reader, loop.add_writer):
                with pytest.raises(PermissionError):
                    add(file, print)
            assert loop.remove_reader(file) is False

    run(main())


WRONG: dict[str, tuple[Any, type[Exception] | tuple[type[Exception], ...]]] = {
    "negative": (-1, (ValueError, OSError)),
    "text": ("5", ValueError),
    "none": (None, ValueError),
    "object": (object(), ValueError),
    "float": (1.5, ValueError),
    "closed": (10**6, OSError),
}


@pytest.mark.parametrize("what", WRONG)
@pytest.mark.parametrize("method", ["add_reader", "add_writer"])
def test_wrong_descriptors(run: Run, what: str, method: str) -> None:
    value, exceptions = WRONG[what]

    async def main() -> None:
        with pytest.raises(exceptions):
            getattr(asyncio.get_running_loop(), method)(value, print)

    run(main())


def test_a_descriptor_that_a_transport_uses(run: Run) -> None:
    from harness.connections import facing_socket
    from harness.recording import Recorder

    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with facing_socket(Recorder) as (protocol, _):
            fd = protocol.transport.get_extra_info("socket").fileno()
            calls: list[Callable[[], Any]] = [
                lambda: loop.add_reader(fd, print),
                lambda: loop.add_writer(fd, print),
                lambda: loop.remove_reader(fd),
                lambda: loop.remove_writer(fd),
            ]
            for call in calls:
                with pytest.raises(RuntimeError, match=r"File descriptor .* is used by transport"):
                    call()

    run(main())


def test_many_descriptors(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        pairs = [socket.socketpair() for _ in range(400)]
        seen: set[int] = set()

        def read(i: int) -> None:
            pairs[i][1].recv(1)
            seen.add(i)

        for i, (_, b) in enumerate(pairs):
            loop.add_reader(b, read, i)
        for a, _ in pairs:
            a.send(b"x")
        await until(lambda: len(seen) == 400)
        for a, b in pairs:
            loop.remove_reader(b)
            a.close()
            b.close()

    run(main())
