"""Datagrams that arrive in bulk: all of them, in order, each with its own address."""

from __future__ import annotations

import asyncio
import random
import socket
from typing import Any

import pytest
from harness.connections import address_of, udp
from harness.loops import until
from harness.observed import Contexts, Run
from harness.recording import DatagramEcho, DatagramRecorder


def room_for(endpoint: DatagramRecorder, size: int = 4_000_000) -> None:
    endpoint.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)


def test_five_hundred_at_once(run: Run) -> None:
    async def main() -> None:
        async with udp(DatagramRecorder) as server, udp(DatagramRecorder) as client:
            room_for(server)
            for i in range(500):
                client.transport.sendto(i.to_bytes(4, "big") * 20, address_of(server))
            await until(lambda: len(server.received) == 500)
            assert server.received == [(i.to_bytes(4, "big") * 20, address_of(client)) for i in range(500)]

    run(main())


def test_from_many_senders(run: Run) -> None:
    senders = [socket.socket(type=socket.SOCK_DGRAM) for _ in range(20)]
    for i, sender in enumerate(senders):
        sender.bind((f"127.0.0.{i + 1}", 0))

    async def main() -> None:
        async with udp(DatagramRecorder) as server:
            room_for(server)
            expected = []
            generator = random.Random(1)
            for i in range(500):
                sender = generator.choice(senders)
                data = bytes([i % 256]) * generator.choice([0, 1, 10, 500, 2000])
                sender.sendto(data, address_of(server))
                expected.append((data, sender.getsockname()))
            await until(lambda: len(server.received) == 500)
            assert server.received == expected

    run(main())
    for sender in senders:
        sender.close()


def test_large_ones(run: Run) -> None:
    async def main() -> None:
        async with udp(DatagramRecorder) as server, udp(DatagramRecorder) as client:
            room_for(server, 8_000_000)
            client.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8_000_000)
            sent = [bytes([i]) * (65507 - i) for i in range(20)]
            for i, data in enumerate(sent):
                client.transport.sendto(data, address_of(server))
                if i % 3 == 2:
                    await until(lambda i=i: len(server.received) == i + 1)
            await until(lambda: len(server.received) == 20)
            assert [data for data, _ in server.received] == sent

    run(main())


def test_an_endless_stream_leaves_room_for_others(run: Run) -> None:
    """An endpoint that sends to itself must not keep timers and other connections waiting."""

    async def main() -> None:
        async with udp(DatagramEcho) as a, udp(DatagramEcho) as b:
            for i in range(20):
                a.transport.sendto(bytes([i]), address_of(b))
            turns = 0
            deadline = asyncio.get_running_loop().time() + 0.1
            while asyncio.get_running_loop().time() < deadline:
                await asyncio.sleep(0)
                turns += 1
            assert turns > 10
            assert len(a.received) > 100

    run(main())


def test_kept_datagrams_are_not_changed_by_later_ones(run: Run) -> None:
    async def main() -> None:
        async with udp(DatagramRecorder) as server, udp(DatagramRecorder) as client:
            room_for(server)
            for round_ in range(10):
                for i in range(100):
                    client.transport.sendto(bytes([i, round_]) * 50, address_of(server))
                await until(lambda round_=round_: len(server.received) == 100 * (round_ + 1))
            assert [data for data, _ in server.received] == [
                bytes([i, round_]) * 50 for round_ in range(10) for i in range(100)
            ]

    run(main())


@pytest.mark.parametrize("exception", [ZeroDivisionError, OSError])
def test_a_failing_datagram_received_in_a_batch(run: Run, contexts: Contexts, exception: type[Exception]) -> None:
    """The error is reported, and later datagrams are delivered. asyncio's report names its own read callback as the
    handle; sfloop, which has none, names transport and protocol."""

    class Failing(DatagramRecorder):
        def datagram_received(self, data: bytes, addr: Any) -> None:
            super().datagram_received(data, addr)
            if data == b"\x07":
                raise exception("datagram_received")

    async def main() -> None:
        async with udp(Failing) as server, udp(DatagramRecorder) as client:
            for i in range(20):
                client.transport.sendto(bytes([i]), address_of(server))
            await until(lambda: len(server.received) == 20)
            context = contexts.take("Exception in ")
            assert isinstance(context["exception"], exception)
            assert set(context) in (
                {"message", "exception", "handle"},
                {"message", "exception", "transport", "protocol"},
            )
            assert not server.transport.is_closing()

    run(main())


@pytest.mark.parametrize("exception", [KeyboardInterrupt, SystemExit])
def test_an_exit_request_in_a_batch_loses_no_datagram(
    loop: asyncio.AbstractEventLoop, exception: type[BaseException]
) -> None:
    class Leaving(DatagramRecorder):
        def datagram_received(self, data: bytes, addr: Any) -> None:
            super().datagram_received(data, addr)
            if data == b"\x07":
                raise exception("out")

    sock = socket.socket(type=socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    with socket.socket(type=socket.SOCK_DGRAM) as sender:
        for i in range(20):
            sender.sendto(bytes([i]), sock.getsockname())
    task = loop.create_task(loop.create_datagram_endpoint(Leaving, sock=sock))
    with pytest.raises(exception, match="out"):
        loop.run_forever()
    _, server = task.result()
    loop.run_until_complete(until(lambda: len(server.received) == 20))
    assert [data for data, _ in server.received] == [bytes([i]) for i in range(20)]
    server.transport.close()


class Pausing(DatagramRecorder):
    """Pauses reading after each datagram."""

    def datagram_received(self, data: bytes, addr: Any) -> None:
        super().datagram_received(data, addr)
        self.transport.pause_reading()  # type: ignore[attr-defined]


@pytest.mark.sfloop_only("asyncio's datagram transport has no pause_reading")
class TestPauseReading:
    def test_nothing_is_delivered_while_paused(self, run: Run) -> None:
        async def main() -> None:
            async with udp(DatagramRecorder) as server, udp(DatagramRecorder) as client:
                transport: Any = server.transport
                assert transport.is_reading()
                transport.pause_reading()
                assert not transport.is_reading()
                for i in range(10):
                    client.transport.sendto(bytes([i]), address_of(server))
                await asyncio.sleep(0.02)
                assert server.received == []
                transport.resume_reading()
                assert transport.is_reading()
                await until(lambda: len(server.received) == 10)

        run(main())

    def test_pausing_in_the_middle_of_a_batch(self, run: Run) -> None:
        async def main() -> None:
            async with udp(Pausing) as server, udp(DatagramRecorder) as client:
                room_for(server)
                for i in range(100):
                    client.transport.sendto(bytes([i]), address_of(server))
                for i in range(100):
                    await until(lambda i=i: len(server.received) == i + 1)
                    await asyncio.sleep(0)
                    assert len(server.received) == i + 1, "delivered while paused"
                    server.transport.resume_reading()  # type: ignore[attr-defined]
                assert [data for data, _ in server.received] == [bytes([i]) for i in range(100)]

        run(main())

    def test_closing_while_paused(self, run: Run) -> None:
        async def main() -> None:
            async with udp(DatagramRecorder) as server, udp(DatagramRecorder) as client:
                transport: Any = server.transport
                transport.pause_reading()
                client.transport.sendto(b"x", address_of(server))
                transport.close()
                assert await server.lost is None
                transport.resume_reading()
                assert not transport.is_reading()
                assert server.received == []

        run(main())

    def test_closing_with_a_paused_batch_in_hand(self, run: Run) -> None:
        async def main() -> None:
            async with udp(Pausing) as server, udp(DatagramRecorder) as client:
                for i in range(50):
                    client.transport.sendto(bytes([i]), address_of(server))
                await until(lambda: len(server.received) == 1)
                server.transport.close()
                assert await server.lost is None
                await asyncio.sleep(0.01)
                assert len(server.received) == 1

        run(main())
