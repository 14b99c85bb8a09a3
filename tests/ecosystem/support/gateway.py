"""The server of Interactive Brokers' API, as far as a client needs it to connect, to ask, and to receive ticks.

The first message of a client is ``API\\0`` and the versions that it knows, behind a length. After the answer, each
message has a length of four bytes, and fields that end with a zero byte. The first field is the kind of message.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

VERSION = 178
ACCOUNT = "DU100"
#: The ticks that follow a request for market data: their prices are 1, 2, 3 …
TICKS = 500
#: The time that the server says, in seconds since 1970.
NOW = 1_700_000_000

_ASK_MARKET_DATA, _START, _ASK_TIME, _ASK_ARTICLE, _ASK_ACCOUNT = 1, 71, 49, 84, 76
_TICK, _NEXT_ID, _ACCOUNTS, _TIME, _ARTICLE, _ACCOUNT_END = 1, 9, 15, 49, 83, 74
#: Requests when a client connects, and the ends of their empty lists.
_EMPTY = {61: (62, 1), 5: (53, 1), 99: (102,), 6: (54, 1, ACCOUNT)}
_EXECUTIONS, _EXECUTIONS_END = 7, 55


@asynccontextmanager
async def gateway(host: str, port: int) -> AsyncIterator[int]:
    """Listen until the end of the block. Yields the port; 0 takes a free one."""
    async with await asyncio.start_server(_serve, host, port) as server:
        yield int(server.sockets[0].getsockname()[1])


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(asyncio.IncompleteReadError, ConnectionError):
        assert await reader.readexactly(4) == b"API\0"
        await _message(reader)
        _send(writer, VERSION, "the time of the connection")
        while True:
            fields = (await _message(reader)).decode().split("\0")
            for answer in _answers(int(fields[0]), fields):
                _send(writer, *answer)
            await writer.drain()
    writer.close()  # the client has gone


def _answers(kind: int, fields: list[str]) -> list[tuple[object, ...]]:
    if kind in _EMPTY:
        return [_EMPTY[kind]]
    if kind == _START:
        return [(_NEXT_ID, 1, 1), (_ACCOUNTS, 1, ACCOUNT)]
    if kind == _ASK_TIME:
        return [(_TIME, 1, NOW)]
    if kind == _ASK_ACCOUNT:
        return [(_ACCOUNT_END, 1, fields[2])]
    if kind == _EXECUTIONS:
        return [(_EXECUTIONS_END, 1, fields[2])]
    if kind == _ASK_ARTICLE:  # its text is its name
        return [(_ARTICLE, fields[1], 0, fields[3])]
    if kind == _ASK_MARKET_DATA:
        return [(_TICK, 6, fields[2], 4, price, 1, 0) for price in range(1, TICKS + 1)]
    return []


async def _message(reader: asyncio.StreamReader) -> bytes:
    (size,) = struct.unpack(">I", await reader.readexactly(4))
    return await reader.readexactly(size)


def _send(writer: asyncio.StreamWriter, *fields: object) -> None:
    body = "".join(f"{field}\0" for field in fields).encode()
    writer.write(struct.pack(">I", len(body)) + body)
