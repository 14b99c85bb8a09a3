"""Shared by the tests of raw frames: a protocol that keeps frames, and how a loop is run."""

from __future__ import annotations

import asyncio
import struct
import time
from collections.abc import Coroutine
from typing import Any

import sfloop
from sfloop.ethernet import EthernetProtocol

PORT = 7001

HEADER = bytes(range(12)) + struct.pack("!H", 0x88B5)  # a type for experiments (IEEE 802)


class Frames(EthernetProtocol):
    """Keeps received frames."""

    def __init__(self) -> None:
        self.received: asyncio.Queue[tuple[bytes, int]] = asyncio.Queue()
        self.lost: asyncio.Future[BaseException | None] = asyncio.get_running_loop().create_future()
        self.writing = True
        self.pauses = 0

    def connection_lost(self, exc: BaseException | None) -> None:
        self.lost.set_result(exc)

    def frame_received(self, frame: bytes, timestamp: int) -> None:
        self.received.put_nowait((frame, timestamp))

    def pause_writing(self) -> None:
        self.writing = False
        self.pauses += 1

    def resume_writing(self) -> None:
        self.writing = True

    async def get(self) -> tuple[bytes, int]:
        return await asyncio.wait_for(self.received.get(), 5)

    async def udp(self, payload: bytes) -> int:
        """Return the timestamp of the frame that ends with a UDP payload; skip others."""
        while True:
            frame, timestamp = await self.get()
            if frame.endswith(payload):
                return timestamp


def run(loop: sfloop.Loop, main: Coroutine[Any, Any, Any]) -> Any:
    return loop.run_until_complete(asyncio.wait_for(main, 20))


def is_recent(timestamp: int) -> bool:
    return 0 <= time.time_ns() - timestamp < 5_000_000_000
