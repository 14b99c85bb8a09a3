"""``sfloop doctor``: what this machine can do for a loop, what it costs as it is, and the commands that mend it.

It reads /proc, /sys and the NIC's driver, spins for a tenth of a second, and changes nothing.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from textwrap import dedent

from sfloop.doctor.checks import examine
from sfloop.doctor.machine import Machine, listed
from sfloop.doctor.report import as_json, show

__all__ = ["main"]

#: The exit status when something failed, as a shell's own programs have it.
FAILED = 1


def main(argv: Sequence[str] | None = None, machine: Machine | None = None) -> int:
    """The command. Returns the exit status: 1 when a check failed, else 0. ``machine`` is for tests."""
    parser = _parser()
    parsed = parser.parse_args(argv)
    if machine is None:
        machine = Machine(parsed.interface, () if parsed.cpu is None else (parsed.cpu,))
        if not set(machine.cpus) <= set(machine.online()):
            parser.error(f"--cpu={parsed.cpu}: this machine has CPU {listed(machine.online())} online")
    started = time.monotonic()
    findings = list(examine(machine))
    seconds = time.monotonic() - started
    if parsed.json:
        print(json.dumps(as_json(machine, findings, seconds), indent=2, ensure_ascii=False))
    else:
        show(machine, findings, seconds)
    return FAILED if any(finding.status == "fail" for finding in findings) else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="sfloop doctor",
        description="What this machine can do for a loop: each check passes, warns (it works, and costs latency or "
        "passes a protection by), "
        "fails, or was not to be seen from here.",
        epilog=dedent("""\
            Costs are the kernel's own figures, measured, or typical of such a machine, as each says. Nothing is
            changed: what follows an arrow is for you to run. The exit status is 1 when a check failed."""),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--interface", metavar="NAME", help="the interface that a loop is to use, as `ip link` names it"
    )
    parser.add_argument(
        "--cpu", metavar="N", type=int, help="the CPU it is to run on (default: all this process may use)"
    )
    parser.add_argument("--json", action="store_true", help="as JSON, for programs")
    return parser
