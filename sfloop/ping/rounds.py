"""Round trips, one at a time: send, wait for the same bytes, note the time, send the next.

What is timed is what a program would see: from before the call that sends to the callback that has the reply.
"""

from __future__ import annotations

import asyncio
import time
from array import array
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

#: Every message starts with its number.
HEADER: Final = 8


@dataclass
class Outcome:
    """What a series of round trips came to."""

    #: Of each reply, in ns, in the order in which they came.
    times: array[int] = field(default_factory=lambda: array("Q"))
    sent: int = 0
    #: Replies to messages that had been given up, or had been answered already.
    late: int = 0
    #: The network stack that carried it: an address that is not reached through the interface goes by the kernel's.
    stack: str = "kernel"
    #: Why the series ended before its time.
    error: str | None = None

    @property
    def lost(self) -> int:
        return self.sent - len(self.times)


class Rounds:
    """A series. The first `warmup` round trips are made and not counted.

    :param interval: seconds from a reply to the next message; 0: at once.
    :param timeout: seconds after which a message is given up for lost.
    :param size: bytes of a message, 8 or more.
    """

    def __init__(
        self,
        send: Callable[[bytes], object],
        *,
        count: int,
        interval: float,
        size: int,
        timeout: float,
        warmup: int = 0,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._send = send
        self._left = count + warmup
        self._warmup = warmup
        self._interval, self._timeout = interval, timeout
        self._padding = bytes(number & 0xFF for number in range(size - HEADER))
        self._number = 0
        self._message = b""
        self._sent_ns = 0  # 0: nothing is under way
        self._watch: asyncio.TimerHandle | None = None
        self.outcome = Outcome()
        self.done: asyncio.Future[Outcome] = self._loop.create_future()

    def start(self) -> None:
        # Not a timer for each message: setting it would be part of what is timed.
        self._look_after()
        self._next()

    def _next(self) -> None:
        if self.done.done():
            return
        if not self._left:
            self.finish()
            return
        self._left -= 1
        self._number += 1
        self._message = self._number.to_bytes(HEADER, "big") + self._padding
        if self._number > self._warmup:
            self.outcome.sent += 1
        self._sent_ns = time.monotonic_ns()
        try:
            self._send(self._message)
        except OSError as error:
            self.finish(str(error))

    def reply(self, data: bytes) -> None:
        """A reply has come."""
        now = time.monotonic_ns()
        if not self._sent_ns or data != self._message:
            self.outcome.late += 1
            return
        took, self._sent_ns = now - self._sent_ns, 0
        if self._number > self._warmup:
            self.outcome.times.append(took)
        if self._interval and self._left:
            self._loop.call_later(self._interval, self._next)
        else:
            self._next()

    def _look_after(self) -> None:
        if self.done.done():
            return
        if self._sent_ns and time.monotonic_ns() - self._sent_ns > self._timeout * 1e9:
            self._sent_ns = 0
            self._next()
        if not self.done.done():
            self._watch = self._loop.call_later(self._timeout / 4, self._look_after)

    def finish(self, error: str | None = None) -> None:
        """End the series, if it has not ended."""
        if self._watch is not None:
            self._watch.cancel()
        if not self.done.done():
            self.outcome.error = error
            if self._sent_ns and error is None and self._number > self._warmup:
                self.outcome.sent -= 1  # under way when it was interrupted: not lost
            self.done.set_result(self.outcome)
