"""Builds sfloop's ef_vi driver against the simulator of the vendor's API, as a shared object for SFLOOP_EF_VI_LIBRARY.

python tests/sim/ef_vi/build.py OUT.so
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
SIMULATOR = ROOT / "tests" / "sim" / "ef_vi"
NATIVE = ROOT / "sfloop" / "native"
# As the simulator has them (tests/sim/ef_vi/meson.build).
LATER = ("EF_VI_CAP_RX_REF", "ef_pd_capabilities_get", "EF_PD_EXPRESS", "EF_FILTER_FLAG_REQUEST_WAKEUPS")


def build(out: Path) -> Path:
    """Compiles it, and returns where it is. Raises RuntimeError with the compiler's words."""
    folders = (NATIVE / "drivers" / "ef_vi", NATIVE / "drivers" / "shm")
    sources = [path for folder in folders for path in sorted(folder.glob("*.c"))]
    sources += [*sorted(SIMULATOR.glob("efsim_*.c")), NATIVE / "drivers" / "kernel" / "interface_info.c"]
    command = [
        *shlex.split(os.environ.get("CC", "cc")),
        # As sfloop itself is built; and as one program, since the vendor's hot calls are inlined.
        *("-std=gnu11", "-O3", "-flto", "-g", "-Wall", "-Wextra", "-Werror", "-fPIC", "-shared", "-fvisibility=hidden"),
        *(f"-DSF_{name}" for name in LATER),
        *(f"-I{folder}" for folder in (SIMULATOR, NATIVE / "include", NATIVE)),
        *("-o", str(out), *map(str, sources)),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return out


if __name__ == "__main__":
    build(Path(sys.argv[1]))
