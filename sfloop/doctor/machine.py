"""What the checks look at: /proc, /sys, the NIC's driver, this process. Read only, and replaceable throughout, so that
a test can show the checks any machine."""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

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
    """This process, as far as the checks ask."""

    affinity: frozenset[int]
    #: RLIMIT_MEMLOCK, soft and hard, in bytes; None: without limit.
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
    """A machine, and what of it is asked about."""

    #: The interface that was named.
    interface: str | None = None
    #: The CPUs a loop would run on: the one named, or those that this process may run on.
    cpus: tuple[int, ...] = ()
    root: Path = Path("/")
    process: Process = field(default_factory=Process.current)
    ethtool: Ethtool = field(default_factory=Ethtool)
    #: An interface's XDP features and attached mode, by its name.
    xdp: Callable[[str], netdev.Xdp] = netdev.xdp_of
    #: The chains of nf_tables, by an interface; those of iptables, by an interface and the tables that are there.
    nftables: Callable[[str], list[Chain]] = nftables.chains
    iptables: Callable[[str, list[str]], list[Chain]] = iptables.chains
    #: How many filters of tc and programs of tcx are on an interface's way in.
    traffic_control: Callable[[str], tuple[int, int]] = tc.ingress
    #: CPU → the interruptions of a thread that spins there.
    interruptions: Callable[[int], measure.Interruptions] = measure.interruptions
    #: The cost of reading the clock, in ns.
    clock_ns: Callable[[], float] = measure.clock_ns
    #: The engines for TLS records, best first: name, why it cannot be used (None: it can), what it is.
    tls_engines: Callable[[], tuple[tuple[str, str | None, str], ...]] = _tls_engines

    def __post_init__(self) -> None:
        if not self.cpus:
            self.cpus = tuple(sorted(self.process.affinity))

    # ---- files ----

    def path(self, name: str) -> Path:
        return self.root / name.lstrip("/")

    def read(self, name: str) -> str:
        """The text of a file, stripped.

        :raises UnseenError: it is not there, or may not be read.
        """
        try:
            return self._text(self.path(name))
        except OSError as error:
            raise UnseenError(why_unseen(name, error)) from None

    def _text(self, path: Path) -> str:
        return path.read_text(errors="replace").strip()

    def find(self, name: str) -> str | None:
        """The text of a file, or None where there is none. Not being allowed to read it is still an error."""
        try:
            return self._text(self.path(name))
        except FileNotFoundError:
            return None
        except OSError as error:
            # EINVAL and its kin are how sysfs says that a device has no such thing (the speed of a link that is down).
            if error.errno in (errno.EACCES, errno.EPERM):
                raise UnseenError(why_unseen(name, error)) from None
            return None

    def number(self, name: str) -> int:
        text = self.read(name)
        try:
            return int(text, 0)
        except ValueError:
            raise UnseenError(f"/{name.lstrip('/')} holds {text[:40]!r}, which is no number") from None

    def names(self, directory: str) -> list[str]:
        """What is in a directory; nothing where there is none."""
        try:
            return sorted(os.listdir(self.path(directory)))
        except OSError:
            return []

    def exists(self, name: str) -> bool:
        return self.path(name).exists()

    def link(self, name: str) -> str | None:
        """The last part of what a symbolic link leads to: how sysfs names a device's driver."""
        try:
            return os.path.basename(os.readlink(self.path(name)))
        except OSError:
            return None

    # ---- this process ----

    def capabilities(self) -> frozenset[str]:
        """Those of CAPABILITIES that this process has in effect."""
        for line in self.read("/proc/self/status").splitlines():
            if line.startswith("CapEff:"):
                effective = int(line.split()[1], 16)
                return frozenset(name for name, bit in CAPABILITIES.items() if effective >> bit & 1)
        raise UnseenError("/proc/self/status does not say which capabilities this process has")

    # ---- interfaces ----

    def interfaces(self) -> list[str]:
        return self.names("/sys/class/net")

    def driver_of(self, interface: str) -> str | None:
        return self.link(f"/sys/class/net/{interface}/device/driver")

    def solarflare(self) -> list[str]:
        """The interfaces of Solarflare NICs."""
        return [name for name in self.interfaces() if self.driver_of(name) in ("sfc", "sfc_ef100", "xilinx_efct")]

    def is_virtual(self, interface: str) -> bool:
        """Whether there is no NIC behind an interface: veth, a bridge, the loopback."""
        return not self.exists(f"/sys/class/net/{interface}/device")

    # ---- processors ----

    def online(self) -> list[int]:
        text = self.find("/sys/devices/system/cpu/online")
        return sorted(self.process.affinity) if text is None else cpu_list(text)


def cpu_list(text: str) -> list[int]:
    """The CPUs in a list as the kernel writes it: ``"0-2,5"``."""
    return list(_cpus(text))


def _cpus(text: str) -> Iterator[int]:
    for part in text.replace("\n", ",").split(","):
        first, _, last = part.strip().partition("-")
        if first.isdecimal() and (not last or last.isdecimal()):
            yield from range(int(first), int(last or first) + 1)


def listed(cpus: Iterator[int] | list[int] | tuple[int, ...] | frozenset[int]) -> str:
    return ",".join(map(str, sorted(cpus)))


def why_unseen(name: str, error: OSError) -> str:
    name = f"/{name.lstrip('/')}"
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"{name} may not be read: run as root"
    if error.errno == errno.ENOENT:
        return f"{name} is not there: this kernel lacks it, or the container or virtual machine hides it"
    return f"{name} cannot be read ({error.strerror})"
