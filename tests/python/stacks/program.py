"""A loop with a frame driver on the near end of a veth pair."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from harness.link import INTERFACE, Link

import sfloop


class Program:
    """A loop on the near end of the link, which lives in the near namespace as a program would."""

    def __init__(self, link: Link, driver: str, spin: str, interface: str = INTERFACE, **options: Any) -> None:
        self.link = link
        self.options = sfloop.Options(driver=driver, interface=interface, spin=spin, fallback="error", **options)  # type: ignore[arg-type]
        with link.near.entered():
            self.loop = sfloop.Loop(self.options)

    def run(self, main: Coroutine[Any, Any, Any]) -> Any:
        with self.link.near.entered():
            return self.loop.run_until_complete(asyncio.wait_for(main, 25))

    def counters(self) -> dict[str, Any]:
        found: dict[str, Any] = self.loop.stats()["stacks"]["tcpip"]
        return found

    def frames(self) -> tuple[int, int]:
        driver = self.counters()["driver"]
        return driver["rx_frames"], driver["tx_frames"]
