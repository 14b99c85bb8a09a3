"""Start a program under Onload: ``sfloop run --stack onload``.

Onload's library must be loaded before the program starts. Its wrapper ``onload`` sets ``LD_PRELOAD`` and the settings
of a profile, and executes the program. So sfloop executes itself again under the wrapper, with the same arguments.
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

#: Set for the program that the wrapper starts. It prevents an endless loop if the wrapper does not preload the library.
MARK: Final = "SFLOOP_ONLOAD_ENTERED"
#: The wrapper's profile (``onload -p``), which overrides the choice made here. Empty: no profile.
PROFILE: Final = "SFLOOP_ONLOAD_PROFILE"

_GET_IT: Final = "install github.com/Xilinx-CNS/onload, or AMD's package of it, and run `onload_tool reload`"


def why_not() -> str | None:
    """Why a program cannot be started under Onload here; None: it can."""
    if shutil.which("onload") is None:
        return f"Onload is not installed: {_GET_IT}"
    # Without the driver the wrapper refuses to start a program, unless this variable switches the check off.
    if not os.path.isdir("/sys/module/onload") and os.environ.get("ONLOAD_DRIVERCHECK") != "false":
        return "Onload is installed, but its driver is not loaded: `onload_tool reload` as root, with a Solarflare NIC"
    return None


def how_to_get_it() -> str:
    """Why this process is not under Onload, and how to start it there."""
    return why_not() or "this process was not started under Onload: use `sfloop run --stack onload`"


def enter(options: Options, command: Sequence[str] | None = None) -> str | None:
    """Execute this process's command again under Onload. On success the call does not return.

    :param command: the command to execute; by default this interpreter's own.
    :return: None if the process already runs under Onload, else why it cannot.
    """
    from sfloop.native.libraries import onload

    entered = os.environ.pop(MARK, None) is not None
    if onload.find() is not None:
        return None
    if entered:
        return "the wrapper `onload` started this program without Onload's library: check `onload --version`"
    refusal = why_not()
    if refusal is not None:
        return refusal
    wrapper = shutil.which("onload") or "onload"
    if command is None:
        command = (sys.executable, *sys.orig_argv[1:])
    os.environ[MARK] = "1"
    os.execv(wrapper, [wrapper, *_profile(options, os.environ), *command])


def _profile(options: Options, environ: MutableMapping[str, str]) -> list[str]:
    """Arguments that select the wrapper's profile. ``latency`` makes Onload spin. It also leaves the interrupts of
    Onload's stacks off while a thread polls, and suppresses extra acknowledgements at the start of a connection. A loop
    that never spins needs the interrupts, so it gets no profile."""
    profile = environ.get(PROFILE, "" if options.spin_mode == "never" else "latency")
    return ["-p", profile] if profile else []
