"""Transports that the program drops without closing them. They live only while they still have an event to wait for."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import threading
import weakref
from contextlib import suppress
from typing import Any

import pytest
from harness.dropped import unclosed
from harness.loops import turns, until
from harness.observed import Run
from harness.zf import KERNEL_HOST


class Holder(asyncio.Protocol):
    """Refers to its transport, as streams do: a cycle."""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.data = b""
        self.lost = False

    def data_received(self, data: bytes) -> None:
        self.data += data

    def eof_received(self) -> bool:
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True


async def connect(factory: Any, listener: socket.socket) -> tuple[Any, socket.socket]:
    loop = asyncio.get_running_loop()
    protocol = (await loop.create_connection(factory, *listener.getsockname()))[1]
    peer, _ = listener.accept()
    peer.settimeout(5)
    await turns()
    return protocol, peer


def test_a_paused_transport_is_collected(run: Run) -> None:
    async def main() -> None:
        with socket.create_server((KERNEL_HOST, 0)) as listener:
            protocol, peer = await connect(Holder, listener)
            protocol.transport.pause_reading()
            gone, fd = weakref.ref(protocol.transport), protocol.transport.get_extra_info("socket").fileno()
            with peer:
                with unclosed() as texts:
                    del protocol
                    gc.collect()
                    assert gone() is None
                assert len(texts) == 1 and texts[0].startswith("unclosed transport")
                assert peer.recv(1) == b""
                with pytest.raises(OSError):
                    os.fstat(fd)

    run(main())


def test_one_that_reads_or_writes_is_not(run: Run) -> None:
    async def main() -> None:
        with socket.create_server((KERNEL_HOST, 0)) as listener:
            reading, peer = await connect(Holder, listener)
            writing, slow = await connect(Holder, listener)
            writing.transport.pause_reading()
            writing.transport.write(bytes(20_000_000))
            assert writing.transport.get_write_buffer_size()
            kept = [weakref.ref(reading), weakref.ref(writing)]
            del reading, writing
            gc.collect()
            with peer, slow:
                peer.sendall(b"x")
                await until(lambda: kept[0]().data == b"x")
                with unclosed() as texts:
                    await asyncio.to_thread(receive, slow, 20_000_000)
                    await until(lambda: gc.collect() >= 0 and kept[1]() is None)
                assert len(texts) == 1
            await until(lambda: kept[0]().transport.is_reading() and kept[0]().transport.abort() is None)
            await turns()

    run(main())


def receive(peer: socket.socket, count: int) -> None:
    while count:
        count -= len(peer.recv(1 << 20))


@pytest.mark.sfloop_only("asyncio's transport is a cycle by itself")
def test_the_last_reference_frees_it(run: Run) -> None:
    """The collector is not needed when the program makes no cycle."""

    async def main() -> None:
        with socket.create_server((KERNEL_HOST, 0)) as listener:
            loop = asyncio.get_running_loop()
            gc.disable()
            try:
                transport, _ = await loop.create_connection(asyncio.Protocol, *listener.getsockname())
                peer, _ = listener.accept()
                await turns()
                transport.pause_reading()
                with peer, unclosed() as texts:
                    gone = weakref.ref(transport)
                    del transport
                    assert gone() is None
                    peer.settimeout(5)
                    assert peer.recv(1) == b""
            finally:
                gc.enable()
            assert any("StreamTransport" in text for text in texts)

    run(main())


def test_a_handler_that_forgets_to_close(run: Run) -> None:
    """The handler has read to the end; the client waits for the server's end, and the server for the last
    connection."""

    async def main() -> None:
        async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"got " + await reader.read())
            await writer.drain()

        server = await asyncio.start_server(handler, "127.0.0.1", 0)
        with unclosed():  # from Python 3.13 on it is the StreamWriter that warns
            for _ in range(3):
                reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
                writer.write(b"x")
                writer.write_eof()
                answer: asyncio.Task[bytes] = asyncio.ensure_future(reader.read())
                await until(lambda: gc.collect() >= 0 and answer.done())  # noqa: B023
                assert answer.result() == b"got x"
                writer.close()
                await writer.wait_closed()
            server.close()
            await asyncio.wait_for(server.wait_closed(), 5)

    run(main())


@pytest.mark.sfloop_only("asyncio then watches the descriptor that has the number")
@pytest.mark.parametrize("how", ["protocol", "weakref"])
def test_a_resurrected_one_harms_nobody(run: Run, how: str) -> None:
    """By then the descriptor's number is another connection's."""
    saved: list[Any] = []

    class Saved(Holder):
        def __del__(self) -> None:
            if how == "protocol":
                saved.append(self.transport)
                with suppress(OSError):  # its socket may have been collected first
                    self.transport.resume_reading()

    async def main() -> None:
        loop = asyncio.get_running_loop()
        with socket.create_server((KERNEL_HOST, 0)) as listener:
            protocol, peer = await connect(Saved, listener)
            protocol.transport.pause_reading()
            fd = protocol.transport.get_extra_info("socket").fileno()
            if how == "weakref":
                transports = getattr(loop, "_transports", {})
                ref = weakref.ref(protocol, lambda _: saved.append(transports.get(fd)))
            with unclosed():
                del protocol
                gc.collect()
            with peer:
                assert peer.recv(1) == b""
            other, peer = await connect(Holder, listener)
            with peer:
                for transport in saved:
                    if transport is not None:
                        with suppress(ValueError):  # asyncio's says that the descriptor is -1
                            transport.resume_reading()
                            transport.pause_reading()
                            transport.resume_reading()
                        transport.abort()
                peer.sendall(b"for the other")
                await until(lambda: other.data == b"for the other")
                other.transport.abort()
                await turns()
                if how == "weakref":
                    del ref
            saved.clear()

    run(main())


@pytest.mark.sfloop_only("asyncio closes a descriptor that its selector thread may be polling")
def test_one_that_another_thread_collects(run: Run) -> None:
    """The loop's thread may run its stacks meanwhile."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Holder, "127.0.0.1", 0)
        for _ in range(20):
            protocol = (await loop.create_connection(Holder, *server.sockets[0].getsockname()))[1]
            await turns()
            protocol.transport.pause_reading()
            gone = weakref.ref(protocol.transport)
            with unclosed() as texts:
                gc.disable()
                del protocol
                thread = threading.Thread(target=gc.collect)
                thread.start()
                await until(lambda: not thread.is_alive())  # noqa: B023
                gc.enable()
                await turns()
            assert gone() is None and texts
        server.close()
        server.close_clients()
        await server.wait_closed()

    run(main())


def test_unix_and_pipes(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        read, write = os.pipe()
        with theirs, open(write, "wb", 0):
            stream, _ = await loop.create_unix_connection(asyncio.Protocol, sock=ours)
            pipe, _ = await loop.connect_read_pipe(asyncio.Protocol, open(read, "rb", 0))
            await turns()
            stream.pause_reading()
            pipe.pause_reading()  # type: ignore[attr-defined]
            gone = [weakref.ref(stream), weakref.ref(pipe)]
            with unclosed() as texts:
                del stream, pipe
                gc.collect()
                await turns()
            assert [ref() for ref in gone] == [None, None] and len(texts) == 2
            assert theirs.recv(1) == b""

    run(main())


@pytest.mark.sfloop_only("asyncio's datagram endpoints cannot pause reading")
def test_datagram_endpoints(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, local_addr=("127.0.0.1", 0))
        await turns()
        kept = weakref.ref(transport)
        name = transport.get_extra_info("sockname")
        del transport
        gc.collect()
        assert kept() is not None
        with unclosed() as texts:
            kept().pause_reading()  # type: ignore[union-attr]
            gc.collect()
        assert kept() is None and len(texts) == 1
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as again:
            again.bind(name)

    run(main())


@pytest.mark.parametrize("late", [False, True], ids=["before its own", "after its own"])
@pytest.mark.parametrize("end", ["close", "abort"])
def test_a_finalizer_ends_the_transport(run: Run, end: str, late: bool) -> None:
    """By then the collector has cleared the weak references to the transport. The order of its finalizers depends on
    the version of Python."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        lost: list[Any] = []

        class Ending(Holder):
            def connection_lost(self, exc: Exception | None) -> None:
                lost.append(exc)

            def __del__(self) -> None:
                if late:
                    self.transport.__del__()
                getattr(self.transport, end)()

        ours, theirs = socket.socketpair()
        with theirs, unclosed() as texts:
            transport, _ = await loop.create_unix_connection(Ending, sock=ours)
            await turns()
            transport.pause_reading()
            del transport, _
            gc.collect()
            await until(lambda: bool(lost))
            assert theirs.recv(1) == b""
            gc.collect()
        assert lost == [None] and 1 <= len(texts) <= 1 + late

    run(main())


def test_after_the_loop_is_closed(loop_kind: str) -> None:
    """The loop releases its objects."""
    from harness.loops import new_loop

    loop = new_loop(loop_kind)

    async def main() -> Any:
        ours, theirs = socket.socketpair()
        transport, _ = await loop.create_unix_connection(asyncio.Protocol, sock=ours)
        await turns()
        return weakref.ref(transport), theirs

    gone, theirs = loop.run_until_complete(main())
    with theirs, unclosed() as texts:
        loop.close()
        gc.collect()
        assert gone() is None
        assert theirs.recv(1) == b""
    assert len(texts) == 1
