"""A TLS peer over memory BIOs. The test decides which of its bytes are sent, and when."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable
from typing import Any

from harness.connections import finished
from harness.loops import until
from harness.recording import Recorder, keeping


class TLSPeer(Recorder):
    """`plain`: decrypted data. `ended`: close_notify has arrived. `failure`: the error that OpenSSL has raised.

    Without `automatic` the peer does not answer until the test calls go_on().
    """

    def __init__(self, context: ssl.SSLContext, server_side: bool = False, automatic: bool = True) -> None:
        super().__init__(keep_open=True)
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        name = None if server_side else "localhost"
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_side=server_side, server_hostname=name)
        self.automatic = automatic
        self.plain = bytearray()
        self.ready = self.ended = False
        self.failure: ssl.SSLError | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        if self.automatic:
            self.go_on()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self.incoming.write(data)
        if self.automatic:
            self.go_on()

    def go_on(self) -> None:
        """Go on with the handshake, or decrypt available data, and send OpenSSL's output."""
        try:
            if not self.ready:
                self.tls.do_handshake()
                self.ready = True
            while chunk := self.tls.read(65536):
                self.plain += chunk
            self.ended = True
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self.ended = True
        except ssl.SSLError as exc:
            self.failure = exc
        self.send(self.outgoing.read())

    def send(self, data: bytes) -> None:
        """Send these bytes unchanged."""
        if data and not self.lost.done():
            self.transport.write(data)

    def sealed(self, data: bytes) -> bytes:
        """The records of this data."""
        self.tls.write(data)
        return self.outgoing.read()

    def notice(self) -> bytes:
        """The close_notify alert."""
        with contextlib.suppress(ssl.SSLWantReadError):
            self.tls.unwrap()
        return self.outgoing.read()


@contextlib.asynccontextmanager
async def facing_peer(
    server: ssl.SSLContext,
    client: ssl.SSLContext,
    kind: Callable[[], Recorder] = Recorder,
    *,
    serves: bool = True,
    ready: bool = True,
    automatic: bool = True,
    **options: Any,
) -> AsyncIterator[tuple[TLSPeer, Recorder]]:
    """(peer, protocol under test), connected. `serves`: the protocol under test is the server."""
    loop: Any = asyncio.get_running_loop()
    made, own = keeping(kind)
    async with contextlib.AsyncExitStack() as stack:
        if serves:
            listening = await loop.create_server(own, "127.0.0.1", 0, ssl=server, **options)
            address = listening.sockets[0].getsockname()
            _, peer = await loop.create_connection(lambda: TLSPeer(client, automatic=automatic), *address)
        else:
            peers, other = keeping(lambda: TLSPeer(server, True, automatic))
            listening = await loop.create_server(other, "127.0.0.1", 0)
            address = listening.sockets[0].getsockname()
            await loop.create_connection(own, *address, ssl=client, server_hostname="localhost", **options)
            peer = peers[0]
        stack.push_async_callback(asyncio.sleep, 0.01)
        stack.push_async_callback(listening.wait_closed)
        stack.callback(listening.close)
        if ready:
            await until(lambda: peer.ready and bool(made) and made[0].made.done())
        try:
            yield peer, (made[0] if made else peer)
        finally:
            await finished(peer, *made)
