"""Callbacks that end a run with SystemExit or KeyboardInterrupt."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest

from harness.recording import Recorder


class LeavingStream(Recorder):
    """A Recorder that raises `exception` once, after the callback `leaves_in` has done its work."""

    leaves_in = ""
    exception: type[BaseException] = KeyboardInterrupt

    def leave(self, name: str) -> None:
        if name == self.leaves_in:
            self.leaves_in = ""
            raise self.exception(name)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.leave("connection_made")

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self.leave("data_received")

    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        self.leave("connection_lost")


L = TypeVar("L", bound=LeavingStream)


def leaving(base: type[L], callback: str, exception: type[BaseException]) -> type[L]:
    """A protocol class that raises the exception in the callback."""
    return type("Protocol", (base,), {"leaves_in": callback, "exception": exception})


def run_again(loop: asyncio.AbstractEventLoop, main: Coroutine[Any, Any, None], exception: type[BaseException]) -> None:
    """Run the loop until main has ended. The exception leaves it once before."""
    task = loop.create_task(asyncio.wait_for(main, 20))
    with pytest.raises(exception):
        loop.run_until_complete(task)
        pytest.fail("the exception did not leave the loop")
    loop.run_until_complete(task)
