"""Checks that the loop has its CPUs to itself: isolation, the tick, hyper-threads, a quota, measured interruptions."""

from __future__ import annotations

from collections.abc import Iterator

from sfloop.common.machine import cpu_list, listed
from sfloop.doctor.finding import Cost, Finding, UnseenError
from sfloop.doctor.machine import Machine


def check_isolation(machine: Machine) -> Iterator[Finding]:
    isolated = cpu_list(machine.find("/sys/devices/system/cpu/isolated") or "")
    shared = [cpu for cpu in machine.cpus if cpu not in isolated]
    if not shared:
        yield Finding("isolation", f"cpu {listed(machine.cpus)}", "pass", "isolated from the scheduler")
        return
    online = machine.online()
    if len(online) < 2:
        yield Finding(
            "isolation", f"cpu {listed(shared)}", "warn", "the only CPU, so a loop shares it with everything else"
        )
        return
    last = online[-1]
    yield Finding(
        "isolation",
        f"cpu {listed(shared)}",
        "warn",
        "the scheduler may run other programs there",
        Cost(5, 4000, "time slice of another program", "typical"),
        f"isolcpus=managed_irq,domain,{last} rcu_nocbs={last}   # kernel command line; then: sfloop run --cpu {last} …",
    )


def check_tick(machine: Machine) -> Iterator[Finding]:
    text = machine.find("/sys/devices/system/cpu/nohz_full")
    without = cpu_list(text or "")
    ticking = [cpu for cpu in machine.cpus if cpu not in without]
    if not ticking:
        yield Finding("nohz", f"cpu {listed(machine.cpus)}", "pass", "no tick while one thread runs there")
    elif text is None:
        yield Finding(
            "nohz",
            f"cpu {listed(ticking)}",
            "warn",
            "the timer tick interrupts the spin; this kernel is built without CONFIG_NO_HZ_FULL",
            Cost(1, 3, "tick", "typical"),
        )
    else:
        yield Finding(
            "nohz",
            f"cpu {listed(ticking)}",
            "warn",
            "the timer tick interrupts the spin, 100 to 1,000 times a second",
            Cost(1, 3, "tick", "typical"),
            f"nohz_full={ticking[-1]}   # kernel command line",
        )


def check_siblings(machine: Machine) -> Iterator[Finding]:
    seen = False
    for cpu in machine.cpus:
        text = machine.find(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
        if text is None:
            continue
        seen = True
        siblings = [other for other in cpu_list(text) if other != cpu]
        if siblings:
            yield Finding(
                "smt",
                f"cpu {cpu}",
                "warn",
                f"shares its core with CPU {listed(siblings)}: a program there slows the loop",
                Cost(0.1, 1, "message", "typical"),
                f"echo 0 > /sys/devices/system/cpu/cpu{siblings[0]}/online",
            )
            return
    if seen:
        yield Finding("smt", f"cpu {listed(machine.cpus)}", "pass", "no other hyper-thread on its core")
    else:
        yield Finding(
            "smt", f"cpu {listed(machine.cpus)}", "unseen", "this kernel does not report which CPUs share a core"
        )


def check_quota(machine: Machine) -> Iterator[Finding]:
    for name in _quota_files(machine):
        text = machine.find(name)
        quota, _, period = (text or "").partition(" ")
        if quota.isdecimal() and period.isdecimal() and int(quota) < int(period) * len(machine.online()):
            held, whole = int(quota), int(period)
            yield Finding(
                "cpu-quota",
                "",
                "warn",
                f"the cgroup gets {held / 1000:g} ms of CPU in each {whole / 1000:g} ms: a spinning loop "
                f"and its threads use that up and are stopped for the rest",
                Cost(0, max(whole - held, 0), "period", "kernel"),
                f"echo max > {name}",
            )
            return
    yield Finding("cpu-quota", "", "pass", "no quota on this process's CPU time")


def _quota_files(machine: Machine) -> Iterator[str]:
    """The files cpu.max of the process's cgroup and of its parents (cgroup v2)."""
    lines = (machine.find("/proc/self/cgroup") or "").splitlines()
    parts = next((line[3:].strip("/").split("/") for line in lines if line.startswith("0::")), [])
    for length in range(len(parts), -1, -1):
        yield "/".join(["/sys/fs/cgroup", *(part for part in parts[:length] if part), "cpu.max"])


def check_interruptions(machine: Machine) -> Iterator[Finding]:
    cpu = machine.cpus[-1]
    try:
        found = machine.interruptions(cpu)
    except OSError as error:
        raise UnseenError(f"this process may not run on CPU {cpu} ({error.strerror})") from None
    if found.longest_us < 20:
        yield Finding("interruptions", f"cpu {cpu}", "pass", f"{found.count} above 5 µs in 100 ms, none above 20 µs")
        return
    yield Finding(
        "interruptions",
        f"cpu {cpu}",
        "warn",
        f"a spinning thread was kept off the CPU {found.count} times in 100 ms, {found.lost_percent:.2g} % of the "
        f"time: see isolation, nohz and irq-affinity for the causes",
        Cost(5, round(found.longest_us, 1), "interruption", "measured"),
    )
