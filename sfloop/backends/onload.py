"""Starting a program under Onload: ``sfloop run --stack onload``.

Onload is a library that has to be there before the program: its wrapper, ``onload``, sets ``LD_PRELOAD`` and the
settings of a profile, and executes. So sfloop executes itself once more, under the wrapper, with the arguments it has.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import MutableMapping, Sequence
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from sfloop.options.options import Options

__all__ = ["MARK", "PROFILE", "enter", "how_to_get_it", "why_not"]

#: Set for the program that the wrapper starts, so that a wrapper which does not preload anything is not tried again.
MARK: Final = "SFLOOP_ONLOAD_ENTERED"
#: The wrapper's profile (``onload -p``), in place of the one chosen here; empty: none.
PROFILE: Final = "SFLOOP_ONLOAD_PROFILE"

_GET_IT: Final = "install github.com/Xilinx-CNS/onload, or AMD's package of it, and run `onload_tool reload`"


def why_not() -> str | None:
    """Why a program cannot be started under Onload here; None: it can."""
    if shutil.which("onload") is None:
        return f"Onload is not installed: {_GET_IT}"
    # The wrapper refuses to start anything then; it has this variable to tell it not to look.
    if not os.path.isdir("/sys/module/onload") and os.environ.get("ONLOAD_DRIVERCHECK") != "false":
        return "Onload is installed, but its driver is not loaded: `onload_tool reload` as root, on a Solarflare NIC"
    return None


def how_to_get_it() -> str:
    """Why this process is not under Onload, and what to do."""
    return why_not() or "this process was not started under it: `sfloop run --stack onload` or `onload -p latency` does"


def enter(options: Options, command: Sequence[str] | None = None) -> str | None:
    """Execute this process's own command again, under Onload. Returns only when that is not to be: None when the
    process is under Onload already, else the reason.

    :param command: what to execute; by default what this interpreter was called with.
    """
    from sfloop.native.libraries import onload

    entered = os.environ.pop(MARK, None) is not None
    if onload.find() is not None:
        return None
    if entered:
        return "the wrapper `onload` has started this program without its library: see `onload --version`"
    refusal = why_not()
    if refusal is not None:
        return refusal
    wrapper = shutil.which("onload") or "onload"
    if command is None:
        command = (sys.executable, *sys.orig_argv[1:])
    os.environ[MARK] = "1"
    os.execv(wrapper, [wrapper, *_profile(options, os.environ), *command])


def _profile(options: Options, environ: MutableMapping[str, str]) -> list[str]:
    """``latency`` turns spinning on, and with it leaves the stacks' interrupts unarmed while somebody polls, and turns
    off the extra acknowledgements at the start of a connection. A loop that never spins needs the interrupts."""
    profile = environ.get(PROFILE, "" if options.spin_mode == "never" else "latency")
    return ["-p", profile] if profile else []
