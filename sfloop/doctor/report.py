"""The report: with rich if it is installed, else as plain text."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

from sfloop.common.machine import listed
from sfloop.doctor.finding import STATUSES, Finding
from sfloop.doctor.machine import Machine

#: The version of the JSON document. It changes when a field is removed or changes its meaning.
FORMAT: Final = 1

_COLOURS: Final = {"pass": "green", "warn": "yellow", "fail": "bold red", "unseen": "dim"}


def as_json(machine: Machine, findings: Sequence[Finding], seconds: float) -> dict[str, Any]:
    """The JSON document: ``format``, ``interface``, ``cpus``, ``summary`` (status → count), ``seconds``,
    ``findings``."""
    return {
        "format": FORMAT,
        "interface": machine.interface,
        "cpus": list(machine.cpus),
        "summary": counts(findings),
        "seconds": round(seconds, 3),
        "findings": [finding.as_json() for finding in findings],
    }


def counts(findings: Sequence[Finding]) -> dict[str, int]:
    counted = Counter(finding.status for finding in findings)
    return {status: counted[status] for status in STATUSES}


def show(machine: Machine, findings: Sequence[Finding], seconds: float) -> None:
    """Write the report to standard output."""
    try:
        _show_rich(findings)
    except ModuleNotFoundError:
        _show_plain(findings)
    where = f"interface {machine.interface}, " if machine.interface else ""
    summary = ", ".join(f"{count} {status}" for status, count in counts(findings).items())
    print(f"{summary}   ({where}CPU {listed(machine.cpus)}; took {seconds:.2f} s, changed nothing)")


def _show_rich(findings: Sequence[Finding]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD)
    for heading in ("", "check", "of"):
        table.add_column(heading, no_wrap=True)
    table.add_column("what was found")
    for finding in findings:
        said = Text(finding.reason)
        if finding.cost is not None:
            said.append(f"\ncosts {finding.cost.text}", style="cyan")
        if finding.command is not None:
            said.append(f"\n→ {finding.command}", style="bold")
        table.add_row(Text(finding.status, style=_COLOURS[finding.status]), finding.check, finding.subject, said)
    Console(width=None if sys.stdout.isatty() else 160).print(table)


def _show_plain(findings: Sequence[Finding]) -> None:
    for finding in findings:
        print(f"{finding.status:7} {finding.check:16} {finding.subject:10} {finding.reason}")
        if finding.cost is not None:
            print(f"{'':36}costs {finding.cost.text}")
        if finding.command is not None:
            print(f"{'':36}-> {finding.command}")
