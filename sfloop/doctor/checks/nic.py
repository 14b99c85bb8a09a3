"""The NIC: its driver and firmware, and the state and speed of the link."""

from __future__ import annotations

from collections.abc import Iterator

from sfloop.doctor.finding import Finding, UnseenError
from sfloop.doctor.machine import Machine


def check(machine: Machine) -> Iterator[Finding]:
    name = machine.interface
    if name is None:
        others = [other for other in machine.interfaces() if other != "lo"]
        choice = f"; this machine has {', '.join(others)}" if others else ""
        yield Finding("nic", "", "unseen", f"no interface was named{choice}", command="sfloop doctor --interface NAME")
        return
    yield _link(machine, name)
    try:
        info = machine.ethtool.driver_info(name)
    except UnseenError as error:
        yield Finding("driver", name, "unseen", str(error))
        return
    version = f" {info.version}" if info.version else ""
    firmware = f", firmware {info.firmware}" if info.firmware not in ("", "N/A") else ""
    yield Finding("driver", name, "pass", f"{info.driver}{version}{firmware}{f' at {info.bus}' if info.bus else ''}")
    # The driver appends the variant of the datapath firmware to the version. rx0 is the full-feature variant.
    if info.driver == "sfc" and "rx0" in info.firmware.split():
        yield Finding(
            "firmware",
            name,
            "warn",
            "the full-feature firmware; the low-latency one has the shorter datapath",
            command=f"sfboot --adapter={name} firmware-variant=ultra-low-latency   # then power-cycle",
        )


def _link(machine: Machine, name: str) -> Finding:
    directory = f"/sys/class/net/{name}"
    if not machine.exists(directory):
        present = ", ".join(machine.interfaces()) or "none"
        return Finding("nic", name, "fail", f"there is no such interface; this machine has {present}")
    state = machine.read(f"{directory}/operstate")
    if state not in ("up", "unknown"):  # the loopback and tun devices report "unknown"
        return Finding("nic", name, "fail", f"the link is {state}", command=f"ip link set {name} up")
    mtu = machine.find(f"{directory}/mtu") or "?"
    speed = machine.find(f"{directory}/speed") or ""
    rate = f", {int(speed) / 1000:g} Gb/s" if speed.isdecimal() else ""
    kind = (
        "a virtual interface without a NIC"
        if machine.is_virtual(name)
        else f"PCI or virtual device, driver {machine.driver_of(name)}"
    )
    return Finding("nic", name, "pass", f"up{rate}, MTU {mtu} bytes; {kind}")
