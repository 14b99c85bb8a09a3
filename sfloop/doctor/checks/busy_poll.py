"""The kernel's own busy polling: a socket without data polls the NIC's queue instead of waiting for an interrupt."""

from __future__ import annotations

from collections.abc import Iterator

from sfloop.doctor.finding import Cost, Finding, UnseenError
from sfloop.doctor.machine import Machine


def check(machine: Machine) -> Iterator[Finding]:
    settings = {name: machine.find(f"/proc/sys/net/core/{name}") for name in ("busy_poll", "busy_read")}
    if None in settings.values():
        raise UnseenError(
            "/proc/sys/net/core/busy_poll does not exist: the kernel lacks CONFIG_NET_RX_BUSY_POLL, or this is a "
            "network namespace of a container, where only the host's can be read"
        )
    shown = ", ".join(f"{name}={value} µs" for name, value in settings.items())
    if settings["busy_poll"] != "0" and settings["busy_read"] != "0":
        yield Finding("busy-poll", "", "pass", f"{shown}: kernel sockets poll the NIC themselves")
    elif machine.interface is None or machine.is_virtual(machine.interface):
        yield Finding("busy-poll", "", "pass", f"{shown}; busy polling helps on real NICs only")
    else:
        yield Finding(
            "busy-poll",
            "",
            "warn",
            f"{shown}: on the kernel stack each message waits for its interrupt",
            Cost(1, 5, "message", "typical"),
            "sysctl -w net.core.busy_poll=50 net.core.busy_read=50",
        )
