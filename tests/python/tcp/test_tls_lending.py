"""OpenSSL reads ciphertext in place: the rest of it is not lost when other code runs meanwhile."""

from __future__ import annotations

import asyncio
import ssl
import sys
from typing import Any

import pytest
from harness.loops import until
from harness.observed import Contexts, Run
from harness.recording import Echo, Recorder
from harness.tls import tls_pair

if sys.version_info < (3, 11):  # its sslproto leaves every transport to __del__, also those that are closed
    pytestmark = pytest.mark.filterwarnings("ignore:unclosed transport <asyncio.sslproto:ResourceWarning")

DATA = bytes(number * 13 % 251 for number in range(100_000))


class Sips(asyncio.BufferedProtocol, Recorder):
    """Returns buffers of a few bytes, pauses now and then, and reads the session's state while it holds unread
    records."""

    def __init__(self) -> None:
        super().__init__()
        self.buffer = bytearray(997)
        self.updates = 0

    def get_buffer(self, sizehint: int) -> memoryview:
        self.transport.get_extra_info("ssl_object").pending()
        return memoryview(self.buffer)[: 1 + self.updates * 31 % 997]

    def buffer_updated(self, nbytes: int) -> None:
        super().data_received(bytes(self.buffer[:nbytes]))
        self.updates += 1
        if self.updates % 50 == 0:
            self.transport.pause_reading()
            self.loop.call_later(0.001, self.transport.resume_reading)


def test_buffers_smaller_than_a_record(
    run: Run, server_context: ssl.SSLContext, client_context: ssl.SSLContext
) -> None:
    async def main() -> None:
        async with tls_pair(server_context, client_context, Sips) as (server, client):
            client.transport.write(DATA[:50_000])
            await asyncio.sleep(0.005)
            client.transport.writelines([DATA[50_000:60_000], b"", DATA[60_000:]])
            await until(lambda: len(server.data) == len(DATA))
            assert server.data == DATA
            await asyncio.sleep(0.005)  # until it reads again

    run(main())


@pytest.mark.parametrize("when", ["get_buffer", "buffer_updated"])
@pytest.mark.parametrize("way", ["abort", "raise"])
def test_the_end_while_records_are_left(
    run: Run, contexts: Contexts, server_context: ssl.SSLContext, client_context: ssl.SSLContext, when: str, way: str
) -> None:
    class Ends(Sips):
        def end(self, where: str) -> None:
            if where == when and self.updates == 3:
                if way == "raise":
                    raise ZeroDivisionError
                self.transport.abort()

        def get_buffer(self, sizehint: int) -> memoryview:
            self.end("get_buffer")
            return super().get_buffer(sizehint)

        def buffer_updated(self, nbytes: int) -> None:
            super().buffer_updated(nbytes)
            self.end("buffer_updated")

    async def main() -> None:
        async with tls_pair(server_context, client_context, Ends) as (server, client):
            client.transport.write(DATA)
            exc = await server.lost
            assert isinstance(exc, ZeroDivisionError) if way == "raise" else exc is None
            assert DATA.startswith(server.data)
            server.lost = asyncio.get_running_loop().create_future()
            server.lost.set_result(None)
            client.transport.abort()

    run(main())
    contexts.clear()


def test_a_callback_of_openssl_looks_at_the_session(
    run: Run, server_context: ssl.SSLContext, client_context: ssl.SSLContext
) -> None:
    """The callback runs within SSL_read() and SSL_write()."""
    seen: list[Any] = []

    def look(connection: Any, *_: Any) -> None:
        seen.append((connection.pending(), connection.version()))

    client_context._msg_callback = look  # type: ignore[attr-defined]
    try:

        async def main() -> None:
            async with tls_pair(server_context, client_context, Echo) as (_, client):
                for at in range(0, 10_000, 1000):
                    client.transport.write(DATA[at : at + 1000])
                await until(lambda: len(client.data) == 10_000)
                assert client.data == DATA[:10_000]

        run(main())
    finally:
        client_context._msg_callback = None  # type: ignore[attr-defined]
    assert len(seen) > 20


def test_large_writes_are_whole(run: Run, server_context: ssl.SSLContext, client_context: ssl.SSLContext) -> None:
    async def main() -> None:
        async with tls_pair(server_context, client_context) as (server, client):
            expected = b""
            for size in (1, 16_383, 16_384, 16_385, 32_768, 100_000, 0, 1_000_000):
                data = (DATA * 11)[:size]
                client.transport.write(data)
                client.transport.write(memoryview(data))
                expected += data * 2
            await until(lambda: len(server.data) == len(expected))
            assert server.data == expected

    run(main())
