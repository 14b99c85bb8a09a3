"""Connection churn: connections that end in every way, many at once, each byte accounted for."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import socket
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable

from endpoint import BufferedEndpoint, Endpoint
from watchdog import Failure

import sfloop

AT_ONCE = 30
PATIENCE = 30.0  # seconds for one connection that moves less than a megabyte

Script = Callable[[Endpoint, Endpoint, bytes, bytes], Awaitable[None]]


async def both_ways(client: Endpoint, server: Endpoint, up: bytes, down: bytes) -> None:
    """Both send at once and half-close; each closes after the other's EOF."""

    async def half(side: Endpoint, data: bytes) -> None:
        await side.send(data)
        side.transport.write_eof()
        await side.eof
        await side.closed()

    await asyncio.gather(half(client, up), half(server, down))
    client.must_have_received(down)
    server.must_have_received(up)


async def half_closed(client: Endpoint, server: Endpoint, up: bytes, down: bytes) -> None:
    """The server answers after the client's EOF."""
    await client.send(up)
    client.transport.write_eof()
    await server.eof
    server.must_have_received(up)
    await server.send(down)
    await asyncio.gather(server.closed(), client.eof)
    client.must_have_received(down)
    await client.closed()


async def closed_with_data_buffered(client: Endpoint, server: Endpoint, up: bytes, down: bytes) -> None:
    """close() sends the buffered bytes."""
    server.transport.write(down)
    await asyncio.gather(server.closed(), client.eof)
    client.must_have_received(down)
    await client.closed()


async def cut(client: Endpoint, server: Endpoint, up: bytes, down: bytes, end: Callable[[Endpoint], None]) -> None:
    """One side ends the connection while both send."""
    ending, other = client.random.sample((client, server), 2)
    sending = asyncio.gather(client.send(up), server.send(down))
    await asyncio.sleep(client.random.choice((0, 1e-5, 1e-4, 1e-3, 5e-3)))
    if not ending.lost.done():
        end(ending)
    await ending.lost
    # The peer learns of it by an error, or by EOF, after which it closes.
    await other.ended()
    await asyncio.gather(other.closed(), sending)
    client.must_have_received_a_beginning(down)
    server.must_have_received_a_beginning(up)


async def reset(client: Endpoint, server: Endpoint, up: bytes, down: bytes) -> None:
    """Send RST in the middle."""
    await cut(client, server, up, down, Endpoint.reset)


async def aborted(client: Endpoint, server: Endpoint, up: bytes, down: bytes) -> None:
    """Call abort() in the middle, with unread data on either side."""
    await cut(client, server, up, down, lambda side: side.transport.abort())


async def timed_out(client: Endpoint, server: Endpoint, up: bytes, down: bytes) -> None:
    """The client gives up waiting for an answer."""
    await client.send(up)
    try:
        await asyncio.wait_for(asyncio.shield(client.eof), client.random.random() * 3e-3)
    except asyncio.TimeoutError:
        pass
    await client.closed()
    await server.ended()
    await server.closed()
    server.must_have_received(up)


SCRIPTS: tuple[Script, ...] = (both_ways, half_closed, closed_with_data_buffered, reset, aborted, timed_out)


class Churn:
    """A TCP and an AF_UNIX server, and clients that connect to them one after the other, AT_ONCE at a time."""

    def __init__(self, seed: str, directory: str) -> None:
        self.seed = seed
        self.random = random.Random(seed)
        self.path = os.path.join(directory, "socket")
        self.problems: list[str] = []
        self.open: set[Endpoint] = set()
        self.done: Counter[str] = Counter()
        self.number = 0

    def endpoint(self) -> Endpoint:
        kind = BufferedEndpoint if self.random.random() < 0.3 else Endpoint
        endpoint = kind(self.problems, f"{self.seed} {self.random.random()}")
        self.open.add(endpoint)
        endpoint.lost.add_done_callback(lambda _: self.open.discard(endpoint))
        return endpoint

    async def connection(self, port: int) -> None:
        """Run one connection from beginning to end."""
        loop = asyncio.get_running_loop()
        self.number += 1
        number, script = self.number, self.random.choice(SCRIPTS)
        size = self.random.choice((0, 1, 1000, 60_000, 500_000))
        up, down = (self.random.randbytes(self.random.randint(0, size)) for _ in range(2))
        client = self.endpoint()
        family = "tcp" if self.random.random() < 0.7 else "unix"
        async with self.connecting:  # one at a time, so that the next accepted connection is this one
            if family == "tcp":
                await loop.create_connection(lambda: client, "127.0.0.1", port)
            else:
                await loop.create_unix_connection(lambda: client, self.path)
            server = await self.queue.get()
        try:
            await asyncio.wait_for(script(client, server, up, down), PATIENCE)
        except asyncio.TimeoutError:
            raise Failure(
                f"connection {number} ({family}, {script.__name__}, {len(up)} up, {len(down)} down) hangs: "
                f"client {vars(client)}, server {vars(server)}"
            ) from None
        except Failure as failure:
            raise Failure(f"connection {number} ({family}, {script.__name__}): {failure}") from None
        self.done[script.__name__] += 1

    async def connection_given_up(self, port: int) -> None:
        """Cancel a connection attempt at a random moment, to a listener that accepts nothing."""
        loop = asyncio.get_running_loop()
        attempt = asyncio.ensure_future(loop.create_connection(self.endpoint, "127.0.0.1", port))
        for _ in range(self.random.randrange(4)):
            await asyncio.sleep(0)
        attempt.cancel()
        try:
            transport, _ = await attempt
            transport.abort()
        except asyncio.CancelledError:
            pass
        self.done["given_up"] += 1

    async def run(self, seconds: float) -> None:
        """Churn for `seconds`."""
        loop = asyncio.get_running_loop()
        self.queue: asyncio.Queue[Endpoint] = asyncio.Queue()
        self.connecting = asyncio.Lock()

        def accept() -> Endpoint:
            endpoint = self.endpoint()
            endpoint.made.add_done_callback(lambda _: self.queue.put_nowait(endpoint))
            return endpoint

        tcp = await loop.create_server(accept, "127.0.0.1", 0)
        unix = await loop.create_unix_server(accept, self.path)
        deaf = socket.create_server(("127.0.0.1", 0), backlog=100)
        port, deaf_port = tcp.sockets[0].getsockname()[1], deaf.getsockname()[1]
        end = loop.time() + seconds

        async def client() -> None:
            while loop.time() < end and not self.problems:
                await self.connection(port)

        async def quitter() -> None:
            for _ in range(90):  # the listener's backlog is a hundred
                if loop.time() > end:
                    break
                await self.connection_given_up(deaf_port)
                await asyncio.sleep(1e-3)

        clients = [asyncio.ensure_future(client()) for _ in range(AT_ONCE)]
        clients.append(asyncio.ensure_future(quitter()))
        try:
            await asyncio.gather(*clients)
        finally:
            for task in clients:
                task.cancel()
            await asyncio.gather(*clients, return_exceptions=True)
            for endpoint in list(self.open):  # after a failure, and the ends of cancelled attempts
                if endpoint.made.done():
                    endpoint.transport.abort()
            deaf.close()
            for server in (tcp, unix):
                server.close()
                await server.wait_closed()
        if self.problems:
            raise Failure("; ".join(self.problems[:5]))


def run(spin: str | float, seconds: float, seed: str) -> Counter[str]:
    """Churn on a loop of its own; return the number of connections of each script.

    :raises Failure: bytes were lost or changed, a connection hangs, or a protocol was called in the wrong order.
    """
    contexts: list[str] = []
    directory = tempfile.mkdtemp(prefix="soak")
    loop = sfloop.new_event_loop(spin=spin)
    loop.set_exception_handler(lambda _, context: contexts.append(str(context)))
    try:
        churn = Churn(seed, directory)
        loop.run_until_complete(churn.run(seconds))
        loop.run_until_complete(asyncio.sleep(0.01))
    finally:
        loop.close()
        shutil.rmtree(directory)
    if contexts:
        raise Failure("the exception handler was called: " + "; ".join(contexts[:5]))
    return churn.done
