"""The machine as the checks see it: /proc, /sys, the NIC's driver, this process. It is only read. A test can replace
each part."""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from sfloop.common.machine import cpu_list
from sfloop.doctor import iptables, measure, netdev, nftables, tc
from sfloop.doctor.ethtool import Ethtool
from sfloop.doctor.finding import UnseenError
from sfloop.doctor.rules import Chain

#: <linux/capability.h>
CAPABILITIES: Final = {
    "CAP_NET_ADMIN": 12,
    "CAP_NET_RAW": 13,
    "CAP_IPC_LOCK": 14,
    "CAP_SYS_ADMIN": 21,
    "CAP_SYS_NICE": 23,
    "CAP_BPF": 39,
}


@dataclass(frozen=True)
class Process:
    """The facts about this process that checks need."""

    affinity: frozenset[int]
    #: RLIMIT_MEMLOCK, soft and hard, in bytes; None: no limit.
    memlock: tuple[int | None, int | None]
    environ: Mapping[str, str]

    @classmethod
    def current(cls) -> Process:
        limits = [
            None if limit == resource.RLIM_INFINITY else limit for limit in resource.getrlimit(resource.RLIMIT_MEMLOCK)
        ]
        return cls(frozenset(os.sched_getaffinity(0)), (limits[0], limits[1]), os.environ)


def _tls_engines() -> tuple[tuple[str, str | None, str], ...]:
    from sfloop.native.cores import tls_session

    return tls_session.engines()


@dataclass
class Machine:
    """A machine, and the interface and CPUs to check."""

    #: The interface that was named, or None.
    interface: str | None = None
    #: The CPUs that a loop may run on: the one that was named, or those of this process.
    cpus: tuple[int, ...] = ()
    root: Path = Path("/")
    process: Process = field(default_factory=Process.current)
    ethtool: Ethtool = field(default_factory=Ethtool)
    #: Interface → its XDP features and the attached mode.
    xdp: Callable[[str], netdev.Xdp] = netdev.xdp_of
    #: nf_tables: interface → chains. iptables: interface and the loaded tables → chains.
    nftables: Callable[[str], list[Chain]] = nftables.chains
    iptables: Callable[[str, list[str]], list[Chain]] = iptables.chains
    #: Interface → (filters of tc, programs of tcx) on the ingress path.
    traffic_control: Callable[[str], tuple[int, int]] = tc.ingress
    #: CPU → the interruptions of a thread that spins there.
    interruptions: Callable[[int], measure.Interruptions] = measure.interruptions
    #: The cost of reading the clock, in ns.
    clock_ns: Callable[[], float] = measure.clock_ns
    #: The engines for TLS records, best first: (name, why it cannot be used or None, description).
    tls_engines: Callable[[], tuple[tuple[str, str | None, str], ...]] = _tls_engines

    def __post_init__(self) -> None:
        if not self.cpus:
            self.cpus = tuple(sorted(self.process.affinity))

    # ---- files ----

    def path(self, name: str) -> Path:
        return self.root / name.lstrip("/")

    def read(self, name: str) -> str:
        """The text of a file, stripped.

        :raises UnseenError: the file does not exist or may not be read.
        """
        try:
            return self._text(self.path(name))
        except OSError as error:
            raise UnseenError(why_unseen(name, error)) from None

    def _text(self, path: Path) -> str:
        return path.read_text(errors="replace").strip()

    def find(self, name: str) -> str | None:
        """The text of a file, or None if it does not exist.

        :raises UnseenError: the file may not be read.
        """
        try:
            return self._text(self.path(name))
        except FileNotFoundError:
            return None
        except OSError as error:
            # sysfs returns EINVAL and similar errors for values that a device does not have, such as the speed of a
            # link that is down.
            if error.errno in (errno.EACCES, errno.EPERM):
                raise UnseenError(why_unseen(name, error)) from None
            return None

    def number(self, name: str) -> int:
        text = self.read(name)
        try:
            return int(text, 0)
        except ValueError:
            raise UnseenError(f"/{name.lstrip('/')} holds {text[:40]!r}, which is not a number") from None

    def names(self, directory: str) -> list[str]:
        """The names in a directory; empty if it does not exist."""
        try:
            return sorted(os.listdir(self.path(directory)))
        except OSError:
            return []

    def exists(self, name: str) -> bool:
        return self.path(name).exists()

    def link(self, name: str) -> str | None:
        """The last part of a symbolic link's target. sysfs names a device's driver in this way."""
        try:
            return os.path.basename(os.readlink(self.path(name)))
        except OSError:
            return None

    # ---- this process ----

    def capabilities(self) -> frozenset[str]:
        """The capabilities of CAPABILITIES that are in effect in this process."""
        for line in self.read("/proc/self/status").splitlines():
            if line.startswith("CapEff:"):
                effective = int(line.split()[1], 16)
                return frozenset(name for name, bit in CAPABILITIES.items() if effective >> bit & 1)
        raise UnseenError("/proc/self/status does not list the capabilities of this process")

    # ---- interfaces ----

    def interfaces(self) -> list[str]:
        return self.names("/sys/class/net")

    def driver_of(self, interface: str) -> str | None:
        return self.link(f"/sys/class/net/{interface}/device/driver")

    def solarflare(self) -> list[str]:
        """The interfaces of Solarflare NICs."""
        return [name for name in self.interfaces() if self.driver_of(name) in ("sfc", "sfc_ef100", "xilinx_efct")]

    def is_virtual(self, interface: str) -> bool:
        """Whether the interface has no NIC: a veth, a bridge, the loopback."""
        return not self.exists(f"/sys/class/net/{interface}/device")

    # ---- processors ----

    def online(self) -> list[int]:
        text = self.find("/sys/devices/system/cpu/online")
        return sorted(self.process.affinity) if text is None else cpu_list(text)


def why_unseen(name: str, error: OSError) -> str:
    name = f"/{name.lstrip('/')}"
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"this process may not read {name}: run as root"
    if error.errno == errno.ENOENT:
        return f"{name} does not exist: this kernel lacks it, or the container or virtual machine hides it"
    return f"{name} cannot be read ({error.strerror})"
