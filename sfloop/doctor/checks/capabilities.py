"""The capabilities that the frame drivers need."""

from __future__ import annotations

from collections.abc import Iterator

from sfloop.doctor.finding import Finding
from sfloop.doctor.machine import Machine

#: Capability → the purpose for which drivers need it.
_NEEDED = {
    "CAP_NET_RAW": "to make AF_XDP and AF_PACKET sockets",
    "CAP_NET_ADMIN": "to attach an XDP program",
    "CAP_BPF": "to load it and its maps",
}


def check(machine: Machine) -> Iterator[Finding]:
    held = machine.capabilities()
    # CAP_SYS_ADMIN includes CAP_BPF, which exists since Linux 5.8.
    missing = [name for name in _NEEDED if name not in held and not (name == "CAP_BPF" and "CAP_SYS_ADMIN" in held)]
    if not missing:
        yield Finding("capabilities", "", "pass", f"{', '.join(_NEEDED)}: the drivers af_xdp and packet can be used")
        return
    why = ", ".join(f"{name} ({_NEEDED[name]})" for name in missing)
    wanted = ",".join(name.lower() for name in (*_NEEDED, "CAP_IPC_LOCK"))
    yield Finding(
        "capabilities",
        "",
        "warn",
        f"the drivers af_xdp and packet cannot be used: this process lacks {why}",
        command=f'setcap {wanted}+ep "$(readlink -f "$(command -v python3)")"   # or run as root',
    )
