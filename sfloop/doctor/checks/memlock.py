"""How much memory may be locked, because the AF_XDP driver locks its frames."""

from __future__ import annotations

from collections.abc import Iterator

from sfloop.doctor.finding import Finding
from sfloop.doctor.machine import Machine

#: Bytes that a driver locks for each queue, with some reserve: 65,536 receive frames of 2 KiB.
_NEEDED = 144 << 20


def check(machine: Machine) -> Iterator[Finding]:
    if "CAP_IPC_LOCK" in machine.capabilities():
        yield Finding("memlock", "", "pass", "this process has CAP_IPC_LOCK: no limit applies to it")
        return
    hard = machine.process.memlock[1]  # the driver raises its own soft limit
    if hard is None or hard >= _NEEDED:
        yield Finding("memlock", "", "pass", "no limit" if hard is None else f"up to {hard >> 20} MiB may be locked")
        return
    yield Finding(
        "memlock",
        "",
        "warn",
        f"RLIMIT_MEMLOCK is {hard >> 10:,} KiB; AF_XDP, ef_vi and TCPDirect lock up to {_NEEDED >> 20} MiB a queue",
        command="ulimit -Hl unlimited   # as root; or LimitMEMLOCK=infinity, or memlock in /etc/security/limits.conf",
    )
