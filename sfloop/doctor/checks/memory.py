"""Huge pages and transparent huge pages."""

from __future__ import annotations

from collections.abc import Iterator

from sfloop.doctor.finding import Finding
from sfloop.doctor.machine import Machine

#: TCPDirect's advice: at least this many pages of 2 MiB for each stack.
_PAGES_PER_STACK = 40
_DIRECTORY = "/sys/kernel/mm/hugepages/hugepages-2048kB"


def check(machine: Machine) -> Iterator[Finding]:
    total, free = machine.number(f"{_DIRECTORY}/nr_hugepages"), machine.number(f"{_DIRECTORY}/free_hugepages")
    state = f"{free} of {total} huge pages of 2 MiB are free"
    if free >= _PAGES_PER_STACK:
        yield Finding("hugepages", "", "pass", f"{state}: enough for {free // _PAGES_PER_STACK} stacks of TCPDirect")
    elif machine.solarflare():
        yield Finding(
            "hugepages",
            "",
            "fail",
            f"{state}; TCPDirect needs {_PAGES_PER_STACK} for each stack",
            command=f"echo {total + _PAGES_PER_STACK - free} > {_DIRECTORY}/nr_hugepages",
        )
    else:
        yield Finding("hugepages", "", "pass", f"{state}; only TCPDirect, ef_vi and DPDK use them")
    yield _transparent(machine)


def _transparent(machine: Machine) -> Finding:
    setting = "/sys/kernel/mm/transparent_hugepage/defrag"
    text = machine.find(setting)
    chosen = "" if text is None else text.partition("[")[2].partition("]")[0]
    if not chosen:
        return Finding("thp", "", "pass", "this kernel has no transparent huge pages")
    if chosen == "always":
        return Finding(
            "thp",
            "",
            "warn",
            "defrag=always: an allocation may stop to compact memory",
            command=f"echo madvise > {setting}",
        )
    return Finding("thp", "", "pass", f"defrag={chosen}")
