"""A simulated machine for the doctor: files under a directory, a NIC's driver that answers ioctls, a process.

It is built well tuned, with a Solarflare NIC, so every check passes; each test spoils one part.
"""

from __future__ import annotations

import errno
import os
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

from sfloop.doctor.ethtool import Ethtool
from sfloop.doctor.finding import Finding, UnseenError
from sfloop.doctor.machine import Machine, Process
from sfloop.doctor.measure import Interruptions
from sfloop.doctor.netdev import Xdp

NIC = "enp1s0f0"
CPU = 3
ALL_CAPABILITIES = (1 << 41) - 1
CPUIDLE = f"/sys/devices/system/cpu/cpu{CPU}/cpuidle"

TUNED = {
    "/proc/cmdline": "isolcpus=3 nohz_full=3",
    "/proc/cpuinfo": "processor\t: 0\nflags\t\t: fpu tsc constant_tsc nonstop_tsc\n",
    "/proc/interrupts": "           CPU0  CPU1\n  40:  1  2  PCI-MSI  enp1s0f0-0\n",
    "/proc/irq/40/effective_affinity_list": "0",
    "/proc/irq/40/smp_affinity_list": "0-3",
    "/proc/self/cgroup": "0::/user.slice/session.scope\n",
    "/proc/self/status": f"Name:\tpython\nCapEff:\t{ALL_CAPABILITIES:016x}\n",
    "/proc/stat": "cpu  10 0 10 980 0 0 0 0 0 0\n",
    "/proc/sys/net/core/busy_poll": "50",
    "/proc/sys/net/core/busy_read": "50",
    "/proc/sys/net/ipv4/conf/all/rp_filter": "0",
    f"/proc/sys/net/ipv4/conf/{NIC}/rp_filter": "0",
    "/proc/1/cgroup": "0::/init.scope\n",
    "/dev/sfc_char": "",
    "/sys/fs/cgroup/user.slice/cpu.max": "max 100000",
    "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages": "128",
    "/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages": "100",
    "/sys/kernel/mm/transparent_hugepage/defrag": "always defer defer+madvise [madvise] never",
    "/sys/devices/system/clocksource/clocksource0/available_clocksource": "tsc hpet acpi_pm",
    "/sys/devices/system/clocksource/clocksource0/current_clocksource": "tsc",
    "/sys/devices/system/cpu/isolated": "3",
    "/sys/devices/system/cpu/nohz_full": "3",
    "/sys/devices/system/cpu/online": "0-3",
    "/sys/devices/system/cpu/cpu3/cpufreq/scaling_governor": "performance",
    "/sys/devices/system/cpu/cpu3/topology/thread_siblings_list": "3",
    f"{CPUIDLE}/state0/name": "POLL",
    f"{CPUIDLE}/state0/latency": "0",
    f"{CPUIDLE}/state0/disable": "0",
    f"{CPUIDLE}/state1/name": "C1",
    f"{CPUIDLE}/state1/latency": "2",
    f"{CPUIDLE}/state1/disable": "0",
    f"{CPUIDLE}/state2/name": "C6",
    f"{CPUIDLE}/state2/latency": "133",
    f"{CPUIDLE}/state2/disable": "1",
    "/sys/devices/system/node/node0/cpulist": "0-1",
    "/sys/devices/system/node/node1/cpulist": "2-3",
    "/sys/module/sfc/version": "5.3.18",
    "/sys/module/sfc_char/version": "9.0.1",
    "/sys/module/onload/version": "9.0.1",
    "/usr/include/etherfabric/vi.h": "",
    "/usr/lib64/libonload.so": "",
    "/usr/lib64/libonload_zf.so.1.2.1": "",
    f"/sys/class/net/{NIC}/operstate": "up",
    f"/sys/class/net/{NIC}/mtu": "1500",
    f"/sys/class/net/{NIC}/speed": "25000",
    f"/sys/class/net/{NIC}/gro_flush_timeout": "0",
    f"/sys/class/net/{NIC}/queues/rx-0/rps_cpus": "0",
    f"/sys/class/net/{NIC}/device/msi_irqs/40": "msix",
    f"/sys/class/net/{NIC}/device/numa_node": "1",
}


class FakeDriver(Ethtool):
    """A NIC's driver at the ioctl's level: it takes and returns the structures of <linux/ethtool.h>."""

    def __init__(self) -> None:
        self.info = ("sfc", "5.3.18", "8.5.2.1002 rx1 tx1", "0000:01:00.0")
        self.coalescing_words = {1: 0, 2: 0, 10: 0}
        self.channels = (0, 0, 0, 16, 0, 0, 0, 1)
        self.flags = {f"feature-{bit}": bit % 3 == 0 for bit in range(33)} | {"rx-lro": False, "rx-gro-hw": False}
        self.refused: dict[int, int] = {}

    def ioctl(self, interface: str, request: bytes) -> bytes:
        command = struct.unpack_from("=I", request)[0]
        if command in self.refused:
            raise OSError(self.refused[command], os.strerror(self.refused[command]))
        answers = {0x03: self._info, 0x0E: self._coalescing, 0x3C: self._channels, 0x37: self._set_info}
        answers |= {0x1B: self._strings, 0x3A: self._features}
        answer = answers[command](request)
        assert len(answer) == len(request)
        return answer

    def _info(self, request: bytes) -> bytes:
        fields = b"".join(text.encode().ljust(32, b"\0") for text in self.info)
        return request[:4] + fields + request[4 + len(fields) :]

    def _coalescing(self, request: bytes) -> bytes:
        return struct.pack("=23I", 0x0E, *(self.coalescing_words.get(word, 0) for word in range(1, 23)))

    def _channels(self, request: bytes) -> bytes:
        return struct.pack("=9I", 0x3C, *self.channels)

    def _set_info(self, request: bytes) -> bytes:
        assert struct.unpack_from("=Q", request, 8)[0] == 1 << 4
        return request[:16] + struct.pack("=I", len(self.flags))

    def _strings(self, request: bytes) -> bytes:
        return request[:12] + b"".join(name.encode().ljust(32, b"\0") for name in self.flags)

    def _features(self, request: bytes) -> bytes:
        blocks = struct.unpack_from("=I", request, 4)[0]
        assert blocks == (len(self.flags) + 31) // 32
        active = [0] * blocks
        for bit, on in enumerate(self.flags.values()):
            active[bit // 32] |= on << bit % 32
        return request[:8] + b"".join(struct.pack("=4I", ~0 & 0xFFFFFFFF, 0, word, 0) for word in active)


class FakeMachine(Machine):
    """A Machine whose parts a test sets. `denied` holds files that may not be read."""

    denied: set[str]
    driver: FakeDriver

    def _text(self, path: Path) -> str:
        if f"/{path.relative_to(self.root)}" in self.denied:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return super()._text(path)

    def write(self, **_: Any) -> None:
        raise AssertionError("the doctor writes nothing")

    def set(self, name: str, text: str) -> None:
        path = self.path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def remove(self, name: str) -> None:
        path = self.path(name)
        if path.is_dir() and not path.is_symlink():
            for inner in list(path.iterdir()):
                self.remove(f"{name}/{inner.name}")
            path.rmdir()
        else:
            path.unlink()

    def point(self, name: str, target: str) -> None:
        path = self.path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.symlink_to(target)

    def of_process(self, **changes: Any) -> None:
        self.process = replace(self.process, **changes)

    def without_solarflare(self) -> None:
        self.point(f"/sys/class/net/{NIC}/device/driver", "../../../bus/pci/drivers/ice")


def tuned(root: Path) -> FakeMachine:
    driver = FakeDriver()
    machine = FakeMachine(
        interface=NIC,
        cpus=(CPU,),
        root=root,
        process=Process(frozenset({0, 1, 2, 3}), (8 << 20, 8 << 20), {}),
        ethtool=driver,
        xdp=lambda interface: Xdp(frozenset({"basic", "redirect", "zero-copy"}), None),
        nftables=lambda interface: [],
        iptables=lambda interface, tables: [],
        traffic_control=lambda interface: (0, 0),
        interruptions=lambda cpu: Interruptions(1, 6.0, 0.006),
        clock_ns=lambda: 55.0,
        tls_engines=lambda: (("native", None, "OpenSSL 3.5.0, /usr/lib64/libssl.so.3"), ("asyncio", None, "always")),
    )
    machine.denied, machine.driver = set(), driver
    for name, text in TUNED.items():
        machine.set(name, text)
    machine.point(f"/sys/class/net/{NIC}/device/driver", "../../../bus/pci/drivers/sfc")
    machine.point("/usr/lib64/libonload_zf.so.1", "libonload_zf.so.1.2.1")
    return machine


def unseen(text: str) -> Any:
    def ask(*_: Any) -> Any:
        raise UnseenError(text)

    return ask


def of(findings: list[Finding], check: str, subject: str | None = None) -> Finding:
    """Return the only finding of a check, or of its subject when there are several."""
    found = [f for f in findings if f.check == check and subject in (None, f.subject)]
    assert len(found) == 1, found
    return found[0]
