"""The engine for TLS records in this Python, and why it is not a better one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from sfloop.doctor.finding import Cost, Finding
from sfloop.doctor.machine import Machine

#: Engine → extra cost of a message compared with the best engine. Orders of magnitude, from echoes of 1 KiB.
_COSTS: Final = {"memory-bio": Cost(1, 2, "message", "typical"), "asyncio": Cost(4, 8, "message", "typical")}
_DYNAMIC: Final = "use a Python whose ssl module is linked with the system's OpenSSL, such as the distribution's"
_NEWER: Final = "use Python 3.11 or newer"


def check(machine: Machine) -> Iterator[Finding]:
    """Yield one finding: the engine that a loop takes by default, with OpenSSL's version and file."""
    rows = machine.tls_engines()
    engine, _, what = next(row for row in rows if row[1] is None)
    # Several engines may have the same reason.
    reasons = "; ".join(dict.fromkeys(refusal for _, refusal, _ in rows if refusal is not None))
    if not reasons:
        yield Finding("tls", engine, "pass", what)
        return
    command = _NEWER if "3.10" in reasons else _DYNAMIC
    yield Finding("tls", engine, "warn", f"{what}; no better engine: {reasons}", _COSTS.get(engine), command)
