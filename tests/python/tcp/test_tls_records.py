"""TLS records in native code: received data, however it is cut, and the records left to asyncio's TLS protocol."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
import ssl
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from harness.loops import until
from harness.observed import Contexts, Run
from harness.recording import Echo, Recorder, keeping
from harness.tls import tls_pair

import sfloop
from sfloop.native.cores import tls_session

NATIVE = pytest.mark.skipif(tls_session.refused() is not None, reason=f"no native records: {tls_session.refused()}")

if sys.version_info < (3, 11):  # its sslproto leaves every transport to __del__, also those that are closed
    pytestmark = pytest.mark.filterwarnings("ignore:unclosed transport <asyncio.sslproto:ResourceWarning")


class ByHand(Recorder):
    """A TLS client over memory BIOs, whose ciphertext a test can cut. `plain` is the decrypted data."""

    def __init__(self, context: ssl.SSLContext) -> None:
        super().__init__()
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname="localhost")
        self.plain = bytearray()
        self.ready = False

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self.go_on()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self.incoming.write(data)
        self.go_on()

    def go_on(self) -> None:
        with contextlib.suppress(ssl.SSLWantReadError):
            if not self.ready:
                self.tls.do_handshake()
                self.ready = True
            while chunk := self.tls.read(65536):
                self.plain += chunk
        self.transport.write(self.outgoing.read())

    def sealed(self, data: bytes) -> bytes:
        """Return the records of this data."""
        self.tls.write(data)
        return self.outgoing.read()


@contextlib.asynccontextmanager
async def by_hand(server: ssl.SSLContext, client: ssl.SSLContext, kind: type[Recorder] = Echo) -> Any:
    loop: Any = asyncio.get_running_loop()
    made, factory = keeping(kind)
    listening = await loop.create_server(factory, "127.0.0.1", 0, ssl=server)
    _, near = await loop.create_connection(lambda: ByHand(client), *listening.sockets[0].getsockname())
    await until(lambda: near.ready and bool(made) and made[0].made.done())
    try:
        yield near, made[0]
    finally:
        near.transport.abort()
        made[0].transport.abort()
        await near.lost
        await made[0].lost
        listening.close()
        await listening.wait_closed()
        await asyncio.sleep(0.01)


@NATIVE
def test_the_engine_is_native_unless_it_is_asked_not_to_be() -> None:
    for options, engine in ({}, "native"), ({"tls": "asyncio"}, "asyncio"):
        loop = sfloop.new_event_loop(**options)  # type: ignore[arg-type]
        described = loop.describe()["tls"]
        loop.close()
        assert described["engine"] == engine and described["reason"]


@NATIVE
@pytest.mark.parametrize("engine", ["auto", "asyncio"])
def test_who_has_the_records(engine: str, server_context: ssl.SSLContext, client_context: ssl.SSLContext) -> None:
    async def main() -> None:
        async with tls_pair(server_context, client_context, Echo) as (server, client):
            for end in server, client:
                records = getattr(end.transport._ssl_protocol, "_records", None)  # type: ignore[attr-defined]
                assert (records is not None) == (engine == "auto")
            client.transport.write(b"x" * 40_000)
            await until(lambda: len(client.data) == 40_000)

    loop = sfloop.new_event_loop(tls=engine)  # type: ignore[arg-type]
    try:
        loop.run_until_complete(main())
    finally:
        loop.close()


def test_records_cut_at_every_byte(run: Run, server_context: ssl.SSLContext, client_context: ssl.SSLContext) -> None:
    async def main() -> None:
        async with by_hand(server_context, client_context) as (near, far):
            expected = bytearray()
            for number in range(2):
                sealed = near.sealed(b"first%d" % number) + near.sealed(b"second%d" % number)
                for position in range(len(sealed)):
                    near.transport.write(sealed[position : position + 1])
                    await asyncio.sleep(0)
                expected += b"first%dsecond%d" % (number, number)
                await until(lambda: near.plain == expected)  # noqa: B023
            for cut in range(1, 60):
                sealed = near.sealed(b"a" * 20) + near.sealed(b"b" * 20)
                near.transport.write(sealed[:cut])
                await asyncio.sleep(0.001)
                near.transport.write(sealed[cut:])
                expected += b"a" * 20 + b"b" * 20
                await until(lambda: near.plain == expected)  # noqa: B023
            assert far.data == expected

    run(main())


def test_records_of_every_size(run: Run, server_context: ssl.SSLContext, client_context: ssl.SSLContext) -> None:
    sizes = [1, 2, 15, 16, 17, 255, 4096, 16383, 16384, 16385, 40_000, 200_000, *([1] * 300)]

    async def main() -> None:
        async with by_hand(server_context, client_context) as (near, _):
            expected = b""
            for number, size in enumerate(sizes):
                data = bytes([number % 251]) * size
                near.transport.write(b"".join(near.sealed(data[at : at + 16384]) for at in range(0, size, 16384)))
                expected += data
            await until(lambda: len(near.plain) == len(expected))
            assert near.plain == expected

    run(main())


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_what_is_written_may_be_changed_afterwards(
    run: Run, server_context: ssl.SSLContext, client_context: ssl.SSLContext, kind: Any
) -> None:
    async def main() -> None:
        async with tls_pair(server_context, client_context) as (server, client):
            data = bytearray(range(200)) * 3
            client.transport.write(kind(data))
            expected = bytes(data)
            client.transport.write(kind(b""))
            data[:] = bytes(600)
            client.transport.writelines([b"a", kind(data), b""])
            expected += b"a" + bytes(data)
            with pytest.raises(TypeError):
                client.transport.write("text")  # type: ignore[arg-type]
            await until(lambda: len(server.data) == len(expected))
            assert server.data == expected

    run(main())


@pytest.mark.sfloop_only("asyncio ends the connection")
def test_a_view_with_gaps(run: Run, server_context: ssl.SSLContext, client_context: ssl.SSLContext) -> None:
    async def main() -> None:
        async with tls_pair(server_context, client_context) as (server, client):
            client.transport.write(memoryview(bytes(range(200)))[::3])
            await until(lambda: len(server.data) == 67)
            assert server.data == bytes(range(0, 200, 3))

    run(main())


@pytest.mark.sfloop_only("asyncio sends what is in the buffer when the handshake is over")
def test_what_is_written_before_the_handshake_may_be_changed(
    run: Run, server_context: ssl.SSLContext, client_context: ssl.SSLContext
) -> None:
    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        near, far = socket.socketpair()
        _, server = await loop.create_connection(Recorder, sock=far)
        _, client = await loop.create_connection(Recorder, sock=near)
        server.transport.pause_reading()
        up = loop.create_task(loop.start_tls(client.transport, client, client_context, server_hostname="localhost"))
        for _ in range(5):  # until the handshake has begun
            await asyncio.sleep(0)
        data = bytearray(b"as it was")
        client.transport.get_protocol()._app_transport.write(data)
        data[:] = b"x" * len(data)
        above = await loop.start_tls(server.transport, server, server_context, server_side=True)
        transport = await up
        await until(lambda: bool(server.data))
        assert server.data == b"as it was"
        transport.abort()
        above.abort()
        await client.lost
        await server.lost

    run(main())


def test_pausing_within_a_delivery(run: Run, server_context: ssl.SSLContext, client_context: ssl.SSLContext) -> None:
    class Hesitant(Recorder):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self.transport.pause_reading()
            self.loop.call_later(0.001, self.transport.resume_reading)

    async def main() -> None:
        async with tls_pair(server_context, client_context, Hesitant) as (server, client):
            for number in range(50):
                client.transport.write(bytes([number]) * 5000)
                await asyncio.sleep(0)
            await until(lambda: len(server.data) == 250_000)
            assert server.data == b"".join(bytes([number]) * 5000 for number in range(50))
            await asyncio.sleep(0.01)  # until it reads again

    run(main())


@pytest.mark.sfloop_only("asyncio loses what came in one piece with a record that fails")
def test_a_record_that_does_not_decrypt(
    run: Run, contexts: Contexts, server_context: ssl.SSLContext, client_context: ssl.SSLContext
) -> None:
    async def main() -> None:
        async with by_hand(server_context, client_context, Recorder) as (near, far):
            bad = bytearray(near.sealed(b"spoilt"))
            bad[-1] ^= 1
            near.transport.write(bytes(bad))
            exc = await far.lost
            assert isinstance(exc, ssl.SSLError)  # OpenSSL 3.5 has another name for it
            assert "DECRYPTION_FAILED_OR_BAD_RECORD_MAC" in str(exc) or "RECORD_LAYER_FAILURE" in str(exc)
            assert far.data == b""
            far.lost = asyncio.get_running_loop().create_future()
            far.lost.set_result(None)

    run(main())
    contexts.clear()


@pytest.mark.parametrize("ending", ["close", "abort", "raise"])
def test_ending_within_a_delivery(
    run: Run, contexts: Contexts, server_context: ssl.SSLContext, client_context: ssl.SSLContext, ending: str
) -> None:
    class Ends(Recorder):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self.transport.write(b"answer")
            if ending == "raise":
                raise ZeroDivisionError
            getattr(self.transport, ending)()
            self.transport.write(b"dropped")

    async def main() -> None:
        async with tls_pair(server_context, client_context, Ends) as (server, client):
            client.transport.write(b"question")
            exc = await server.lost
            assert isinstance(exc, ZeroDivisionError) if ending == "raise" else exc is None
            await client.lost
            assert server.data == b"question"
            assert client.data == (b"answer" if ending == "close" else client.data)
            assert b"dropped" not in client.data

    run(main())
    contexts.clear()


def test_callbacks_and_the_key_log(
    run: Run, server_context: ssl.SSLContext, client_context: ssl.SSLContext, tmp_path: Path
) -> None:
    """OpenSSL calls Python callbacks also while records go natively."""
    names: list[Any] = []
    messages: list[Any] = []
    server_context.sni_callback = lambda tls, name, context: names.append((type(tls), name))
    client_context._msg_callback = lambda *message: messages.append(message)  # type: ignore[attr-defined]
    client_context.keylog_filename = str(tmp_path / "keys")

    async def main() -> None:
        async with tls_pair(server_context, client_context, Echo, server_hostname="localhost") as (_, client):
            before = len(messages)
            client.transport.write(b"x")
            await until(lambda: client.data == b"x")
            assert len(messages) > before
            tls = client.transport.get_extra_info("ssl_object")
            assert isinstance(tls, ssl.SSLObject) and tls.session is not None and tls.pending() == 0

    try:
        run(main())
    finally:
        server_context.sni_callback = None
        client_context._msg_callback = None  # type: ignore[attr-defined]
        client_context.keylog_filename = None
    assert (ssl.SSLObject, "localhost") in names
    assert (tmp_path / "keys").read_text().count("TRAFFIC_SECRET") >= 4


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the openssl program")
def test_key_updates(run: Run, server_context: ssl.SSLContext) -> None:
    async def main() -> None:
        server = await asyncio.get_running_loop().create_server(Echo, "127.0.0.1", 0, ssl=server_context)
        port = server.sockets[0].getsockname()[1]
        try:
            shown = await asyncio.to_thread(talk, port)
        finally:
            server.close()
            await server.wait_closed()
            await asyncio.sleep(0.01)
        assert b"before\n" in shown and b"between\n" in shown and b"after\n" in shown and b"KEYUPDATE" in shown

    def talk(port: int) -> bytes:
        client = subprocess.Popen(
            ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-tls1_3"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            bufsize=0,
        )
        assert client.stdin is not None and client.stdout is not None
        shown = b""
        # K also asks the peer for a key update; k does not.
        for line, answer in (
            (b"before\n", b"before\n"),
            (b"K\n", b"KEYUPDATE"),
            (b"between\n", b"between\n"),
            (
                b"k\n",
                b"KEYUPDATE",
            ),
            (b"after\n", b"after\n"),
            (b"Q\n", b""),
        ):
            client.stdin.write(line)
            start = len(shown)
            while answer not in shown[start:] and (more := client.stdout.read(65536)):
                shown += more
        client.wait(5)
        client.stdout.close()
        client.stdin.close()
        return shown

    run(main())
