"""Random uses of watched descriptors see the same on asyncio's own loop and on sfloop."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import Any

from harness.agreement import COMMON, END, PAIRS, QUIET_TURNS, Operation, Trace, both
from harness.random_scheduling import SCHEDULES, Scheduling
from hypothesis import example, given
from hypothesis import strategies as st

WATCHING = st.one_of(
    st.tuples(st.just("add_reader"), END),
    st.tuples(st.just("add_writer"), END),
    st.tuples(st.just("remove_reader"), END),
    st.tuples(st.just("remove_writer"), END),
    st.tuples(st.just("send"), END, st.integers(1, 100)),
    st.tuples(st.just("shutdown"), END),
    st.tuples(st.just("replace"), END),
)


class Watching:
    """Socketpairs whose ends are watched with add_reader and add_writer."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.sockets = [sock for _ in range(PAIRS) for sock in socket.socketpair()]
        for sock in self.sockets:
            sock.setblocking(False)
        self.traces: list[Trace] = [[] for _ in self.sockets]
        self.generation = 0

    def readable(self, n: int, generation: int) -> None:
        data = self.sockets[n].recv(1000)
        self.traces[n].append(("readable", generation, data))
        if not data:
            self.loop.remove_reader(self.sockets[n])

    def writable(self, n: int, generation: int) -> None:
        self.traces[n].append(("writable", generation))
        self.loop.remove_writer(self.sockets[n])

    def do(self, deed: str, n: int, *args: Any) -> None:
        sock = self.sockets[n]
        self.generation += 1
        if deed == "add_reader":
            self.loop.add_reader(sock, self.readable, n, self.generation)
        elif deed == "add_writer":
            self.loop.add_writer(sock, self.writable, n, self.generation)
        elif deed == "remove_reader":
            self.traces[n].append(self.loop.remove_reader(sock))
        elif deed == "remove_writer":
            self.traces[n].append(self.loop.remove_writer(sock))
        elif deed == "send":
            with contextlib.suppress(BrokenPipeError):
                sock.send(bytes(args[0]))
        elif deed == "shutdown":
            sock.shutdown(socket.SHUT_WR)
        else:  # both ends are closed, and their numbers used again by a new pair
            first = n - n % 2
            for i in (first, first + 1):
                self.loop.remove_reader(self.sockets[i])
                self.loop.remove_writer(self.sockets[i])
                self.sockets[i].close()
            self.sockets[first : first + 2] = socket.socketpair()
            for i in (first, first + 1):
                self.sockets[i].setblocking(False)

    async def run(self, batches: list[list[Operation]]) -> list[Trace]:
        for batch in batches:
            for deed in batch:
                self.do(*deed)
            for _ in range(QUIET_TURNS):
                await asyncio.sleep(0)
        for sock in self.sockets:
            self.loop.remove_reader(sock)
            self.loop.remove_writer(sock)
            sock.close()
        return self.traces


@COMMON
@given(st.lists(st.lists(WATCHING, min_size=1, max_size=5), min_size=1, max_size=6))
@example([[("add_reader", 0), ("send", 1, 5), ("add_reader", 0)], [("shutdown", 1)], [("remove_reader", 0)]])
@example([[("add_reader", 0), ("replace", 0), ("add_reader", 1), ("send", 0, 3)], [("add_writer", 0)]])
def test_watched_descriptors(batches: list[list[Operation]]) -> None:
    both(lambda loop: loop.run_until_complete(Watching(loop).run(batches)))


@COMMON
@given(SCHEDULES)
def test_one_watched_descriptor_among_callbacks(program: list[Operation]) -> None:
    """With one descriptor, readable once, asyncio determines when its reader runs: after the callbacks that were ready
    when it polled, and before later callbacks and due timers."""

    def with_reader(loop: asyncio.AbstractEventLoop) -> Trace:
        ours, theirs = socket.socketpair()
        scheduling = Scheduling(loop)

        def readable() -> None:
            ours.recv(1)
            scheduling.note("readable")

        theirs.send(b"x")
        loop.add_reader(ours, readable)
        try:
            return scheduling.run(program)
        finally:
            loop.remove_reader(ours)
            ours.close()
            theirs.close()

    both(with_reader)
