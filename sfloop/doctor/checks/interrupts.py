"""The CPUs that get the NIC's interrupts, and how long the NIC delays interrupts."""

from __future__ import annotations

import re
from collections.abc import Iterator

from sfloop.common.machine import cpu_list, listed
from sfloop.doctor.finding import Cost, Finding, UnseenError
from sfloop.doctor.machine import Machine

_TAKES = Cost(1, 5, "interrupt", "typical")


def check_affinity(machine: Machine) -> Iterator[Finding]:
    name = machine.interface
    if name is None or machine.is_virtual(name):
        return
    numbers = _interrupts_of(machine, name)
    if not numbers:
        yield Finding("irq-affinity", name, "unseen", f"/proc/interrupts lists no interrupt of {name}")
        return
    # If the loop may run on other CPUs, too, it can avoid an interrupt.
    loops = set(machine.cpus)
    hit: dict[str, list[int]] = {}
    for number in numbers:
        for kind in ("effective_affinity_list", "smp_affinity_list"):
            text = machine.find(f"/proc/irq/{number}/{kind}")
            if text:
                common = loops.intersection(cpu_list(text))
                if common:
                    hit[number] = sorted(common)
                break
    if not hit:
        yield Finding(
            "irq-affinity", name, "pass", f"none of its {len(numbers)} interrupts goes to CPU {listed(machine.cpus)}"
        )
        return
    cpus = sorted({cpu for common in hit.values() for cpu in common})
    others = [cpu for cpu in machine.online() if cpu not in loops]
    target = others[0] if others else "N"
    yield Finding(
        "irq-affinity",
        name,
        "warn",
        f"{len(hit)} of its {len(numbers)} interrupts may go to CPU {listed(cpus)}, where the loop runs",
        _TAKES,
        f"for n in {' '.join(hit)}; do echo {target} > /proc/irq/$n/smp_affinity_list; done   # and stop irqbalance",
    )


def _interrupts_of(machine: Machine, name: str) -> list[str]:
    numbers = [number for number in machine.names(f"/sys/class/net/{name}/device/msi_irqs") if number.isdecimal()]
    if numbers:
        return sorted(numbers, key=int)
    # virtio's interrupts belong to the bus device (virtio0-input.0), so look for its name, too.
    device = machine.link(f"/sys/class/net/{name}/device") or name
    pattern = re.compile(rf"(?<![\w]){re.escape(name)}(?![\w])|(?<![\w]){re.escape(device)}(?![\w])")
    lines = machine.read("/proc/interrupts").splitlines()
    return [
        line.split(":")[0].strip() for line in lines if pattern.search(line) and line.split(":")[0].strip().isdecimal()
    ]


def check_coalescing(machine: Machine) -> Iterator[Finding]:
    name = machine.interface
    if name is None:
        return
    try:
        held = machine.ethtool.coalescing(name)
    except UnseenError as error:
        yield Finding("coalescing", name, "unseen", str(error))
        return
    command = f"ethtool -C {name} adaptive-rx off rx-usecs 0"
    if held.adaptive_rx:
        most = float(held.rx_us or 50)
        yield Finding(
            "coalescing",
            name,
            "warn",
            f"adaptive: the driver chooses how long it delays interrupts, now {held.rx_us} µs",
            Cost(0, most, "message", "kernel" if held.rx_us else "typical"),
            command,
        )
    elif held.rx_us:
        yield Finding(
            "coalescing",
            name,
            "warn",
            f"an interrupt is delayed by up to {held.rx_us} µs after a frame",
            Cost(0, held.rx_us, "message", "kernel"),
            command,
        )
    else:
        yield Finding("coalescing", name, "pass", "interrupts are not delayed")
