"""Exceptions from the callbacks of an Ethernet protocol: no frame is lost or delivered twice."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import wire
from harness.loops import until
from test_ethernet import HEADER, Frames

import sfloop


class Leaving(Frames):
    """Raises at the frames that end with these numbers."""

    leaves_at: frozenset[int] = frozenset()
    exception: type[BaseException] = KeyboardInterrupt

    def __init__(self) -> None:
        super().__init__()
        self.numbers: list[int] = []

    def frame_received(self, frame: bytes, timestamp: int) -> None:
        self.numbers.append(frame[-1])
        if frame[-1] in self.leaves_at:
            raise self.exception


@pytest.mark.parametrize("exception", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("leaves_at", [{3}, {19}, {3, 19}, set(range(20))], ids=str)
@pytest.mark.parametrize("by_handler", [False, True])
def test_exit_requests_in_a_burst(leaves_at: set[int], exception: type[BaseException], by_handler: bool) -> None:
    """The callback raises it, or the exception handler that is called with an error of the callback."""
    raised = ZeroDivisionError if by_handler else exception
    protocol = type("Protocol", (Leaving,), {"leaves_at": frozenset(leaves_at), "exception": raised})
    loop = sfloop.new_event_loop(stack="kernel")

    def leave(_: Any, context: dict[str, Any]) -> None:
        raise exception

    async def main() -> None:
        name = wire.new_name()
        near, _ = await loop.create_ethernet_endpoint(Frames, f"{name}@{wire.NEAR}")
        far, frames = await loop.create_ethernet_endpoint(protocol, f"{name}@{wire.FAR}")
        loop.set_exception_handler(leave)
        for number in range(20):
            near.send(HEADER + bytes([number]))
        await until(lambda: len(frames.numbers) == 20)
        near.send(HEADER + b"\xff")
        await until(lambda: len(frames.numbers) == 21)
        assert frames.numbers == [*range(20), 255]
        near.close()
        far.close()
        await frames.lost

    task = loop.create_task(asyncio.wait_for(main(), 20))
    for _ in leaves_at:
        with pytest.raises(exception):
            loop.run_until_complete(task)
            pytest.fail("the exception did not leave the loop")
    loop.run_until_complete(task)
    loop.close()
