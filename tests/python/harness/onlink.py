"""A loop on the near end of a link."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import sfloop
from harness.link import Link


class OnLink:
    """The loop lives in the near namespace, as a program would."""

    link: Link
    loop: sfloop.Loop

    def run(self, main: Coroutine[Any, Any, Any]) -> Any:
        with self.link.near.entered():
            return self.loop.run_until_complete(asyncio.wait_for(main, 25))

    def counters(self) -> dict[str, Any]:
        found: dict[str, Any] = self.loop.stats()["stacks"]["tcpip"]
        return found
