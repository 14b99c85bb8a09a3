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
# Features of later releases that the simulator has. tests/sim/ef_vi/meson.build has the same list.
LATER = ("EF_VI_CAP_RX_REF", "ef_pd_capabilities_get", "EF_PD_EXPRESS", "EF_FILTER_FLAG_REQUEST_WAKEUPS")


def build(out: Path) -> Path:
    """Compile the driver, and return its path.

    :raises RuntimeError: with the compiler's messages.
    """
    folders = (NATIVE / "drivers" / "ef_vi", NATIVE / "drivers" / "shm")
    sources = [path for folder in folders for path in sorted(folder.glob("*.c"))]
    sources += [*sorted(SIMULATOR.glob("efsim_*.c")), NATIVE / "drivers" / "kernel" / "interface_info.c"]
    command = [
        *shlex.split(os.environ.get("CC", "cc")),
        # The options of sfloop's own build, and -flto, because the vendor's hot functions are inline.
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
