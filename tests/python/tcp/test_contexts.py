"""Context variables in the callbacks of a connection, on every stack. tests/python/agreement compares more."""

from __future__ import annotations

import asyncio
import contextvars
import sys

from harness.loops import until
from harness.observed import Run
from harness.recording import keeping

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="nothing")
SHARED = sys.version_info >= (3, 15)  # all callbacks of a transport run in one context


class Noting(asyncio.Protocol):
    transport: asyncio.Transport

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.note("factory")

    def note(self, what: str) -> None:
        self.seen.append(variable.get())
        variable.set(what)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.note("made")

    def data_received(self, data: bytes) -> None:
        self.note("data")

    def connection_lost(self, exc: Exception | None) -> None:
        self.note("lost")


def test_the_callbacks_of_a_connection(run: Run) -> None:
    served, factory = keeping(Noting)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        variable.set("server")
        server = await loop.create_server(factory, "127.0.0.1", 0)
        variable.set("client")
        transport, client = await loop.create_connection(Noting, *server.sockets[0].getsockname())
        assert variable.get() == "factory", "the factory runs in the caller's context"
        variable.set("program")
        await until(lambda: served and len(served[0].seen) == 2)
        served[0].transport.write(b"data")
        transport.write(b"data")
        await until(lambda: len(client.seen) == len(served[0].seen) == 3)
        variable.set("end")
        transport.close()
        await until(lambda: len(client.seen) == len(served[0].seen) == 4)
        server.close()
        await server.wait_closed()
        assert client.seen == (
            ["client", "client", "made", "data"] if SHARED else ["client", "factory", "factory", "end"]
        )
        assert served[0].seen == (
            ["server", "factory", "made", "data"] if SHARED else ["server", "factory", "factory", "data"]
        )

    run(main())
