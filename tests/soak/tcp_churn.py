"""Connections between sfloop's program and a kernel host, opened and closed by either side in every way.

Both ends are in one program, on one loop: the far ends are sockets of another network namespace, which stay with the
kernel. So each script knows what both ends have to see.
"""

from __future__ import annotations

import asyncio
import errno
import random
import socket
import struct
import time
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import churn
from endpoint import BufferedEndpoint, Endpoint
from harness.link import FAR, NEAR, Side
from tcp_changes import MOVING, Changes
from two_ways import TwoWays
from watchdog import Failure

AT_ONCE = 24
PATIENCE = 60.0  # seconds for a connection: the network fails for less than a second, again and again
KEEPALIVE = ((socket.TCP_KEEPIDLE, 1), (socket.TCP_KEEPINTVL, 1), (socket.TCP_KEEPCNT, 30))
PORTS = {"near": range(5000, 5004), "far": range(6000, 6004)}  # few, so that each is used again at once
IN_USE = (errno.EADDRINUSE, errno.EADDRNOTAVAIL)  # by a connection that lingers


class Kept(Endpoint):
    """Sends keepalive probes, because a reset may be lost while an address is missing."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        sock = transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in KEEPALIVE:
            sock.setsockopt(socket.IPPROTO_TCP, option, value)


class BufferedKept(Kept, BufferedEndpoint):
    """A Kept that receives into its own buffer."""


async def simultaneous(client: Endpoint, server: Endpoint, up: bytes, down: bytes) -> None:
    """Both ends close at once, with data under way in one direction."""
    sender, receiver = client.random.sample((client, server), 2)
    data = up if sender is client else down
    await sender.send(data)
    await asyncio.gather(sender.closed(), receiver.closed())
    receiver.must_have_received_a_beginning(data)


async def echoed(client: Endpoint, server: Endpoint, up: bytes, down: bytes) -> None:
    """Requests and answers, one at a time; the client or the server closes first."""
    for i in range(10):
        client.transport.write(b"%09d\n" % i)
        await received(server, 10 * (i + 1))
        server.transport.write(b"%09d\n" % i)
        await received(client, 10 * (i + 1))
    whole = b"".join(b"%09d\n" % i for i in range(10))
    client.must_have_received(whole)
    server.must_have_received(whole)
    first, second = client.random.sample((client, server), 2)
    await asyncio.gather(first.closed(), second.eof)
    await second.closed()


def state_of(end: Endpoint) -> str:
    """Return the state of an end, for the search after a fault."""
    sock = end.transport.get_extra_info("socket")
    try:
        state = f"state {sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]}"
    except OSError as error:
        state = repr(error)
    names = {end.transport.get_extra_info(name) for name in ("sockname", "peername")}
    known = [each for each in end.loop.stats()["connections"] if {each["local"], each["remote"]} == names]  # type: ignore[attr-defined]
    return f"{end.transport} {names} received={end.received} eof={end.eof} lost={end.lost} {state} {known}"


def kernel_sockets(side: Side, ports: Collection[int]) -> list[str]:
    """The TCP sockets of a host's kernel that have one of the ports, for the search after a fault."""
    with side.entered():
        lines = Path("/proc/thread-self/net/tcp").read_text().splitlines()[1:]
    wanted = {f"{port:04X}" for port in ports}
    return [line[:75] for line in lines if wanted & {end.split(":")[1] for end in line.split()[1:3]}]


def counters(loop: Any) -> dict[str, int]:
    """The stack's counters of connections, for the search after a fault."""
    counted = loop.stats()["stacks"].get("tcpip", {})
    return {name: n for name, n in counted.items() if "half_open" in name or "way" in name or "kernels" in name}


async def received(side: Endpoint, count: int) -> None:
    while side.received < count and not side.lost.done():
        await asyncio.sleep(1e-4)


async def linger(client: Endpoint, server: Endpoint, up: bytes, down: bytes) -> None:
    """SO_LINGER with a time loses nothing. The kernel's close() would block the loop."""
    first, second = client.random.sample((client, server), 2)
    data = up if first is client else down
    if first.transport.get_extra_info("stack") == "tcpip":
        sock = first.transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 1))
    await first.send(data)
    await asyncio.gather(first.closed(), second.eof)
    second.must_have_received(data)
    await second.closed()


SCRIPTS: tuple[churn.Script, ...] = (*churn.SCRIPTS, simultaneous, echoed, linger)


class Connections:
    """Servers on both sides, and clients that connect to them one after the other, AT_ONCE at a time."""

    def __init__(self, ways: TwoWays, changes: Changes, seed: str) -> None:
        self.ways, self.changes, self.seed = ways, changes, seed
        self.random = random.Random(seed)
        self.problems: list[str] = []
        self.open: set[Endpoint] = set()
        self.arrived: dict[Any, asyncio.Future[Endpoint]] = {}
        self.free = {side: list(ports) for side, ports in PORTS.items()}
        self.done: Counter[str] = Counter()
        self.stacks: Counter[str] = Counter()
        self.slowest = (0.0, "")
        self.number = 0

    def endpoint(self) -> Endpoint:
        kind = BufferedKept if self.random.random() < 0.3 else Kept
        made = kind(self.problems, f"{self.seed} {self.random.random()}")
        self.open.add(made)
        made.lost.add_done_callback(lambda _: self.open.discard(made))
        return made

    def accept(self) -> Endpoint:
        """Return a server's end, which arrival() hands to the client's script."""
        made = self.endpoint()

        def arrived(_: object) -> None:
            name = made.transport.get_extra_info("peername")
            if name is None:  # it was reset before it was accepted
                return
            future = self.arrival(name)
            if future.done():  # its client has failed
                future = self.arrived[name] = asyncio.get_running_loop().create_future()
            future.set_result(made)

        made.made.add_done_callback(arrived)
        return made

    def arrival(self, name: Any) -> asyncio.Future[Endpoint]:
        if name not in self.arrived:
            self.arrived[name] = asyncio.get_running_loop().create_future()
        return self.arrived[name]

    # ---- connecting ----

    @contextmanager
    def port(self, side: str) -> Iterator[int]:
        """Yield the port that was freed last, or 0 for any port."""
        if not self.free[side] or self.random.random() < 0.2:
            yield 0
            return
        port = self.free[side].pop()
        try:
            yield port
        finally:
            self.free[side].append(port)

    async def connect(self, side: str, client: Endpoint, port: int) -> None:
        """Connect from a side's port to the other side's server."""
        loop = asyncio.get_running_loop()
        near = self.random.choice((NEAR, MOVING, self.changes.newest))
        if side == "near":
            await loop.create_connection(lambda: client, FAR, self.ports["far"], local_addr=(near, port))
            return
        sock = self.ways.far.socket(socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((FAR, port))
            await loop.sock_connect(sock, (near, self.ports["near"]))
        except BaseException:
            sock.close()
            raise
        await loop.create_connection(lambda: client, sock=sock)

    async def connected(self, side: str, port: int) -> tuple[Endpoint, Endpoint] | None:
        """Return both ends of a new connection, or None when it failed because an address was missing."""
        began, client = time.monotonic(), self.endpoint()
        try:
            await asyncio.wait_for(self.connect(side, client, port), PATIENCE)
        except OSError as error:
            self.open.discard(client)
            if port and error.errno in IN_USE:
                self.done["port_in_use"] += 1
                return await self.connected(side, 0)
            # The far host's kernel finds no neighbour when its ARP requests fall into several changes of the near host.
            if self.changes.was_missing(began) or (side == "far" and error.errno == errno.EHOSTUNREACH):
                self.done["not_connected"] += 1
                return None
            raise Failure(f"{side} could not connect: {error!r}") from None
        except asyncio.TimeoutError:
            raise Failure(f"{side} hangs in connect()") from None
        name = client.transport.get_extra_info("sockname")
        try:
            server = await asyncio.wait_for(self.arrival(name), PATIENCE)
        except asyncio.TimeoutError:
            ports = {name[1]} if side == "far" else {name[1], self.ports["far"]}
            sockets = {each: kernel_sockets(getattr(self.ways, each), ports) for each in ("near", "far")}
            listener = kernel_sockets(self.ways.near, {self.ports["near"]})[:1]
            known = f"{state_of(client)}; kernel's {sockets}, {listener}; {counters(client.loop)}; {self.problems[:3]}"
            raise Failure(f"{side}'s connection from {name} was never accepted: {known}") from None
        finally:
            self.arrived.pop(name, None)
        self.stacks[(client if side == "near" else server).transport.get_extra_info("stack")] += 1
        return client, server

    async def connection(self) -> None:
        """Run one connection from beginning to end."""
        began = time.monotonic()
        self.number += 1
        number, script, side = self.number, self.random.choice(SCRIPTS), self.random.choice(("near", "far"))
        size = self.random.choice((0, 1, 1000, 60_000, 300_000))
        up, down = (self.random.randbytes(self.random.randint(0, size)) for _ in range(2))
        what = f"connection {number} ({script.__name__}, {side}'s, {len(up)} up, {len(down)} down)"
        try:
            with self.port(side) as port:
                pair = await self.connected(side, port)
                if not pair:
                    return
                what += f" from {pair[0].transport.get_extra_info('sockname')}"
                await asyncio.wait_for(script(*pair, up, down), PATIENCE)
        except asyncio.TimeoutError:
            raise Failure(f"{what} hangs: {'; '.join(state_of(end) for end in pair or ())}") from None
        except (Failure, OSError) as failure:
            raise Failure(f"{what}: {failure!r}") from None
        self.done[script.__name__] += 1
        self.slowest = max(self.slowest, (time.monotonic() - began, what))

    async def given_up(self) -> None:
        """Cancel a connection attempt at a random moment."""
        loop = asyncio.get_running_loop()
        began = time.monotonic()
        attempt = asyncio.ensure_future(loop.create_connection(asyncio.Protocol, FAR, self.ports["quiet"]))
        try:
            for _ in range(self.random.randrange(6)):
                await asyncio.sleep(self.random.choice((0, 1e-4)))
        finally:
            attempt.cancel()  # also where the churn ends meanwhile: nobody else has the connection
        try:
            transport, _ = await attempt
            transport.abort()
        except asyncio.CancelledError:
            pass
        except OSError as error:
            if not self.changes.was_missing(began):
                raise Failure(f"an attempt that was given up: {error!r}") from None
        self.done["given_up"] += 1

    async def refused(self) -> None:
        """Connect to a port without a listener."""
        loop = asyncio.get_running_loop()
        began = time.monotonic()
        try:
            await asyncio.wait_for(loop.create_connection(asyncio.Protocol, FAR, 9), PATIENCE)
        except ConnectionRefusedError:
            self.done["refused"] += 1
        except (OSError, asyncio.TimeoutError) as error:
            if not self.changes.was_missing(began):
                raise Failure(f"nobody listens, but: {error!r}") from None

    # ---- all of them ----

    async def serve(self) -> list[asyncio.AbstractServer]:
        """Start servers on both sides. Cancelled attempts connect to one that keeps nothing."""
        loop = asyncio.get_running_loop()
        servers = [await loop.create_server(self.accept, "0.0.0.0", 0, backlog=1000)]
        self.ports = {"near": servers[0].sockets[0].getsockname()[1]}
        for name, factory in (("far", self.accept), ("quiet", asyncio.Protocol)):
            sock = self.ways.far.socket(socket.SOCK_STREAM)
            sock.setblocking(False)
            sock.bind(("0.0.0.0", 0))
            self.ports[name] = sock.getsockname()[1]
            servers.append(await loop.create_server(factory, sock=sock, backlog=1000))
        return servers

    async def run(self, seconds: float) -> None:
        """Churn for `seconds`.

        :raises Failure: bytes were lost or changed, a connection hangs or fails, or a callback came in the wrong order.
        """
        loop = asyncio.get_running_loop()
        servers = await self.serve()
        end = loop.time() + seconds

        async def repeat(kind: Any, pause: float) -> None:
            while loop.time() < end and not self.problems:
                await kind()
                await asyncio.sleep(self.random.random() * 2 * pause)

        async def change() -> None:
            while loop.time() < end and not self.problems:
                await loop.run_in_executor(None, self.changes.one)
                await asyncio.sleep(self.random.random() * 0.3)

        tasks = [asyncio.ensure_future(repeat(self.connection, 0)) for _ in range(AT_ONCE)]
        tasks += [asyncio.ensure_future(repeat(kind, 0.02)) for kind in (self.given_up, self.refused)]
        changing = asyncio.ensure_future(change())
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await changing
            for endpoint in list(self.open):  # after a failure, or of a client that has failed
                if endpoint.made.done():
                    endpoint.transport.abort()
            for server in servers:
                server.close()
        if self.problems:
            raise Failure("; ".join(self.problems[:5]))
