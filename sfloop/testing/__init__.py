"""Tools for tests of programs on sfloop: a clock that jumps, a wire in memory, faults, leak counts, network namespaces.

docs/testing.md shows how to use them. sfloop's own tests use them, too.
"""

from __future__ import annotations

from sfloop.testing.clock import Clock, run
from sfloop.testing.faults import Faults
from sfloop.testing.leaks import LeakError, live_objects, no_leaks
from sfloop.testing.link import Link, Side, veth_link
from sfloop.testing.memory_wire import Wire, WireLoop, wire
from sfloop.testing.netns import NamespaceError

__all__ = [
    "Clock",
    "Faults",
    "LeakError",
    "Link",
    "NamespaceError",
    "Side",
    "Wire",
    "WireLoop",
    "live_objects",
    "no_leaks",
    "run",
    "veth_link",
    "wire",
]
