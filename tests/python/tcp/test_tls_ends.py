"""The end of TLS connections: the data delivered before it, the message to the peer, and its duration."""

from __future__ import annotations

import asyncio
import ssl
import sys
from typing import Any

import pytest
from harness.loops import until
from harness.observed import Contexts, Run
from harness.recording import BufferedRecorder, Recorder, keeping
from harness.tls import tls_pair
from harness.tlspeer import facing_peer

if sys.version_info < (3, 11):  # its sslproto leaves every transport to __del__, also those that are closed
    pytestmark = pytest.mark.filterwarnings("ignore:unclosed transport <asyncio.sslproto:ResourceWarning")

TIMEOUT = {} if sys.version_info < (3, 11) else {"ssl_shutdown_timeout": 0.3}


class Paused(Recorder):
    """Pauses reading as soon as it is connected."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.transport.pause_reading()


class PausedBuffer(BufferedRecorder):
    """A Paused with a small buffer, which pauses again whenever the buffer was filled."""

    def __init__(self) -> None:
        super().__init__(1000)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.transport.pause_reading()

    def buffer_updated(self, nbytes: int) -> None:
        super().buffer_updated(nbytes)
        self.transport.pause_reading()
        self.loop.call_later(0.001, self.transport.resume_reading)


def delivered(protocol: Recorder) -> list[str]:
    """Return the calls without those of flow control."""
    return [call for call in protocol.calls if call not in ("pause_writing", "resume_writing")]


IN_ORDER = ["connection_made", "data_received", "eof_received", "connection_lost"]


@pytest.mark.sfloop_only("asyncio drops what was decrypted before, or calls eof_received() first")
@pytest.mark.parametrize("kind", [Paused, PausedBuffer])
@pytest.mark.parametrize("notified", [True, False], ids=["close_notify", "FIN alone"])
@pytest.mark.parametrize("size", [5, 20_000, 300_000])
def test_the_end_comes_while_reading_is_paused(
    run: Run,
    server_context: ssl.SSLContext,
    client_context: ssl.SSLContext,
    kind: type[Recorder],
    notified: bool,
    size: int,
) -> None:
    data = bytes(range(250)) * (size // 250 + 1)

    async def main() -> None:
        async with facing_peer(server_context, client_context, kind) as (peer, own):
            for at in range(0, len(data), 16000):
                peer.send(peer.sealed(data[at : at + 16000]))
            if notified:
                peer.send(peer.notice())
            peer.transport.write_eof()
            await asyncio.sleep(0.05)
            assert delivered(own) == ["connection_made"]
            own.transport.resume_reading()
            assert await own.lost is None
            assert own.data == data
            assert delivered(own) == IN_ORDER

    run(main())


@pytest.mark.sfloop_only("asyncio drops what was decrypted before")
@pytest.mark.parametrize("size", [5, 100_000])
def test_paused_within_the_delivery_before_the_end(
    run: Run, server_context: ssl.SSLContext, client_context: ssl.SSLContext, size: int
) -> None:
    class Hesitates(Recorder):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self.transport.pause_reading()
            self.loop.call_later(0.01, self.transport.resume_reading)

    async def main() -> None:
        async with facing_peer(server_context, client_context, Hesitates) as (peer, own):
            whole = b"".join(peer.sealed(b"x" * 5000) for _ in range(size // 5000 + 1))
            peer.send(whole + peer.notice())
            peer.transport.write_eof()
            assert await own.lost is None
            assert len(own.data) == (size // 5000 + 1) * 5000
            assert delivered(own) == IN_ORDER

    run(main())


def test_an_end_without_close_notify(run: Run, server_context: ssl.SSLContext, client_context: ssl.SSLContext) -> None:
    """Truncation is reported as any end, as on asyncio."""

    async def main() -> None:
        for serves in True, False:
            async with facing_peer(server_context, client_context, serves=serves) as (peer, own):
                peer.send(peer.sealed(b"to the end") + peer.sealed(b"of this record is missing")[:-1])
                await until(lambda: own.data == b"to the end")
                peer.transport.write_eof()
                assert await own.lost is None
                assert own.data == b"to the end" and delivered(own) == IN_ORDER

    run(main())


class Flood:
    """Sends records as fast as the connection takes them, independent of received data."""

    def __init__(self, peer: Any) -> None:
        self.peer, self.sent = peer, 0
        self.task = asyncio.ensure_future(self._go())

    async def _go(self) -> None:
        while not self.peer.lost.done():
            await self.peer.writable.wait()
            self.peer.send(self.peer.sealed(bytes(16000)))
            self.sent += 16000
            await asyncio.sleep(0)


@pytest.mark.sfloop_only("asyncio fails for the data after close_notify, or goes on reading for half a minute")
@pytest.mark.parametrize("kind", [Recorder, BufferedRecorder, Paused])
def test_close_while_the_peer_floods(
    run: Run, server_context: ssl.SSLContext, client_context: ssl.SSLContext, kind: type[Recorder]
) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with facing_peer(server_context, client_context, kind) as (peer, own):
            flood = Flood(peer)
            await until(lambda: flood.sent > 300_000)
            own.transport.write(b"the last words")
            own.transport.close()
            before, start = len(own.data), loop.time()
            assert await own.lost is None
            assert loop.time() - start < 5
            assert len(own.data) == before  # nothing after close()
            await peer.lost
            await flood.task
            assert peer.plain == b"the last words"

    run(main())


@pytest.mark.skipif(sys.version_info < (3, 11), reason="ssl_shutdown_timeout is new in Python 3.11")
@pytest.mark.sfloop_only("asyncio fails for the data after close_notify")
def test_close_while_the_peer_floods_and_does_not_read(
    run: Run, server_context: ssl.SSLContext, client_context: ssl.SSLContext
) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with facing_peer(server_context, client_context, **TIMEOUT) as (peer, own):
            peer.transport.pause_reading()
            own.transport.write(bytes(20_000_000))
            flood = Flood(peer)
            await until(lambda: flood.sent > 300_000)
            own.transport.close()
            start = loop.time()
            assert isinstance(await own.lost, (TimeoutError, asyncio.TimeoutError))
            assert 0.2 < loop.time() - start < 5
            peer.transport.abort()
            await flood.task

    run(main())


@pytest.mark.sfloop_only("asyncio fails for the data after close_notify")
def test_what_the_peer_has_sent_before_it_learns_of_the_end(
    run: Run, server_context: ssl.SSLContext, client_context: ssl.SSLContext
) -> None:
    async def main() -> None:
        async with facing_peer(server_context, client_context, automatic=True) as (peer, own):
            peer.automatic = False
            own.transport.close()
            await asyncio.sleep(0.02)
            peer.send(peer.sealed(b"under way") + peer.sealed(b"x" * 30_000))
            await asyncio.sleep(0.02)
            assert not own.lost.done()
            peer.go_on()
            assert peer.ended
            peer.send(peer.notice())
            assert await own.lost is None
            assert own.data == b""

    run(main())


@pytest.mark.sfloop_only("asyncio sends no close_notify, or reads on for the peer's")
def test_what_is_buffered_goes_before_close_notify(
    run: Run, server_context: ssl.SSLContext, client_context: ssl.SSLContext
) -> None:
    data = bytes(range(256)) * 40_000

    async def main() -> None:
        async with facing_peer(server_context, client_context) as (peer, own):
            peer.transport.pause_reading()
            own.transport.write(data)
            own.transport.close()
            assert own.transport.is_closing() and own.transport.get_write_buffer_size() > 0
            await asyncio.sleep(0.02)
            peer.transport.resume_reading()
            await until(lambda: peer.ended)
            assert peer.plain == data
            peer.send(peer.notice())
            assert await own.lost is None

    run(main())


@pytest.mark.sfloop_only("asyncio drops what is written in eof_received(), or what the transport below has")
def test_an_answer_to_close_notify(run: Run, server_context: ssl.SSLContext, client_context: ssl.SSLContext) -> None:
    answer = bytes(3_000_000)

    class Answers(Recorder):
        def eof_received(self) -> bool | None:
            super().eof_received()
            self.transport.write(answer)
            return None

    async def main() -> None:
        async with facing_peer(server_context, client_context, Answers) as (peer, own):
            peer.send(peer.sealed(b"question") + peer.notice())
            await until(lambda: peer.ended)
            assert len(peer.plain) == len(answer)
            assert await own.lost is None

    run(main())


@pytest.mark.sfloop_only("asyncio sends no alert")
def test_alerts(run: Run, contexts: Contexts, server_context: ssl.SSLContext, client_context: ssl.SSLContext) -> None:
    """The peer learns why its handshake or its session failed."""

    async def main() -> None:
        async with facing_peer(server_context, client_context) as (peer, own):
            bad = bytearray(peer.sealed(b"spoilt"))
            bad[-1] ^= 1
            peer.send(bytes(bad))
            assert isinstance(await own.lost, ssl.SSLError)
            await until(lambda: peer.failure is not None or peer.lost.done())
            assert "ALERT_BAD_RECORD_MAC" in str(peer.failure)
        loop: Any = asyncio.get_running_loop()
        distrusts = ssl.create_default_context()
        async with facing_peer(server_context, client_context) as (peer, _):
            port = peer.transport.get_extra_info("peername")[1]
            with pytest.raises(ssl.SSLCertVerificationError):
                await loop.create_connection(Recorder, "127.0.0.1", port, ssl=distrusts, server_hostname="localhost")
        await asyncio.sleep(0.02)

    run(main())


@pytest.mark.sfloop_only("asyncio does not tell the protocol, nor start_tls(), of every one of these ends")
@pytest.mark.parametrize("how", ["close", "abort"])
@pytest.mark.parametrize("turns", range(8))
def test_ending_at_every_step(
    run: Run, contexts: Contexts, server_context: ssl.SSLContext, client_context: ssl.SSLContext, how: str, turns: int
) -> None:
    """The client ends after `turns` turns of the loop: before, within and after the handshake."""

    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        made, factory = keeping(Recorder)
        listening = await loop.create_server(factory, "127.0.0.1", 0, ssl=server_context)
        address = listening.sockets[0].getsockname()
        _, below = await loop.create_connection(Recorder, *address)
        going = loop.create_task(loop.start_tls(below.transport, below, client_context, server_hostname="localhost"))
        for _ in range(turns):
            await asyncio.sleep(0)
        tls = below.transport.get_protocol()
        above = getattr(tls, "_app_transport", None) or below.transport
        getattr(above, how)()
        try:
            (await asyncio.wait_for(going, 5)).abort()
        except (OSError, ssl.SSLError, AttributeError):
            below.transport.abort()
        await until(lambda: all(each.lost.done() for each in made if each.made.done()))
        await below.lost
        listening.close()
        await listening.wait_closed()
        await asyncio.sleep(0.02)

    run(main())
    contexts.clear()


def test_nothing_comes_after_connection_lost(
    run: Run, server_context: ssl.SSLContext, client_context: ssl.SSLContext
) -> None:
    async def main() -> None:
        async with tls_pair(server_context, client_context) as (server, client):
            server.transport.write(bytes(500_000))
            await until(lambda: len(client.data) > 0)
            client.transport.abort()
            await client.lost
            calls, had = list(client.calls), len(client.data)
            await asyncio.sleep(0.02)
            assert client.calls == calls and len(client.data) == had
            await server.lost

    run(main())
