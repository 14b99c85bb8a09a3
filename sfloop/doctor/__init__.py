"""``sfloop doctor``: checks what works on this machine, what its settings cost, and which commands fix them.

It reads /proc, /sys and the NIC's driver, spins for a tenth of a second, and changes nothing.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from textwrap import dedent

from sfloop.common.machine import listed
from sfloop.doctor.checks import examine
from sfloop.doctor.machine import Machine
from sfloop.doctor.report import as_json, show

__all__ = ["main"]

#: The exit status if a check failed.
FAILED = 1


def main(argv: Sequence[str] | None = None, machine: Machine | None = None) -> int:
    """Run the command.

    :param machine: a replacement for this machine, for tests.
    :return: the exit status: 1 if a check failed, else 0.
    """
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
        description="Check this machine for a loop. Each check passes, warns (it works, but costs latency or "
        "bypasses a protection), "
        "fails, or could not see what it needs.",
        epilog=dedent("""\
            Each cost says whether it is the kernel's figure, measured, or typical of such a machine. The command
            changes nothing: run the commands after the arrows yourself. The exit status is 1 if a check failed."""),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--interface", metavar="NAME", help="the interface that a loop will use, as `ip link` names it")
    parser.add_argument(
        "--cpu",
        metavar="N",
        type=int,
        help="the CPU that the loop will run on (default: all CPUs of this process)",
    )
    parser.add_argument("--json", action="store_true", help="as JSON, for programs")
    return parser
