"""The end of a process whose loops bypass the kernel and were left open."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from contextlib import ExitStack
from typing import TYPE_CHECKING

from sfloop.native.cores import stackstream

if TYPE_CHECKING:
    from sfloop.loop import Loop


def deliver_at_exit(loops: Iterable[Loop]) -> None:
    """What the programs have written is delivered, as the kernel delivers what its sockets hold when a process ends."""
    with ExitStack() as stack:  # each loop has its turn, also when one of them fails
        for loop in list(loops):
            stack.callback(_deliver, loop)


def _deliver(loop: Loop) -> None:
    if not stackstream.can_connect(loop):
        return
    thread = loop._thread_id
    if thread is not None and all(other.ident != thread for other in threading.enumerate()):
        return  # the process is a forked child: the connections are its parent's
    if thread is None or thread == threading.get_ident():
        loop._deliver(loop.options.linger)
        return
    delivered = threading.Event()  # the loop runs in a daemon thread

    def deliver() -> None:
        try:
            loop._deliver(loop.options.linger)
        finally:
            delivered.set()

    loop.call_soon_threadsafe(deliver)
    delivered.wait(loop.options.linger + 0.1)
