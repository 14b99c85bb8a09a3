"""Random uses of transports see the same on asyncio's own loop and on sfloop."""

from __future__ import annotations

import asyncio
import socket
import sys
from typing import Any

from harness.agreement import COMMON, END, PAIRS, QUIET_TURNS, Operation, Trace, both
from hypothesis import example, given
from hypothesis import strategies as st

# CVE-2024-12254: writelines() of these versions never calls pause_writing().
WRITELINES_PAUSES = not ((3, 12) <= sys.version_info < (3, 12, 9) or (3, 13) <= sys.version_info < (3, 13, 2))
SIZES = [1, 10, 1000, 70_000, 300_000]
DEEDS = st.one_of(
    st.tuples(st.just("write"), END, st.sampled_from([0, *SIZES])),
    # No empty pieces, because asyncio keeps an empty piece in its buffer for good from Python 3.12 on.
    st.tuples(st.just("writelines"), END, st.lists(st.sampled_from(SIZES), min_size=1, max_size=3))
    if WRITELINES_PAUSES
    else st.nothing(),
    st.tuples(st.just("write_eof"), END),
    st.tuples(st.just("close"), END),
    st.tuples(st.just("abort"), END),
    st.tuples(st.just("pause_reading"), END),
    st.tuples(st.just("resume_reading"), END),
    st.tuples(
        st.just("limits"), END, st.sampled_from([(None, None), (0, None), (1000, 10), (None, 5), (1, 2), (-1, None)])
    ),
    st.tuples(st.just("state"), END),
    st.tuples(st.just("keep_open"), END, st.booleans()),
    st.tuples(st.just("set_protocol"), END),
)
BATCHES = st.lists(st.lists(DEEDS, min_size=1, max_size=5), min_size=1, max_size=6)


class End(asyncio.Protocol):
    """One end of a socketpair: it records its callbacks. Data that arrives in pieces is recorded as one piece."""

    transport: asyncio.Transport

    def __init__(self) -> None:
        self.trace: Trace = []
        self.keep_open = self.lost = False
        self.sent = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.trace.append("connection_made")

    def data_received(self, data: bytes) -> None:
        if self.trace and isinstance(self.trace[-1], bytearray):
            self.trace[-1] += data
        else:
            self.trace.append(bytearray(data))

    def eof_received(self) -> bool:
        self.trace.append("eof_received")
        return self.keep_open

    def pause_writing(self) -> None:
        self.trace.append("pause_writing")

    def resume_writing(self) -> None:
        self.trace.append("resume_writing")

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        self.trace.append(f"connection_lost {exc!r}")


class NextEnd(End):
    """The protocol that set_protocol() sets; it writes to the same trace."""

    def __init__(self, before: End) -> None:
        super().__init__()
        vars(self).update(vars(before))
        self.trace.append("set_protocol")


def apart(trace: Trace) -> tuple[Trace, Trace]:
    """Split a trace into the callbacks of writing and all others, because their order depends on which end is served
    first when both have much to write."""
    flow: Trace = []
    rest: Trace = []
    for entry in trace:
        if entry in ("pause_writing", "resume_writing"):
            flow.append(entry)
        elif isinstance(entry, bytearray) and rest and isinstance(rest[-1], bytearray):
            rest[-1] += entry
        else:
            rest.append(entry)
    return flow, rest


class Pairs:
    """Socketpairs with a transport at each end, and the operations on them."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.ends: list[End] = []
        self.traces: list[Trace] = []

    async def open(self) -> None:
        for _ in range(PAIRS):
            for sock in socket.socketpair():
                sock.setblocking(False)
                _, end = await self.loop.create_connection(End, sock=sock)
                self.ends.append(end)
                self.traces.append(end.trace)

    def do(self, deed: str, n: int, *args: Any) -> None:
        """Record the operation's result or exception in the trace of its end."""
        end = self.ends[n]
        if end.lost and deed in ("abort", "write", "writelines"):
            return  # after a close() that had to drain the buffer, asyncio fails here in its own internals
        try:
            result = getattr(self, "do_" + deed)(n, end, *args)
        except Exception as exc:
            # Before Python 3.12 writelines() calls write(), and the message names write().
            result = f"{type(exc).__name__}: {exc}".replace("writelines()", "write()")
        if result is not None:
            end.trace.append(f"{deed} {result}")

    def piece(self, end: End, size: int) -> bytes:
        end.sent += 1
        return bytes([end.sent % 256]) * size

    def do_write(self, n: int, end: End, size: int) -> None:
        end.transport.write(self.piece(end, size))

    def do_writelines(self, n: int, end: End, sizes: list[int]) -> None:
        end.transport.writelines([self.piece(end, size) for size in sizes])

    def do_write_eof(self, n: int, end: End) -> None:
        end.transport.write_eof()

    def do_close(self, n: int, end: End) -> None:
        end.transport.close()

    def do_abort(self, n: int, end: End) -> None:
        end.transport.abort()

    def do_pause_reading(self, n: int, end: End) -> None:
        end.transport.pause_reading()

    def do_resume_reading(self, n: int, end: End) -> None:
        end.transport.resume_reading()

    def do_limits(self, n: int, end: End, limits: tuple[int | None, int | None]) -> Any:
        end.transport.set_write_buffer_limits(*limits)
        return end.transport.get_write_buffer_limits()

    def do_state(self, n: int, end: End) -> Any:
        transport = end.transport
        return transport.is_closing(), transport.is_reading(), transport.get_write_buffer_size()

    def do_keep_open(self, n: int, end: End, keep_open: bool) -> None:
        end.keep_open = keep_open

    def do_set_protocol(self, n: int, end: End) -> None:
        if end.transport.get_protocol() is end:
            self.ends[n] = NextEnd(end)
            end.transport.set_protocol(self.ends[n])

    def size(self) -> int:
        return sum(len(entry) if isinstance(entry, bytearray) else 1 for trace in self.traces for entry in trace)

    async def settle(self) -> None:
        quiet = 0
        while quiet < QUIET_TURNS:
            before = self.size()
            await asyncio.sleep(0)
            quiet = quiet + 1 if self.size() == before else 0

    async def run(self, batches: list[list[Operation]]) -> list[tuple[Trace, Trace]]:
        """Run each batch within one callback, wait until all is quiet, and close everything at the end."""
        await self.open()
        for batch in batches:
            for deed in batch:
                self.do(*deed)
            await self.settle()
        for n in range(len(self.ends)):
            self.do("abort", n)
        await self.settle()
        return [apart(trace) for trace in self.traces]


@COMMON
@given(BATCHES)
@example([[("write", 0, 300_000), ("close", 0)], [("state", 0), ("state", 1)]])
@example([[("pause_reading", 1), ("write", 0, 300_000)], [("resume_reading", 1)], [("write_eof", 0), ("write", 0, 1)]])
@example([[("keep_open", 1, True), ("write", 0, 10), ("write_eof", 0)], [("write", 1, 70_000), ("close", 1)]])
@example([[("write", 0, 300_000), ("abort", 1)], [("write", 0, 1), ("state", 0)]])
@example([[("write", 2, 70_000)], [("write", 2, 300_000), ("write", 3, 300_000)]])
def test_transports(batches: list[list[Operation]]) -> None:
    def program(loop: asyncio.AbstractEventLoop) -> Any:
        contexts: Trace = []
        loop.set_exception_handler(lambda _, context: contexts.append((context["message"], repr(context["exception"]))))
        traces = loop.run_until_complete(Pairs(loop).run(batches))
        return traces, contexts

    both(program)
