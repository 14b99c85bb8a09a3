"""The cases, one module for each kind."""

from __future__ import annotations

from sfloop.bench.cases import bulk, bypass, bypass_tcp, echo, http, idle, micro, owncost, syscalls, tcpdirect, tls, udp
from sfloop.bench.errors import BenchError
from sfloop.bench.model import Case

#: All cases, in the order in which they are run and shown.
CASES: tuple[Case, ...] = (
    *echo.CASES,
    *tls.CASES,
    *udp.CASES,
    *bypass.CASES,
    *bypass_tcp.CASES,
    *bulk.CASES,
    *tcpdirect.CASES,
    *micro.CASES,
    *idle.CASES,
    *owncost.CASES,
    *http.CASES,
    *syscalls.CASES,
)


def find(names: list[str]) -> list[Case]:
    """The cases of these names. Raises BenchError for an unknown name."""
    known = {case.name: case for case in CASES}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise BenchError(f"there is no case {', '.join(map(repr, unknown))}; the cases are {', '.join(known)}")
    return [known[name] for name in dict.fromkeys(names)]
