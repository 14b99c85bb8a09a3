"""What a loop does about the Onload that its process may run under."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from sfloop.native.libraries import onload

# For the names of stacks: Onload's are short, and onload_stackdump shows them.
_numbers = itertools.count(1)


class Acceleration:
    """One loop's share of Onload. Without Onload it does nothing."""

    def __init__(self, *, spins: bool) -> None:
        self._library = onload.find()
        self._spins = spins
        self._stack: str | None = None

    def running(self) -> AbstractContextManager[None]:
        """While the loop runs: a stack of its own for the sockets that its thread makes, polled by its spin."""
        if self._library is None:
            return nullcontext()
        self._stack = self._stack or f"sfloop{next(_numbers)}"
        return self._library.running(self._stack, spins=self._spins)

    def describe(self, descriptors: Iterable[int]) -> dict[str, Any] | None:
        """``stack``: the name of the loop's stack; ``spin``: how it polls; ``descriptors``: which are accelerated."""
        if self._library is None:
            return None
        return {
            "stack": self._stack,
            "spin": "passes of epoll_wait() without a timeout" if self._spins else "none",
            "descriptors": {fd: self._library.of_descriptor(fd) for fd in sorted(descriptors)},
        }
