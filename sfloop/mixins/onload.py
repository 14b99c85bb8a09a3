"""The loop's use of Onload, if the process runs under it."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from sfloop.native.libraries import onload

# Numbers for names of stacks. Onload limits their length, and onload_stackdump shows them.
_numbers = itertools.count(1)


class Acceleration:
    """One loop's use of Onload. Without Onload it does nothing."""

    def __init__(self, *, spins: bool) -> None:
        self._library = onload.find()
        self._spins = spins
        self._stack: str | None = None

    def running(self) -> AbstractContextManager[None]:
        """While the loop runs, the sockets that its thread makes belong to an Onload stack of the loop's own, which the
        loop's polls serve."""
        if self._library is None:
            return nullcontext()
        self._stack = self._stack or f"sfloop{next(_numbers)}"
        return self._library.running(self._stack, spins=self._spins)

    def describe(self, descriptors: Iterable[int]) -> dict[str, Any] | None:
        """``stack``: the name of the loop's Onload stack. ``spin``: how the loop polls it. ``descriptors``: which are
        accelerated."""
        if self._library is None:
            return None
        return {
            "stack": self._stack,
            "spin": "passes of epoll_wait() without a timeout" if self._spins else "none",
            "descriptors": {fd: self._library.of_descriptor(fd) for fd in sorted(descriptors)},
        }
