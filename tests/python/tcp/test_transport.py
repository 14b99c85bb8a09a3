"""A stream transport's properties: types, extra information, repr, options set on its socket."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
import weakref

import pytest
from harness.connections import facing_socket, tcp_pair
from harness.observed import Run
from harness.recording import Recorder


def test_types(run: Run) -> None:
    async def main() -> None:
        async with tcp_pair(Recorder, Recorder) as (server, client):
            for transport in (server.transport, client.transport):
                assert isinstance(transport, asyncio.Transport)
                assert isinstance(transport, asyncio.WriteTransport)
                assert isinstance(transport, asyncio.ReadTransport)
                assert not isinstance(transport, asyncio.DatagramTransport)

    run(main())


def test_extra_information(run: Run) -> None:
    async def main() -> None:
        async with tcp_pair(Recorder, Recorder) as (server, client):
            ours, theirs = client.transport, server.transport
            assert ours.get_extra_info("peername") == theirs.get_extra_info("sockname")
            assert ours.get_extra_info("sockname") == theirs.get_extra_info("peername")
            assert ours.get_extra_info("peername")[0] == "127.0.0.1"
            assert ours.get_extra_info("no such thing") is None
            assert ours.get_extra_info("no such thing", 7) == 7
            sock = ours.get_extra_info("socket")
            assert sock.family == socket.AF_INET and sock.type == socket.SOCK_STREAM
            assert sock.getsockname() == ours.get_extra_info("sockname")
            assert sock.getpeername() == ours.get_extra_info("peername")
            assert sock.gettimeout() == 0
            assert sock.fileno() >= 0

    run(main())


def test_extra_information_outlives_the_connection(run: Run) -> None:
    async def main() -> None:
        async with facing_socket(Recorder) as (protocol, _):
            before = [protocol.transport.get_extra_info(name) for name in ("sockname", "peername")]
            protocol.transport.close()
            await protocol.lost
            assert [protocol.transport.get_extra_info(name) for name in ("sockname", "peername")] == before

    run(main())


def test_nagle_is_off(run: Run) -> None:
    async def main() -> None:
        async with tcp_pair(Recorder, Recorder) as (server, client):
            for protocol in (server, client):
                sock = protocol.transport.get_extra_info("socket")
                assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)

    run(main())


def test_repr(run: Run) -> None:
    async def main() -> None:
        async with facing_socket(Recorder) as (protocol, _):
            transport = protocol.transport
            fd = transport.get_extra_info("socket").fileno()
            assert f"fd={fd}" in repr(transport)
            assert "read=polling" in repr(transport) and "write=<idle, bufsize=0>" in repr(transport)
            transport.pause_reading()
            assert "read=idle" in repr(transport)
            transport.resume_reading()
            transport.write(bytes(20_000_000))
            assert f"write=<polling, bufsize={transport.get_write_buffer_size()}>" in repr(transport)
            transport.close()
            assert "closing" in repr(transport)
            transport.abort()
            await protocol.lost
            assert "closed" in repr(transport)

    run(main())


def test_weak_references_and_attributes(run: Run) -> None:
    async def main() -> None:
        async with facing_socket(Recorder) as (protocol, _):
            transport = protocol.transport
            assert weakref.ref(transport)() is transport
            assert hash(transport) == hash(transport) and transport in {transport}

    run(main())


def test_a_closed_transport_lets_go_of_its_protocol(run: Run) -> None:
    async def main() -> None:
        async with facing_socket(Recorder) as (protocol, _):
            transport = protocol.transport
            transport.close()
            await protocol.lost
            gone = weakref.ref(protocol)
            assert gone() is not None
            assert transport.get_protocol() is None

    run(main())


def test_the_socket_can_be_duplicated(run: Run) -> None:
    """socket.dup of the transport's socket, as in programs that hand a connection on."""

    async def main() -> None:
        async with facing_socket(Recorder) as (protocol, peer):
            copy = protocol.transport.get_extra_info("socket").dup()
            protocol.transport.abort()
            await protocol.lost
            assert copy.send(b"through the copy") == 16
            await asyncio.sleep(0.005)
            assert peer.recv(100) == b"through the copy"
            copy.close()

    run(main())


def test_unix_socketpair(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        a, b = socket.socketpair()
        for sock in (a, b):
            sock.setblocking(False)
        _, one = await loop.create_connection(Recorder, sock=a)
        _, two = await loop.create_connection(Recorder, sock=b)
        assert one.transport.get_extra_info("sockname") == ""
        assert one.transport.get_extra_info("peername") == ""
        one.transport.write(b"x" * 1_000_000)
        while len(two.data) < 1_000_000:
            await asyncio.sleep(0)
        one.transport.close()
        assert await two.lost is None

    run(main())


class Borrowed(socket.socket):
    """A socket on a borrowed descriptor. asyncio of Python 3.14.9 closes the socket of a connection that cannot be
    made."""

    def close(self) -> None:
        self.detach()


@pytest.mark.sfloop_only("these asyncio do not look", when=sys.version_info < (3, 12))
def test_a_second_transport_on_the_same_descriptor_is_refused(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with facing_socket(Recorder) as (protocol, _):
            fd = protocol.transport.get_extra_info("socket").fileno()
            with contextlib.closing(Borrowed(fileno=fd)) as same:
                with pytest.raises(RuntimeError, match="is used by transport"):
                    await loop.create_connection(Recorder, sock=same)

    run(main())
