"""The columns of the comparison: each is an event loop on a network."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sfloop import backends
from sfloop.testing import netns

Network = Literal["loopback", "shm", "veth"]

BYPASS = "tcpip"
"""sfloop's own stack, which the columns beyond the loopback use."""
PROBE_SECONDS = 20.0


@dataclass(frozen=True)
class Column:
    """An event loop, and the network of its market data."""

    name: str
    loop: str
    """``asyncio``, ``uvloop`` or ``sfloop``."""
    network: Network = "loopback"
    driver: str | None = None
    """The frame driver of sfloop's tcpip stack; None for the kernel's sockets."""

    @property
    def option(self) -> str:
        """The column's name on the command line."""
        return self.name.replace(" ", "-")


SHM = Column("sfloop shm", "sfloop", "shm", "shm")
UVLOOP_VETH = Column("uvloop veth", "uvloop", "veth")
AF_XDP = Column("sfloop af_xdp", "sfloop", "veth", "af_xdp")

LOOPBACK_COLUMNS = (Column("asyncio", "asyncio"), Column("uvloop", "uvloop"), Column("sfloop", "sfloop"))
BYPASS_COLUMNS = (SHM, UVLOOP_VETH, AF_XDP)
"""Columns that do not use the loopback. A veth pair differs from the loopback, so uvloop is measured on both."""
COLUMNS = (*LOOPBACK_COLUMNS, *BYPASS_COLUMNS)


def named(option: str) -> Column | None:
    """The column with this name on the command line."""
    return next((column for column in COLUMNS if column.option == option), None)


def choose(asked: Sequence[Column] | None, stack: str | None) -> list[Column]:
    """The columns to show, in order, before it is known which of them can run.

    These are the columns in ``asked`` (None: all). Stack ``tcpip`` adds the columns that use it; every other stack
    removes them.
    """
    wanted = list(COLUMNS if asked is None else asked)
    if stack == BYPASS and asked is not None:
        loops = {column.loop for column in wanted} | {"sfloop"}
        wanted += [column for column in BYPASS_COLUMNS if column.loop in loops]
    elif stack not in (None, "auto", BYPASS):
        wanted = [column for column in wanted if column.network == "loopback"]
    return [column for column in COLUMNS if column in wanted]


def leave_out(columns: Sequence[Column], why_not: Callable[[Column], str | None]) -> tuple[list[Column], list[str]]:
    """(columns that can run, one line for each other column with the reason).

    The column of uvloop on the veth pair is there for comparison with sfloop's, so it is left out together with that
    one.
    """
    reasons = {column.name: why_not(column) for column in columns}
    kept = [column for column in columns if reasons[column.name] is None]
    lines = [f"{name} is left out: {reason}" for name, reason in reasons.items() if reason is not None]
    if AF_XDP in columns and AF_XDP not in kept:
        kept = [column for column in kept if column != UVLOOP_VETH]
        lines = [line for line in lines if not line.startswith(UVLOOP_VETH.name)]
    return kept, lines


def why_no_driver(driver: str) -> str | None:
    """Why this process cannot use a frame driver of the tcpip stack; None: it can."""
    for backend in backends():
        if (backend.kind, backend.name) in (("stack", BYPASS), ("driver", driver)) and not backend.available:
            return backend.reason
    return None


_PROBE = """
import json, sys, sfloop
loop = sfloop.new_event_loop(stack="tcpip", driver="af_xdp", interface=sys.argv[1], fallback="kernel")
told = loop.describe()
print(json.dumps(told["driver"] or told["reasons"]["tcpip"].partition("cannot be used: ")[2]))
loop.close()
"""


def probe_af_xdp(prefix: Sequence[str], environment: dict[str, str]) -> dict[str, Any] | str:
    """Try AF_XDP at the end of the veth pair in the namespace of ``prefix``. Returns the driver's description, or the
    reason why it cannot be used. Returns an empty description if the trial itself breaks, so that a round fails instead
    of the column being left out."""
    command = [*prefix, sys.executable, "-c", _PROBE, netns.INTERFACE]
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=PROBE_SECONDS, check=False, cwd="/"
        )
    except subprocess.TimeoutExpired:
        return {}
    answer: dict[str, Any] | str = json.loads(done.stdout) if done.returncode == 0 else {}
    return answer
