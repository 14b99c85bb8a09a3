"""TCP echo servers with each of asyncio's interfaces: protocol, buffered protocol, streams, socket methods, TLS."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable, Mapping
from typing import Any, cast

from sfloop.bench.serve import say

BACKLOG = 4096
READ_SIZE = 256 * 1024


class Echo(asyncio.Protocol):
    """Sends received data back."""

    transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


class BufferedEcho(asyncio.BufferedProtocol):
    """Receives into its own buffer and writes from it. If a write still holds the buffer, it takes a new one."""

    transport: asyncio.Transport

    def __init__(self) -> None:
        self.buffer = memoryview(bytearray(READ_SIZE))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self.buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.transport.write(self.buffer[:nbytes])
        if self.transport.get_write_buffer_size():
            self.buffer = memoryview(bytearray(READ_SIZE))


async def _forever() -> None:
    await asyncio.get_running_loop().create_future()


async def _serve(factory: Callable[[], asyncio.BaseProtocol], host: str, context: ssl.SSLContext | None = None) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(factory, host, 0, backlog=BACKLOG, ssl=context)
    say({"port": server.sockets[0].getsockname()[1]})
    await _forever()


async def protocol(parameters: Mapping[str, Any]) -> None:
    """Echo by asyncio.Protocol."""
    await _serve(Echo, parameters["host"])


async def buffered(parameters: Mapping[str, Any]) -> None:
    """Echo by asyncio.BufferedProtocol."""
    await _serve(BufferedEcho, parameters["host"])


def server_context(parameters: Mapping[str, Any]) -> ssl.SSLContext:
    """The context of a server with the certificate in the parameters."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(parameters["certificate"])
    return context


async def tls(parameters: Mapping[str, Any]) -> None:
    """Echo by asyncio.Protocol over TLS."""
    await _serve(Echo, parameters["host"], server_context(parameters))


async def streams(parameters: Mapping[str, Any]) -> None:
    """Echo by StreamReader and StreamWriter."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(echo, parameters["host"], 0, backlog=BACKLOG)
    say({"port": server.sockets[0].getsockname()[1]})
    await _forever()


async def sock(parameters: Mapping[str, Any]) -> None:
    """Echo by loop.sock_recv and loop.sock_sendall. ``receive``: the size passed to sock_recv, in bytes."""
    loop = asyncio.get_running_loop()
    most = parameters.get("receive", 65536)

    async def echo(connection: socket.socket) -> None:
        try:
            while data := await loop.sock_recv(connection, most):
                await loop.sock_sendall(connection, data)
        except ConnectionError:
            pass
        finally:
            connection.close()

    with socket.create_server((parameters["host"], 0), backlog=BACKLOG) as listener:
        listener.setblocking(False)
        say({"port": listener.getsockname()[1]})
        tasks = set()
        while True:
            connection, _ = await loop.sock_accept(listener)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            task = loop.create_task(echo(connection))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
