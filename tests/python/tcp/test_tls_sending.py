"""A record goes from OpenSSL's buffer to the stack: nothing is lost, doubled or reordered when the stack takes only a
part of it, and errors are those of a plain transport. Busy connections keep OpenSSL's buffers."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
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
MESSAGE = 1000


def test_a_full_socket_takes_a_part_of_a_record(
    run: Run, server_context: ssl.SSLContext, client_context: ssl.SSLContext
) -> None:
    async def main() -> None:
        async with tls_pair(server_context, client_context) as (server, client):
            server.transport.pause_reading()
            expected = bytearray()
            while client.transport.get_write_buffer_size() < 100_000:
                piece = DATA[: 1 + (len(expected) * 7) % 16_000]
                client.transport.write(piece)
                expected += piece
            server.transport.resume_reading()
            await until(lambda: len(server.data) == len(expected))
            assert server.data == expected
            assert client.transport.get_write_buffer_size() == 0

    run(main())


def test_an_error_of_sending_is_that_of_the_socket(
    run: Run, contexts: Contexts, server_context: ssl.SSLContext, client_context: ssl.SSLContext
) -> None:
    async def main() -> None:
        async with tls_pair(server_context, client_context) as (server, client):
            sock = server.transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            server.transport.abort()
            await server.lost
            await asyncio.sleep(0)  # the socket is closed after connection_lost()
            for _ in range(3):  # the RST may arrive after the first
                client.transport.write(b"x")
            assert isinstance(await client.lost, (ConnectionError, type(None)))
            client.transport.write(b"y")  # has no effect

    run(main())
    contexts.clear()


@pytest.mark.parametrize("way", ["write", "abort", "pause"])
def test_a_callback_of_openssl_uses_the_connection(
    run: Run, contexts: Contexts, server_context: ssl.SSLContext, client_context: ssl.SSLContext, way: str
) -> None:
    """The callback runs within SSL_read(), which reads memory that the stack lends."""
    ends: list[Any] = []

    def use(_: Any, direction: str, *__: Any) -> None:
        if direction == "read" and ends:
            transport = ends.pop().transport
            if way == "write":
                transport.write(b"from the callback")
            elif way == "abort":
                transport.abort()
            else:
                transport.pause_reading()

    client_context._msg_callback = use  # type: ignore[attr-defined]
    try:

        async def main() -> None:
            async with tls_pair(server_context, client_context) as (server, client):
                ends.append(client)
                server.transport.write(DATA[:MESSAGE])
                server.transport.write(DATA[MESSAGE:])
                if way == "write":
                    await until(lambda: len(client.data) == len(DATA) and server.data == b"from the callback")
                elif way == "abort":
                    assert await client.lost is None
                else:
                    await until(lambda: not ends)
                    await asyncio.sleep(0.01)
                    client.transport.resume_reading()
                    await until(lambda: len(client.data) == len(DATA))
                assert DATA.startswith(client.data)

        run(main())
    finally:
        client_context._msg_callback = None  # type: ignore[attr-defined]
    contexts.clear()


def test_a_busy_connection_goes_quiet_and_busy_again(
    run: Run, server_context: ssl.SSLContext, client_context: ssl.SSLContext
) -> None:
    """After a second of quiet OpenSSL frees its buffers. This must not send or lose anything."""

    class Turns(Recorder):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if len(self.data) % (100 * MESSAGE):
                self.transport.write(DATA[:MESSAGE])

    async def main() -> None:
        async with tls_pair(server_context, client_context, Echo, Turns) as (server, client):
            for rounds in 1, 2:
                client.transport.write(DATA[:MESSAGE])
                await until(lambda: len(client.data) == rounds * 100 * MESSAGE)  # noqa: B023
                if rounds == 1:
                    await asyncio.sleep(2.1)
            assert client.data == DATA[:MESSAGE] * 200
            assert not server.transport.get_write_buffer_size() and not client.transport.get_write_buffer_size()

    run(main())


def test_one_byte_after_another_and_other_sizes(
    run: Run, server_context: ssl.SSLContext, client_context: ssl.SSLContext
) -> None:
    """Records whose plaintext is larger and smaller than that of the one before."""

    async def main() -> None:
        async with tls_pair(server_context, client_context, Echo) as (_, client):
            sent = 0
            for size in (1, 1, 2, 1, 16_384, 1, 16_383, 0, 40, 41, 40_000, 1):
                client.transport.write(DATA[:size])
                sent += size
                await until(lambda: len(client.data) == sent)  # noqa: B023
                assert client.data.endswith(DATA[:size])

    run(main())
