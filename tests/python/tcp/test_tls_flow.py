"""Flow control over TLS: limits that count all buffered bytes, pauses that bound memory, floods both ways."""

from __future__ import annotations

import asyncio
import random
import ssl
import sys
from typing import Any

import pytest
from harness.connections import small_buffers
from harness.loops import until
from harness.observed import Run
from harness.recording import BufferedRecorder, Recorder
from harness.tls import tls_pair
from harness.tlspeer import facing_peer

if sys.version_info < (3, 11):  # its sslproto leaves every transport to __del__, also those that are closed
    pytestmark = pytest.mark.filterwarnings("ignore:unclosed transport <asyncio.sslproto:ResourceWarning")


@pytest.mark.sfloop_only("asyncio leaves out what the transport below has buffered")
def test_write_limits_count_the_whole_stack(
    run: Run, server_context: ssl.SSLContext, client_context: ssl.SSLContext
) -> None:
    async def main() -> None:
        async with facing_peer(server_context, client_context) as (peer, own):
            peer.transport.pause_reading()
            transport = own.transport
            transport.set_write_buffer_limits(high=100_000, low=10_000)
            assert transport.get_write_buffer_limits() == (10_000, 100_000)
            written = 0
            while own.writable.is_set():
                transport.write(bytes(1000))
                written += 1000
                assert written < 100_000_000
            size = transport.get_write_buffer_size()
            assert 100_000 < size < 110_000  # at most one write() above the limit
            below: Any = transport._ssl_protocol._transport  # type: ignore[attr-defined]
            assert size == below.get_write_buffer_size()
            peer.transport.resume_reading()
            await until(own.writable.is_set)
            assert transport.get_write_buffer_size() <= 10_000
            await until(lambda: len(peer.plain) == written)
            assert transport.get_write_buffer_size() == 0
            assert own.calls.count("pause_writing") == own.calls.count("resume_writing") == 1

    run(main())


@pytest.mark.sfloop_only("asyncio pauses writing when the buffer is empty, too, and then for ever")
def test_a_high_mark_of_zero(run: Run, server_context: ssl.SSLContext, client_context: ssl.SSLContext) -> None:
    async def main() -> None:
        async with facing_peer(server_context, client_context) as (peer, own):
            peer.transport.pause_reading()
            own.transport.set_write_buffer_limits(high=0)
            assert own.transport.get_write_buffer_limits() == (0, 0)
            while own.writable.is_set():
                own.transport.write(bytes(100_000))
            peer.transport.resume_reading()
            await until(own.writable.is_set)
            assert own.transport.get_write_buffer_size() == 0
            for wrong in {"high": 1, "low": 2}, {"high": -1}:
                with pytest.raises(ValueError):
                    own.transport.set_write_buffer_limits(**wrong)

    run(main())


@pytest.mark.sfloop_only("asyncio goes on reading until it has 256 KiB")
@pytest.mark.parametrize("kind", [Recorder, BufferedRecorder])
def test_a_pause_bounds_memory(
    run: Run, server_context: ssl.SSLContext, client_context: ssl.SSLContext, kind: type[Recorder]
) -> None:
    """Unread data stays in the socket, encrypted, so that the peer has to wait."""

    async def main() -> None:
        async with facing_peer(server_context, client_context, kind) as (peer, own):
            own.transport.pause_reading()
            assert not own.transport.is_reading()
            sent = 0
            while peer.writable.is_set():
                peer.send(peer.sealed(bytes([sent & 255]) * 10_000))
                sent += 1
                await asyncio.sleep(0)
                assert sent < 10_000
            await asyncio.sleep(0.02)
            protocol: Any = own.transport._ssl_protocol  # type: ignore[attr-defined]
            assert protocol._incoming.pending <= 96 * 1024  # one reception
            assert own.data == b""
            own.transport.resume_reading()
            await until(lambda: len(own.data) == sent * 10_000)
            assert own.data == b"".join(bytes([number & 255]) * 10_000 for number in range(sent))

    run(main())


class Random(Recorder):
    """Pauses and resumes at random, and checks the order of received data."""

    def __init__(self) -> None:
        super().__init__()
        self.random = random.Random(7)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.random.random() < 0.2:
            self.transport.pause_reading()
            self.loop.call_later(self.random.random() * 0.003, self.transport.resume_reading)
            if self.random.random() < 0.3:
                self.transport.resume_reading()
                self.transport.pause_reading()


class RandomBuffer(BufferedRecorder, Random):
    """A Random with a buffer smaller than a record."""

    def __init__(self) -> None:
        super().__init__(3000)
        self.random = random.Random(8)


@pytest.mark.sfloop_only("asyncio delivers NUL bytes for a bytearray")
@pytest.mark.parametrize("kind", [Random, RandomBuffer])
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_floods_both_ways_with_pauses_at_random(
    run: Run,
    server_context: ssl.SSLContext,
    client_context: ssl.SSLContext,
    kind: type[Recorder],
    version: ssl.TLSVersion,
) -> None:
    total = 3_000_000
    data = random.Random(9).randbytes(total)

    async def send(own: Recorder, seed: int) -> None:
        chance, at = random.Random(seed), 0
        while at < total:
            size = chance.choice((1, 100, 1400, 16384, 16385, 100_000))
            own.transport.write(data[at : at + size])
            at += size
            if chance.random() < 0.1:
                await asyncio.sleep(0)
            await own.writable.wait()

    async def main() -> None:
        client_context.maximum_version = version
        try:
            async with tls_pair(server_context, client_context, kind, kind) as (server, client):
                for end in server, client:
                    small_buffers(end.transport.get_extra_info("socket"), 32768)
                    end.transport.set_write_buffer_limits(high=50_000)
                await asyncio.gather(send(server, 1), send(client, 2))
                await until(lambda: len(server.data) >= total and len(client.data) >= total)
                assert server.data == data and client.data == data
                await asyncio.sleep(0.01)  # until they read again
        finally:
            client_context.maximum_version = ssl.TLSVersion.MAXIMUM_SUPPORTED

    run(main())


def test_pauses_before_and_within_connection_made(
    run: Run, server_context: ssl.SSLContext, client_context: ssl.SSLContext
) -> None:
    class PausedFirst(Recorder):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            self.transport.pause_reading()
            self.transport.write(b"greeting")

    async def main() -> None:
        async with tls_pair(server_context, client_context, PausedFirst) as (server, client):
            client.transport.write(b"early")
            await until(lambda: client.data == b"greeting")
            await asyncio.sleep(0.02)
            assert server.data == b""
            server.transport.resume_reading()
            await until(lambda: server.data == b"early")

    run(main())
