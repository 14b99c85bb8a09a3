"""Spoilt parts of a tuned machine, and the doctor's answers."""

from __future__ import annotations

import errno
from collections.abc import Callable

from fake_machine import CPUIDLE, NIC, FakeMachine, unseen

from sfloop.doctor.measure import Interruptions
from sfloop.doctor.netdev import Xdp

HUGE = "/sys/kernel/mm/hugepages/hugepages-2048kB"
CPU_DIRECTORY = "/sys/devices/system/cpu"
CLOCK = "/sys/devices/system/clocksource/clocksource0"
Spoil = Callable[[FakeMachine], object]


def no_interface(m: FakeMachine) -> None:
    m.interface = None


def capabilities(m: FakeMachine, mask: int) -> None:
    m.set("/proc/self/status", f"CapEff:\t{mask:016x}\n")


def virtual_nic(m: FakeMachine) -> None:
    m.remove(f"/sys/class/net/{NIC}/device")


def features(*names: str, attached: str | None = None, known: bool = True) -> Spoil:
    return lambda m: setattr(m, "xdp", lambda _: Xdp(frozenset(names) if known else None, attached))


def device(kind: str) -> Spoil:
    return lambda m: setattr(m, "xdp", lambda _: Xdp(frozenset({"basic"}), None, kind=kind))


def tls_engine(name: str, refusal: str) -> Spoil:
    """Refuse every engine before the named one."""
    engines = {
        "native": "OpenSSL 3.5.0",
        "memory-bio": "OpenSSL 3.5.0, by Python's ssl module",
        "asyncio": "asyncio.sslproto",
    }
    best = list(engines).index(name)
    rows = tuple((e, refusal if at < best else None, what) for at, (e, what) in enumerate(engines.items()))
    return lambda m: setattr(m, "tls_engines", lambda: rows)


def driver(name: str, value: object) -> Spoil:
    return lambda m: setattr(m.driver, name, value)


def refuse(command: int, error: int) -> Spoil:
    return lambda m: m.driver.refused.update({command: error})


def write(name: str, text: str) -> Spoil:
    return lambda m: m.set(name, text)


def remove(*names: str) -> Spoil:
    return lambda m: [m.remove(name) for name in names]


def deny(name: str) -> Spoil:
    return lambda m: m.denied.add(name)


def both(*spoils: Spoil) -> Spoil:
    return lambda m: [spoil(m) for spoil in spoils]


# Check, the spoilt part, the status, the reason, the cost in µs (the upper end), and the command.
CASES: list[tuple[str, Spoil, str, str, float | None, str | None]] = [
    (
        "tls",
        tls_engine("memory-bio", "Python's module _ssl has OpenSSL linked statically"),
        "warn",
        "OpenSSL 3.5.0, by .*; no better engine: .*linked statically",
        2,
        "a Python whose ssl module is linked",
    ),
    (
        "tls",
        tls_engine("asyncio", "asyncio.sslproto of Python 3.10 is made otherwise"),
        "warn",
        "no better engine: .*3.10 is made otherwise",
        8,
        "use Python 3.11 or newer",
    ),
    (
        "nic",
        write(f"/sys/class/net/{NIC}/operstate", "down"),
        "fail",
        "the link is down",
        None,
        f"ip link set {NIC} up",
    ),
    (
        "nic",
        lambda m: setattr(m, "interface", "enp9"),
        "fail",
        f"no such interface; this machine has {NIC}",
        None,
        None,
    ),
    (
        "nic",
        no_interface,
        "unseen",
        f"no interface was named; this machine has {NIC}",
        None,
        "sfloop doctor --interface",
    ),
    ("nic", deny(f"/sys/class/net/{NIC}/operstate"), "unseen", "may not read .*: run as root", None, None),
    ("nic", remove(f"/sys/class/net/{NIC}/speed"), "pass", "up, MTU 1500 bytes", None, None),
    ("nic", virtual_nic, "pass", "a virtual interface without a NIC", None, None),
    ("driver", refuse(0x03, errno.EOPNOTSUPP), "unseen", "does not report its driver", None, None),
    ("driver", refuse(0x03, errno.EPERM), "unseen", "run as root", None, None),
    ("driver", refuse(0x03, errno.ENODEV), "unseen", "did not report.*No such device", None, None),
    (
        "driver",
        driver("info", ("ice", "", "4.30 0x1", "0000:01")),
        "pass",
        "^ice, firmware 4.30 0x1 at 0000:01$",
        None,
        None,
    ),
    ("firmware", driver("info", ("sfc", "5", "8.5 rx0 tx0", "")), "warn", "full-feature", None, "sfboot"),
    (
        "modules",
        remove("/sys/module/sfc_char"),
        "warn",
        "need the module sfc_char; loaded: sfc 5.3.18, onload",
        None,
        "onload_tool",
    ),
    ("modules", remove("/dev/sfc_char"), "fail", "the container hides it", None, "--device /dev/sfc_char"),
    (
        "modules",
        both(remove("/sys/module", "/dev/sfc_char"), FakeMachine.without_solarflare),
        "pass",
        "none of",
        None,
        None,
    ),
    (
        "capabilities",
        lambda m: capabilities(m, 0),
        "warn",
        "lacks CAP_NET_RAW .*CAP_NET_ADMIN .*CAP_BPF",
        None,
        "setcap",
    ),
    ("capabilities", lambda m: capabilities(m, 1 << 13 | 1 << 12), "warn", r"lacks CAP_BPF \(", None, "setcap"),
    ("capabilities", lambda m: capabilities(m, 1 << 13 | 1 << 12 | 1 << 21), "pass", "can be used", None, None),
    ("capabilities", deny("/proc/self/status"), "unseen", "run as root", None, None),
    ("capabilities", write("/proc/self/status", "Name:\tx\n"), "unseen", "does not list the capabilities", None, None),
    (
        "hugepages",
        write(f"{HUGE}/free_hugepages", "39"),
        "fail",
        "39 of 128.*needs 40 for each",
        None,
        f"echo 129 > {HUGE}",
    ),
    (
        "hugepages",
        both(write(f"{HUGE}/free_hugepages", "0"), FakeMachine.without_solarflare),
        "pass",
        "only TCPDirect",
        None,
        None,
    ),
    ("hugepages", remove(f"{HUGE}/nr_hugepages"), "unseen", "does not exist", None, None),
    ("hugepages", write(f"{HUGE}/nr_hugepages", "many"), "unseen", "'many', which is not a number", None, None),
    (
        "thp",
        write("/sys/kernel/mm/transparent_hugepage/defrag", "[always] never"),
        "warn",
        "defrag=always",
        None,
        "echo madvise",
    ),
    ("thp", remove("/sys/kernel/mm/transparent_hugepage"), "pass", "no transparent huge pages", None, None),
    (
        "memlock",
        lambda m: capabilities(m, 1 << 13),
        "warn",
        "RLIMIT_MEMLOCK is 8,192 KiB.*144 MiB",
        None,
        "ulimit -Hl unlimited",
    ),
    (
        "memlock",
        both(lambda m: capabilities(m, 0), lambda m: m.of_process(memlock=(1, None))),
        "pass",
        "no limit",
        None,
        None,
    ),
    (
        "memlock",
        both(lambda m: capabilities(m, 0), lambda m: m.of_process(memlock=(1, 1 << 28))),
        "pass",
        "up to 256 MiB",
        None,
        None,
    ),
    ("memlock", deny("/proc/self/status"), "unseen", "run as root", None, None),
    (
        "irq-affinity",
        write("/proc/irq/40/effective_affinity_list", "2-3"),
        "warn",
        "1 of its 1 .*CPU 3,",
        5,
        r"in 40; do echo 0 >",
    ),
    (
        "irq-affinity",
        both(remove("/proc/irq/40/effective_affinity_list"), write("/proc/irq/40/smp_affinity_list", "3")),
        "warn",
        "1 of its 1",
        5,
        "echo 0 >",
    ),
    (
        "irq-affinity",
        both(remove(f"/sys/class/net/{NIC}/device/msi_irqs"), write("/proc/irq/40/effective_affinity_list", "3")),
        "warn",
        "1 of its 1",
        5,
        "echo 0 >",
    ),
    (
        "irq-affinity",
        both(remove(f"/sys/class/net/{NIC}/device/msi_irqs"), write("/proc/interrupts", "CPU0\n 1: 2 i8042\n")),
        "unseen",
        f"lists no interrupt of {NIC}",
        None,
        None,
    ),
    ("irq-affinity", deny("/proc/irq/40/effective_affinity_list"), "unseen", "run as root", None, None),
    ("coalescing", driver("coalescing_words", {1: 30}), "warn", "delayed by up to 30 µs", 30, f"ethtool -C {NIC}"),
    ("coalescing", driver("coalescing_words", {1: 64, 10: 1}), "warn", "adaptive.*now 64 µs", 64, "adaptive-rx off"),
    ("coalescing", driver("coalescing_words", {10: 1}), "warn", "adaptive", 50, "adaptive-rx off"),
    ("coalescing", refuse(0x0E, errno.EOPNOTSUPP), "unseen", "does not report its coalescing", None, None),
    ("xdp", features("basic", "redirect"), "warn", "no zero copy", 0.5, None),
    ("xdp", features(), "warn", "no native mode", 2, None),
    ("xdp", features(known=False), "unseen", "older than 6.3", None, None),
    ("xdp", lambda m: setattr(m, "xdp", unseen("netlink is not to be had")), "unseen", "not to be had", None, None),
    ("vlan-tags", driver("flags", {"rx-vlan-hw-parse": True}), "fail", "removes VLAN tags", None, "rxvlan off"),
    (
        "vlan-tags",
        both(virtual_nic, device("bridge")),
        "warn",
        "af_xdp refuses the interface and packet is used",
        None,
        None,
    ),
    ("vlan-tags", both(virtual_nic, device("veth")), "warn", "the kernel removes VLAN tags", None, None),
    ("vlan-tags", refuse(0x37, errno.EPERM), "unseen", "run as root", None, None),
    (
        "queues",
        driver("channels", (0, 0, 0, 16, 0, 0, 0, 8)),
        "warn",
        "8 of 16 .*polls all of them",
        0.8,
        f"ethtool -L {NIC} combined 1",
    ),
    ("queues", refuse(0x3C, errno.EOPNOTSUPP), "pass", "^1 receive queue$", None, None),
    (
        "queues",
        both(refuse(0x3C, errno.EOPNOTSUPP), remove(f"/sys/class/net/{NIC}/queues")),
        "unseen",
        "does not report",
        None,
        None,
    ),
    (
        "offloads",
        driver("flags", {"rx-gro": True, "rx-lro": True}),
        "warn",
        "^rx-lro on",
        10,
        f"ethtool -K {NIC} lro off",
    ),
    (
        "offloads",
        driver("flags", {f"f{n}": True for n in range(40)} | {"rx-gro-hw": True}),
        "warn",
        "rx-gro-hw on",
        10,
        "rx-gro-hw off",
    ),
    ("offloads", refuse(0x37, errno.EPERM), "unseen", "run as root", None, None),
    ("gro-flush", write(f"/sys/class/net/{NIC}/gro_flush_timeout", "20000"), "warn", "20000 ns", 20, "echo 0 >"),
    (
        "busy-poll",
        write("/proc/sys/net/core/busy_poll", "0"),
        "warn",
        "busy_poll=0 µs, busy_read=50 µs",
        5,
        "sysctl -w",
    ),
    (
        "busy-poll",
        both(virtual_nic, write("/proc/sys/net/core/busy_poll", "0")),
        "pass",
        "helps on real NICs only",
        None,
        None,
    ),
    ("busy-poll", remove("/proc/sys/net/core/busy_read"), "unseen", "container", None, None),
    ("numa", write(f"/sys/class/net/{NIC}/device/numa_node", "0"), "warn", r"node 0 \(CPU 0,1\).*CPU 3", 1, "--cpu 1"),
    (
        "numa",
        write(f"/sys/class/net/{NIC}/device/numa_node", "-1"),
        "unseen",
        "does not know the NIC's node",
        None,
        None,
    ),
    ("numa", remove("/sys/devices/system/node/node0"), "pass", "one NUMA node", None, None),
    ("numa", no_interface, "unseen", "no interface was named", None, None),
    (
        "isolation",
        write(f"{CPU_DIRECTORY}/isolated", ""),
        "warn",
        "other programs",
        4000,
        "isolcpus=managed_irq,domain,3",
    ),
    (
        "isolation",
        both(write(f"{CPU_DIRECTORY}/isolated", ""), write(f"{CPU_DIRECTORY}/online", "3")),
        "warn",
        "the only CPU",
        None,
        None,
    ),
    ("nohz", write(f"{CPU_DIRECTORY}/nohz_full", ""), "warn", "100 to 1,000 times a second", 3, "nohz_full=3"),
    ("nohz", remove(f"{CPU_DIRECTORY}/nohz_full"), "warn", "without CONFIG_NO_HZ_FULL", 3, None),
    ("nohz", deny(f"{CPU_DIRECTORY}/nohz_full"), "unseen", "run as root", None, None),
    (
        "smt",
        write(f"{CPU_DIRECTORY}/cpu3/topology/thread_siblings_list", "1,3"),
        "warn",
        "with CPU 1",
        1,
        "cpu1/online",
    ),
    ("smt", remove(f"{CPU_DIRECTORY}/cpu3/topology"), "unseen", "which CPUs share a core", None, None),
    (
        "cpu-quota",
        write("/sys/fs/cgroup/user.slice/cpu.max", "50000 100000"),
        "warn",
        "50 ms of CPU in each 100 ms",
        50000,
        "echo max > /sys/fs/cgroup/user.slice/cpu.max",
    ),
    ("cpu-quota", remove("/proc/self/cgroup"), "pass", "no quota", None, None),
    ("c-states", write(f"{CPUIDLE}/state2/disable", "0"), "warn", "C6 is enabled", 133, "cpupower idle-set -D 2"),
    ("c-states", remove(CPUIDLE), "unseen", "the hypervisor does", None, None),
    (
        "governor",
        write(f"{CPU_DIRECTORY}/cpu3/cpufreq/scaling_governor", "powersave"),
        "warn",
        "powersave",
        500,
        "cpupower frequency-set",
    ),
    ("governor", remove(f"{CPU_DIRECTORY}/cpu3/cpufreq"), "unseen", "the hypervisor does", None, None),
    (
        "clock",
        both(write(f"{CLOCK}/current_clocksource", "hpet"), lambda m: setattr(m, "clock_ns", lambda: 1240.0)),
        "warn",
        "hpet: slow",
        1.24,
        f"echo tsc > {CLOCK}/current_clocksource",
    ),
    (
        "clock",
        both(write(f"{CLOCK}/available_clocksource", "hpet"), lambda m: setattr(m, "clock_ns", lambda: 1240.0)),
        "warn",
        "slow to read",
        1.24,
        "tsc=reliable",
    ),
    ("clock", remove(f"{CLOCK}/current_clocksource"), "unseen", "does not exist", None, None),
    (
        "interruptions",
        lambda m: setattr(m, "interruptions", lambda _: Interruptions(7, 4012.3, 21.5)),
        "warn",
        "kept off the CPU 7 times in 100 ms, 22 % of the time",
        4012.3,
        None,
    ),
    (
        "virtual-machine",
        write("/proc/cpuinfo", "flags\t\t: fpu hypervisor\n"),
        "warn",
        "of unknown kind.*cannot be seen",
        50,
        None,
    ),
    (
        "virtual-machine",
        both(
            write("/proc/cpuinfo", "flags\t\t: hypervisor\n"),
            write("/sys/class/dmi/id/sys_vendor", "QEMU"),
            write("/proc/stat", "cpu  10 0 10 930 0 0 0 50 0 0\n"),
        ),
        "warn",
        r"\(QEMU\).*, 5 % of the time",
        50,
        None,
    ),
    ("container", write("/.dockerenv", ""), "pass", "^Docker", None, None),
    ("container", write("/run/.containerenv", ""), "pass", "^Podman", None, None),
    ("container", write("/proc/1/cgroup", "0::/kubepods/pod1"), "pass", "^Kubernetes", None, None),
]
