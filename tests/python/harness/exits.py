"""Callbacks that end a run with SystemExit or KeyboardInterrupt."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest


def run_again(loop: asyncio.AbstractEventLoop, main: Coroutine[Any, Any, None], exception: type[BaseException]) -> None:
    """Run the loop until main has ended. The exception leaves it once before."""
    task = loop.create_task(asyncio.wait_for(main, 20))
    with pytest.raises(exception):
        loop.run_until_complete(task)
        pytest.fail("the exception did not leave the loop")
    loop.run_until_complete(task)
