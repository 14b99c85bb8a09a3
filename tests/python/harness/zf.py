"""TCPDirect's library for the tests: our simulator of it, or the one that SFLOOP_TCPDIRECT_LIBRARY names.

The vendor's needs to be told what to run on: a NIC by SFLOOP_TEST_TCPDIRECT_INTERFACE, or its software NIC by ZF_ATTR
(``emu=2;interface=lo``).
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest import mock

ROOT = Path(__file__).resolve().parents[3]
VARIABLE = "SFLOOP_TCPDIRECT_LIBRARY"
INTERFACE_VARIABLE = "SFLOOP_TEST_TCPDIRECT_INTERFACE"

#: Where plain sockets of a test are that face the loop's: an address that is not the stack's.
KERNEL_HOST = "127.0.1.1"

_given = os.environ.get(VARIABLE)


def is_simulator() -> bool:
    """Whether the library is ours."""
    return _given is None or "zfsim" in _given


@functools.cache
def library() -> str:
    """The library's path. The simulator is built when it is first asked for."""
    if _given is not None:
        return _given
    build = ROOT / "build" / Path(sys.prefix).name
    target = "tests/sim/tcpdirect/libzfsim.so"
    ninja = shutil.which("ninja", path=f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}")
    assert ninja and build.is_dir(), f"no ninja, or no build in {build}: make .venv/with-test"
    done = subprocess.run([ninja, "-C", str(build), target], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return str(build / target)


def interface() -> str:
    """The interface that the tests' stacks are on."""
    return os.environ.get(INTERFACE_VARIABLE, "lo")


def new_loop(**options: Any) -> Any:
    """A loop on the TCPDirect stack."""
    import sfloop

    options = {"stack": "tcpdirect", "interface": interface(), "fallback": "error", **options}
    with mock.patch.dict(os.environ, {VARIABLE: library()}):
        return sfloop.Loop(sfloop.Options(**options))
