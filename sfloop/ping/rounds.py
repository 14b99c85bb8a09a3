"""Round trips, one at a time: send a message, wait for the same bytes, note the time, send the next.

The time is the program's: from before the call that sends to the callback that has the reply.
"""

from __future__ import annotations

import asyncio
import time
from array import array
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

#: Bytes of the message's number, with which it begins.
HEADER: Final = 8


@dataclass
class Outcome:
    """The result of a series of round trips."""

    #: Round trip times in ns, in the order of the replies.
    times: array[int] = field(default_factory=lambda: array("Q"))
    sent: int = 0
    #: Replies to messages that were given up or already answered.
    late: int = 0
    #: The stack that carried the series. The kernel carries it if the interface does not lead to the address.
    stack: str = "kernel"
    #: Why the series ended early, or None.
    error: str | None = None

    @property
    def lost(self) -> int:
        return self.sent - len(self.times)


class Rounds:
    """A series. The first `warmup` round trips are not counted.

    :param interval: seconds between a reply and the next message; 0: none.
    :param timeout: seconds after which a message is lost.
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
        self._sent_ns = 0  # 0: no message is awaited
        self._watch: asyncio.TimerHandle | None = None
        self.outcome = Outcome()
        self.done: asyncio.Future[Outcome] = self._loop.create_future()

    def start(self) -> None:
        # One timer for the whole series, because a timer for each message would add to its time.
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
        """Called with a reply."""
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
        """End the series, unless it has ended."""
        if self._watch is not None:
            self._watch.cancel()
        if not self.done.done():
            self.outcome.error = error
            if self._sent_ns and error is None and self._number > self._warmup:
                self.outcome.sent -= 1  # it was interrupted while a message was awaited, which is not lost
            self.done.set_result(self.outcome)
