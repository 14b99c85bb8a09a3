"""TLS peers that are broken, slow or hostile: garbage, silence, spoilt records, many handshakes that fail."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import random
import socket
import ssl
import sys
from typing import Any

import pytest
from harness.connections import finished
from harness.loops import until
from harness.observed import Contexts, LogLines, Run
from harness.recording import BufferedRecorder, Echo, Recorder, keeping
from harness.tlspeer import TLSPeer, facing_peer

if sys.version_info < (3, 11):  # its sslproto leaves every transport to __del__, also those that are closed
    pytestmark = pytest.mark.filterwarnings("ignore:unclosed transport <asyncio.sslproto:ResourceWarning")

#: Handshakes that fail: few here, 10,000 for the long run.
FAILURES = int(os.environ.get("SFLOOP_TEST_FAILED_HANDSHAKES", "300"))


class Says(Recorder):
    """Sends bytes that are not TLS as soon as it is connected."""

    def __init__(self, data: bytes) -> None:
        super().__init__(keep_open=True)
        self.first = data

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.transport.write(self.first)


GARBAGE = {
    "HTTP": b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "zeros": bytes(1000),
    "random": random.Random(1).randbytes(3000),
    "a record that is too long": b"\x16\x03\x01\xff\xff" + bytes(0xFFFF),
    "an alert": b"\x15\x03\x03\x00\x02\x02\x28",
    "close_notify": b"\x15\x03\x03\x00\x02\x01\x00",
    "data": b"\x17\x03\x03\x00\x05hello",
    "an empty handshake record": b"\x16\x03\x03\x00\x00" * 100,
    "SSL 2": b"\x80\x2e\x01\x00\x02" + bytes(43),
}


def end(protocol: Recorder) -> None:
    """The peer may have reset the connection just now."""
    with contextlib.suppress(OSError):
        protocol.transport.write_eof()


@pytest.mark.parametrize("serves", [True, False], ids=["server", "client"])
@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE.keys())
def test_garbage_instead_of_a_handshake(
    run: Run,
    contexts: Contexts,
    server_context: ssl.SSLContext,
    client_context: ssl.SSLContext,
    serves: bool,
    garbage: bytes,
) -> None:
    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        made, factory = keeping(lambda: Recorder() if serves else Says(garbage))
        listening = await loop.create_server(factory, "127.0.0.1", 0, ssl=server_context if serves else None)
        address = listening.sockets[0].getsockname()
        if serves:
            _, rude = await loop.create_connection(lambda: Says(garbage), *address)
            await asyncio.sleep(0.01)
            end(rude)
            await until(lambda: rude.eof.done() or rude.lost.done())
            rude.transport.abort()
            await rude.lost
            assert not made[0].calls
        else:
            going = loop.create_connection(Recorder, *address, ssl=client_context, server_hostname="localhost")
            task = loop.create_task(going)
            await until(lambda: bool(made))
            await asyncio.sleep(0.02)
            end(made[0])
            with pytest.raises((ssl.SSLError, ConnectionError)):
                await task
            made[0].transport.abort()
            await made[0].lost
        listening.close()
        await listening.wait_closed()
        await asyncio.sleep(0.02)

    run(main())
    contexts.clear()


@pytest.mark.parametrize("serves", [True, False], ids=["server", "client"])
@pytest.mark.parametrize("steps", [0, 1])
def test_a_peer_that_stops_in_the_handshake(
    run: Run,
    contexts: Contexts,
    server_context: ssl.SSLContext,
    client_context: ssl.SSLContext,
    serves: bool,
    steps: int,
) -> None:
    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        peers, peer = keeping(
            lambda: TLSPeer(client_context if serves else server_context, not serves, automatic=False)
        )
        start = loop.time()
        if serves:
            listening = await loop.create_server(
                Recorder, "127.0.0.1", 0, ssl=server_context, ssl_handshake_timeout=0.2
            )
            await loop.create_connection(peer, *listening.sockets[0].getsockname())
            for _ in range(steps):
                peers[0].go_on()
                await asyncio.sleep(0.02)
            await asyncio.wait_for(peers[0].eof if not peers[0].lost.done() else peers[0].lost, 5)
        else:
            listening = await loop.create_server(peer, "127.0.0.1", 0)
            going = loop.create_connection(
                Recorder,
                *listening.sockets[0].getsockname(),
                ssl=client_context,
                server_hostname="localhost",
                ssl_handshake_timeout=0.2,
            )
            task = loop.create_task(going)
            await until(lambda: bool(peers) and bool(peers[0].data))
            with pytest.raises(ConnectionAbortedError, match="handshake is taking longer"):
                await task
        assert 0.1 < loop.time() - start < 5
        peers[0].transport.abort()
        await peers[0].lost
        listening.close()
        await listening.wait_closed()
        await asyncio.sleep(0.02)

    run(main())
    contexts.clear()


@pytest.mark.sfloop_only("asyncio loses what came in one piece with a record that fails")
@pytest.mark.parametrize("kind", [Recorder, BufferedRecorder])
def test_spoilt_records(
    run: Run,
    contexts: Contexts,
    server_context: ssl.SSLContext,
    client_context: ssl.SSLContext,
    kind: type[Recorder],
) -> None:
    """One byte of the ciphertext is changed: data before it is delivered, and no data after it."""
    chance = random.Random(2)

    async def one() -> None:
        async with facing_peer(server_context, client_context, kind) as (peer, own):
            good, bad = peer.sealed(b"good" * 10), bytearray(peer.sealed(b"bad" * 100))
            where = chance.randrange(len(bad))
            bad[where] ^= 1 << chance.randrange(8)
            peer.send(good + bytes(bad) + peer.sealed(b"never"))
            peer.transport.write_eof()
            exc = await own.lost
            assert own.data == b"good" * 10
            # A longer length is an end without close_notify.
            assert isinstance(exc, ssl.SSLError) or (exc is None and where in (3, 4))

    async def main() -> None:
        for _ in range(25):
            await one()
            contexts.clear()

    run(main())


@pytest.mark.timeout(600)
@pytest.mark.sfloop_only("asyncio reports other errors in some versions of Python")
def test_spoilt_handshakes(
    run: Run,
    contexts: Contexts,
    asyncio_log: LogLines,
    server_context: ssl.SSLContext,
    client_context: ssl.SSLContext,
) -> None:
    """Any byte of any flight of either side is changed: the connection ends, or it works."""
    chance = random.Random(3)

    class Spoils(TLSPeer):
        def send(self, data: bytes) -> None:
            if data:
                spoilt = bytearray(data)
                for _ in range(chance.choice((0, 1, 1, 5))):
                    spoilt[chance.randrange(len(spoilt))] = chance.randrange(256)
                most = chance.choice((len(spoilt), len(spoilt), chance.randrange(len(spoilt) + 1)))
                super().send(bytes(spoilt[:most]))

    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        listening = await loop.create_server(Echo, "127.0.0.1", 0, ssl=server_context)
        peers, factory = keeping(lambda: Spoils(server_context, True))
        spoiling = await loop.create_server(factory, "127.0.0.1", 0)
        for _ in range(40):
            _, peer = await loop.create_connection(lambda: Spoils(client_context), *listening.sockets[0].getsockname())
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(asyncio.shield(peer.lost), 0.01)
            peer.transport.abort()
            going = loop.create_connection(
                Recorder,
                *spoiling.sockets[0].getsockname(),
                ssl=client_context,
                server_hostname="localhost",
                ssl_handshake_timeout=0.05,
            )
            with contextlib.suppress(OSError):
                (await going)[0].abort()
            await asyncio.sleep(0)
        await finished(*peers)
        await asyncio.sleep(0.1)
        for server in listening, spoiling:
            server.close()
            await server.wait_closed()
        await asyncio.sleep(0.05)

    run(main())
    contexts.clear()


@pytest.mark.timeout(600)
def test_failed_handshakes_leak_nothing(
    run: Run, contexts: Contexts, server_context: ssl.SSLContext, client_context: ssl.SSLContext
) -> None:
    distrusts = ssl.create_default_context()

    async def fail(loop: Any, address: Any, number: int) -> None:
        if number % 3 == 0:  # the client ends it
            with pytest.raises(ssl.SSLError):
                await loop.create_connection(Recorder, *address, ssl=distrusts, server_hostname="localhost")
            return
        first = b"\x16\x03\x01\x00\x05hello" if number % 3 == 1 else b""
        _, rude = await loop.create_connection(lambda: Says(first), *address)
        end(rude)
        await until(lambda: rude.eof.done() or rude.lost.done())
        rude.transport.abort()
        await rude.lost

    async def several(loop: Any, address: Any, count: int) -> int:
        for number in range(0, count, 10):
            await asyncio.gather(*(fail(loop, address, number + each) for each in range(10)))
        await asyncio.sleep(0.05)
        gc.collect()
        return len(gc.get_objects())

    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        server = await loop.create_server(Recorder, "127.0.0.1", 0, ssl=server_context)
        address = server.sockets[0].getsockname()
        before = await several(loop, address, 60)
        contexts.clear()
        after = await several(loop, address, FAILURES)
        contexts.clear()
        assert after - before < 60, (before, after)
        server.close()
        await server.wait_closed()
        await asyncio.sleep(0.02)

    loop: Any = run.__closure__[0].cell_contents  # type: ignore[attr-defined]
    loop.run_until_complete(main())  # without the time limit of `run`


@pytest.mark.sfloop_only("asyncio delivers NUL bytes for a bytearray")
@pytest.mark.parametrize("kind", [Echo, BufferedRecorder])
def test_records_of_one_byte(
    run: Run, server_context: ssl.SSLContext, client_context: ssl.SSLContext, kind: type[Recorder]
) -> None:
    async def main() -> None:
        async with facing_peer(server_context, client_context, kind) as (peer, own):
            sealed = b"".join(peer.sealed(bytes([number & 255])) for number in range(5000))
            peer.send(sealed)
            await until(lambda: len(own.data) == 5000)
            assert own.data == bytes(number & 255 for number in range(5000))
            empty = peer.sealed(b"") * 10  # records without data, which OpenSSL itself never makes
            peer.send(empty + peer.sealed(b"end"))
            await until(lambda: own.data.endswith(b"end"))

    run(main())


@pytest.mark.skipif(ssl.OPENSSL_VERSION_INFO < (3,), reason="older ones renegotiate")
def test_renegotiation_is_refused(
    run: Run, contexts: Contexts, server_context: ssl.SSLContext, client_context: ssl.SSLContext
) -> None:
    """A ClientHello within a session of TLS 1.2: OpenSSL answers with a warning, and the session goes on or ends."""
    client_context.maximum_version = ssl.TLSVersion.TLSv1_2

    async def main() -> None:
        async with facing_peer(server_context, client_context, Echo) as (peer, own):
            peer.send(peer.sealed(b"before"))
            await until(lambda: peer.plain == b"before")
            # An attacker can insert a handshake record that is not encrypted.
            peer.send(b"\x16\x03\x03\x00\x04\x01\x00\x00\x00")
            assert isinstance(await own.lost, ssl.SSLError)
            assert own.data == b"before"

    try:
        run(main())
    finally:
        client_context.maximum_version = ssl.TLSVersion.MAXIMUM_SUPPORTED
    contexts.clear()


def test_a_reset_in_the_handshake(
    run: Run, contexts: Contexts, server_context: ssl.SSLContext, client_context: ssl.SSLContext
) -> None:
    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        near, far = socket.socketpair()
        far.setblocking(False)
        _, below = await loop.create_connection(Recorder, sock=near)
        going = loop.create_task(loop.start_tls(below.transport, below, client_context, server_hostname="localhost"))
        await asyncio.sleep(0.01)
        assert far.recv(10000)
        far.close()
        with pytest.raises(ConnectionResetError):
            await going
        await asyncio.sleep(0.01)

    run(main())
    contexts.clear()
