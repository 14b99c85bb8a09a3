"""The driver contract on two ports of Solarflare NICs that a cable joins: ``make test-efvi INTERFACES="A B"``.

It needs root, both interfaces up, without traffic of others, and Onload's headers, library and kernel modules. It
prints what is missing, and ends with status 1.
"""

from __future__ import annotations

import importlib.util
import os
import shlex
import socket
import subprocess
import sys
from pathlib import Path

import sfloop

ROOT = Path(__file__).resolve().parents[2]


def missing(interfaces: list[str]) -> list[str]:
    """The requirements that are not met, one line each."""
    found = []
    if len(interfaces) != 2:
        found.append('two interfaces are needed that a cable joins: make test-efvi INTERFACES="enp1s0f0 enp1s0f1"')
    present = [name for _, name in socket.if_nameindex()]
    found += [f"there is no interface {name} here" for name in interfaces if name not in present]
    if os.geteuid() != 0:
        found.append("it needs root")
    (driver,) = (backend for backend in sfloop.backends() if (backend.kind, backend.name) == ("driver", "ef_vi"))
    if not driver.available:
        found.append(f"the driver ef_vi: {driver.reason}")
    return found


def main() -> int:
    build, *interfaces = sys.argv[1:]
    lacking = missing(interfaces)
    if lacking:
        print("The ef_vi driver cannot be tried on hardware here:", *lacking, sep="\n  ", file=sys.stderr)
        return 1
    built = importlib.util.find_spec("sfloop.native.ef_vi")
    library = os.environ.get("SFLOOP_EF_VI_LIBRARY") or (built.origin if built else None)
    assert library is not None
    program = Path(build).resolve().parent / "test_efvi_hardware"
    include = ROOT / "sfloop" / "native" / "include"
    command = [*shlex.split(os.environ.get("CC", "cc")), "-std=gnu11", "-O2", "-Wall", "-Wextra", f"-I{include}"]
    command += [str(ROOT / "tests" / "native" / "efvi_hardware.c"), "-o", str(program), "-ldl", "-lpthread"]
    subprocess.run(command, check=True)
    return subprocess.run([str(program), library, *interfaces], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
