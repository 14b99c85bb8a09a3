"""What has the records of TLS connections in this Python, and why nothing better."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from sfloop.doctor.finding import Cost, Finding
from sfloop.doctor.machine import Machine

#: Engine → what a message costs more than with the best one. Orders of magnitude, seen with echoes of 1 KiB.
_COSTS: Final = {"memory-bio": Cost(1, 2, "message", "typical"), "asyncio": Cost(4, 8, "message", "typical")}
_DYNAMIC: Final = "use a Python whose ssl module is linked with the system's OpenSSL, such as the distribution's"
_NEWER: Final = "use Python 3.11 or newer"


def check(machine: Machine) -> Iterator[Finding]:
    """One finding: the engine that a loop takes by itself, with OpenSSL's version and file."""
    rows = machine.tls_engines()
    engine, _, what = next(row for row in rows if row[1] is None)
    # The same reason can hold for several of them.
    reasons = "; ".join(dict.fromkeys(refusal for _, refusal, _ in rows if refusal is not None))
    if not reasons:
        yield Finding("tls", engine, "pass", what)
        return
    command = _NEWER if "3.10" in reasons else _DYNAMIC
    yield Finding("tls", engine, "warn", f"{what}; nothing better: {reasons}", _COSTS.get(engine), command)
