"""The limit of all TCP buffers together, on transports: a refused write goes on later, and costs nothing while it
waits."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import wire

import sfloop

MANY, EACH = 12, 400_000


@pytest.fixture(params=["adaptive", "never"])
def near(name: str, request: pytest.FixtureRequest) -> Iterator[sfloop.Loop]:
    with contextlib.closing(
        wire.open_side(name, wire.NEAR, spin=request.param, tcp={"memory": 1 << 20, "mss": 1460})
    ) as loop:
        yield loop


class Lazy(asyncio.Protocol):
    """Reads only when told to."""

    def __init__(self, made: list[Lazy]) -> None:
        self.made = made
        self.received = 0
        self.ended = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        transport.pause_reading()
        self.made.append(self)

    def data_received(self, data: bytes) -> None:
        self.received += len(data)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.ended.done():
            self.ended.set_result(exc)


async def send(address: Any) -> None:
    _, writer = await asyncio.open_connection(*address)
    writer.write(bytes(EACH))
    writer.close()
    await writer.wait_closed()


def test_unread_connections_go_on_when_they_are_read(near: sfloop.Loop, far: Callable[[Any], Any]) -> None:
    made: list[Lazy] = []

    async def send_all(address: Any) -> None:
        await asyncio.wait_for(asyncio.gather(*(send(address) for _ in range(MANY))), 15)

    async def main() -> None:
        server = await near.create_server(lambda: Lazy(made), wire.NEAR, 0)
        sending = near.run_in_executor(None, lambda: far(send_all(server.sockets[0].getsockname())))
        while len(made) < MANY:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.5)
        assert near.stats()["stacks"]["tcpip"]["tcp_memory_full"] > 0
        for connection in made:
            connection.transport.resume_reading()
        await asyncio.wait_for(asyncio.gather(*(connection.ended for connection in made)), 10)
        assert [connection.received for connection in made] == [EACH] * MANY
        server.close()
        await sending

    near.run_until_complete(main())


def test_a_write_that_finds_no_memory_waits_without_trying(near: sfloop.Loop, far: Callable[[Any], Any]) -> None:
    """The peer does not read: our buffers fill the memory, and no socket is reported as writable."""
    unread: list[Lazy] = []

    async def listen() -> Any:
        server = await asyncio.get_running_loop().create_server(lambda: Lazy(unread), wire.FAR, 0)
        wire.open_servers.append(server)
        return server.sockets[0].getsockname()

    async def read() -> None:
        for connection in unread:
            connection.transport.resume_reading()
        await asyncio.wait_for(asyncio.gather(*(connection.ended for connection in unread)), 15)

    async def main() -> None:
        address = far(listen())
        made = [await asyncio.open_connection(*address) for _ in range(8)]
        for _, writer in made:
            writer.write(bytes(8 << 20))
        await asyncio.sleep(0.3)
        before = near.stats()
        await asyncio.sleep(0.5)
        after = near.stats()
        refused = [stats["stacks"]["tcpip"]["tcp_memory_full"] for stats in (before, after)]
        assert refused[0] > 0
        assert refused[1] - refused[0] < 1000
        if near.options.spin == "never":
            assert after["turns"] - before["turns"] < 2000
        for _, writer in made:
            writer.close()
        await near.run_in_executor(None, lambda: far(read()))
        await asyncio.gather(*(writer.wait_closed() for _, writer in made))

    near.run_until_complete(main())
    assert [connection.received for connection in unread] == [8 << 20] * 8
