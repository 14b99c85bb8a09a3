"""A descriptor that is readable while something else is."""

from __future__ import annotations

import os
import select


class Readability:
    """A descriptor for poll(2), select(2) and epoll(7) alone.

    It is an epoll set with a descriptor in it that is always readable, or without. So every attempt to read from it or
    to write to it fails, and no data can get lost there.
    """

    def __init__(self) -> None:
        self._set = select.epoll()
        try:
            self._source = os.eventfd(1)
        except OSError:
            self._set.close()
            raise
        self._shown = False

    def show(self, readable: bool) -> int:
        """Make the descriptor readable, or not. Returns the descriptor."""
        if readable and not self._shown:
            self._set.register(self._source, select.EPOLLIN)
        elif self._shown and not readable:
            self._set.unregister(self._source)
        self._shown = readable
        return self._set.fileno()

    def close(self) -> None:
        """Close the descriptor."""
        self._set.close()
        os.close(self._source)
