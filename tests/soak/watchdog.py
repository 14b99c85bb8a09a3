"""Events that must happen soon, and a thread that reports those that do not."""

from __future__ import annotations

import faulthandler
import itertools
import os
import sys
import threading
import time
from collections.abc import Callable

LIMIT = 2.0  # seconds: a callback later than this has been missed
TICK = 0.05  # seconds between two looks


class Failure(Exception):
    """A fault of the run; its text names it."""


class Expectation:
    """An event that must happen within LIMIT seconds: wait() for it in one thread, met() in another."""

    __slots__ = ("_book", "_key", "_lock", "born", "what")

    def __init__(self, what: str, book: dict[int, Expectation], key: int, born: float) -> None:
        self.what, self.born = what, born
        self._book, self._key = book, key
        self._lock = threading.Lock()
        self._lock.acquire()
        book[key] = self

    def met(self) -> None:
        """Report the event. To be called once."""
        if self._book.pop(self._key, None) is None:
            raise Failure(f"happened twice: {self.what}")
        self._lock.release()

    def wait(self, failed: threading.Event) -> bool:
        """Block the calling thread until the event (True) or until the watchdog has failed (False)."""
        while not self._lock.acquire(timeout=0.2):
            if failed.is_set():
                return False
        return True


class Watchdog:
    """A thread that fails the run when an expectation is not met in time.

    Its clock stands still while the machine does not let it run, so that a machine that stalls for seconds is not taken
    for a missed wake-up. It never touches the loop before a failure: that would wake it.

    :param label: a name of the run for messages (spin mode, stressors, seed).
    :param on_failure: called from the watchdog's thread, to end the run; if the run goes on, the process is ended.
    """

    def __init__(self, label: str, on_failure: Callable[[], None]) -> None:
        self.label = label
        self.failed = threading.Event()
        self.failures: list[str] = []
        self.clock = 0.0
        self._on_failure = on_failure
        self._pending: dict[int, Expectation] = {}
        self._keys = itertools.count()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog")

    def __enter__(self) -> Watchdog:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._ended.set()
        self._thread.join()

    def expect(self, what: str) -> Expectation:
        """Return an event that must happen within LIMIT seconds from now."""
        return Expectation(what, self._pending, next(self._keys), self.clock)

    def fail(self, message: str) -> None:
        """Note a failure, from any thread, and end the run."""
        self.failures.append(message)
        if not self.failed.is_set():
            self.failed.set()
            self._on_failure()

    def _watch(self) -> None:
        last = time.monotonic()
        while not self._ended.wait(TICK):
            now = time.monotonic()
            self.clock += min(now - last, 2 * TICK)
            last = now
            for expectation in list(self._pending.values()):
                if self.clock - expectation.born > LIMIT:
                    print(f"\nFAILED {self.label}: not within {LIMIT} s: {expectation.what}", file=sys.stderr)
                    faulthandler.dump_traceback()
                    self.fail(f"not within {LIMIT} s: {expectation.what}")
                    self._end_or_abort()
                    return

    def _end_or_abort(self) -> None:
        if not self._ended.wait(20):
            print(f"FAILED {self.label}: the loop does not even stop; the process is ended", file=sys.stderr)
            faulthandler.dump_traceback()
            sys.stderr.flush()
            os._exit(1)
