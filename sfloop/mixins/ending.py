"""The end of a process that left loops with bypass stacks open."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from contextlib import ExitStack
from typing import TYPE_CHECKING

from sfloop.native.cores import stackstream

if TYPE_CHECKING:
    from sfloop.loop import Loop


def deliver_at_exit(loops: Iterable[Loop]) -> None:
    """Deliver the data that was written, because the kernel, too, delivers the data of its sockets when a process
    ends."""
    with ExitStack() as stack:  # serve every loop, even if one of them raises
        for loop in list(loops):
            stack.callback(_deliver, loop)


def _deliver(loop: Loop) -> None:
    if not stackstream.can_connect(loop):
        return
    thread = loop._thread_id
    if thread is not None and all(other.ident != thread for other in threading.enumerate()):
        return  # this is a forked child, and the connections belong to its parent
    if thread is None or thread == threading.get_ident():
        loop._deliver(loop.options.linger)
        return
    delivered = threading.Event()  # here the loop runs in a daemon thread

    def deliver() -> None:
        try:
            loop._deliver(loop.options.linger)
        finally:
            delivered.set()

    loop.call_soon_threadsafe(deliver)
    delivered.wait(loop.options.linger + 0.1)
