"""picows: its client and its server, as they come."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import picows

from ecosystem.probing import COUNT, SIZE

ROLES = ("client", "server")


class _Echo(picows.WSListener):
    def on_ws_frame(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:
        if frame.msg_type == picows.WSMsgType.CLOSE:
            transport.send_close(frame.get_close_code())
            transport.disconnect()
        else:
            transport.send(frame.msg_type, frame.get_payload_as_bytes())


class _Client(picows.WSListener):
    def __init__(self) -> None:
        self.answers: asyncio.Queue[bytes] = asyncio.Queue()

    def on_ws_frame(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:
        self.answers.put_nowait(frame.get_payload_as_bytes())


@asynccontextmanager
async def serve(host: str, port: int) -> AsyncIterator[None]:
    async with await picows.ws_create_server(lambda request: _Echo(), host, port):
        yield


async def talk(host: str, port: int) -> None:
    transport, listener = await picows.ws_connect(_Client, f"ws://{host}:{port}/")
    for number in range(COUNT):
        payload = bytes([number % 256]) * SIZE
        transport.send(picows.WSMsgType.BINARY, payload)
        assert await listener.answers.get() == payload
    transport.disconnect()
    await transport.wait_disconnected()
