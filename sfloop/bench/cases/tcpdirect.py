"""TCPDirect: both ends on one loop, compared with the same library without a loop.

sfloop uses the library in SFLOOP_TCPDIRECT_LIBRARY with its software NIC in loopback mode (ZF_ATTR), or sfloop's
simulator of it. The other loops run the same program over the kernel's loopback. c-spin is C with the library itself.
Nothing is pinned, because the software NIC is a spinning thread of the process and would share the CPU.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from sfloop.bench.cases.metrics import ROUND_TRIP
from sfloop.bench.errors import ContenderFailed
from sfloop.bench.loops import OWN, Contender
from sfloop.bench.model import Case, Metric, Sample
from sfloop.bench.programs import pair
from sfloop.bench.rig import GRACE, START_LIMIT, Load, Rig, Server, program_command
from sfloop.bench.serve import Program
from sfloop.bench.wires import new_wire

LIBRARY = "SFLOOP_TCPDIRECT_LIBRARY"
# Environment variable: sfloop's simulator of the library (tests/sim/tcpdirect), which `make bench` builds.
SIMULATOR = "SFLOOP_BENCH_TCPDIRECT_SIMULATOR"
INTERFACE = "lo"
_STACK = {"SFLOOP_STACK": "tcpdirect", "SFLOOP_INTERFACE": INTERFACE, "SFLOOP_FALLBACK": "error"}


def unavailable() -> str | None:
    """Why there is nothing to measure; None: there is."""
    if LIBRARY not in os.environ:
        return f"set {LIBRARY} to TCPDirect's library, and ZF_ATTR to its software NIC (emu=2;interface={INTERFACE})"
    if not os.path.exists(os.environ[LIBRARY]):
        return f"{LIBRARY} names {os.environ[LIBRARY]}, which does not exist"
    if f"interface={INTERFACE}" not in os.environ.get("ZF_ATTR", ""):
        return f"ZF_ATTR must name a NIC in loopback mode: emu=2;interface={INTERFACE}"
    return None


def no_simulator() -> str | None:
    """Why there is nothing to measure with the simulator; None: there is."""
    if not os.path.exists(os.environ.get(SIMULATOR, "")):
        return "the simulator of TCPDirect's library is not built: run `make bench` in a checkout"
    return None


def _c(rig: Rig, command: str, *more: str) -> Load:
    settings = rig.settings
    line = [str(settings.programs.sfbench), command, *more]
    line += ["--seconds", str(settings.seconds), "--warmup", str(settings.warmup)]
    ticks = rig.ticks()
    limit = settings.seconds + settings.warmup + GRACE
    done = subprocess.run(line, capture_output=True, text=True, timeout=limit, check=False)
    if done.returncode:
        raise ContenderFailed(f"{command} failed: {done.stderr.strip()}")
    raw = json.loads(done.stdout)
    return Load(raw, rig.disturbance(raw, ticks), rig._histogram(raw))


@contextmanager
def _program(
    contender: Contender, program: Program, given: Mapping[str, Any], environment: Mapping[str, str] = _STACK
) -> Iterator[Server]:
    command = program_command(contender, program, {"host": "127.0.0.1", **given})
    server = Server(command, environment if contender.is_sfloop else {})
    try:
        yield server
    finally:
        server.stop()


def _round_trips(
    rig: Rig, contender: Contender, program: Program, environment: Mapping[str, str] = _STACK, **more: str
) -> Sample:
    given = {"size": 64, "seconds": rig.settings.seconds, "warmup": rig.settings.warmup, **more}
    with _program(contender, program, given, environment) as server:
        server.line(START_LIMIT)
        return rig.own(server, rig.ticks(), rig.settings.seconds + rig.settings.warmup).sample()


def _pair(program: Program, rig: Rig, contender: Contender) -> Sample:
    if not contender.is_loop:
        return _c(rig, f"zf-{program.__name__}", "--size", "64").sample()
    sample = _round_trips(rig, contender, program)
    if contender.is_sfloop:  # against the library, measured right after it; a round trip has two messages
        over = sample.values["p50"] - _c(rig, f"zf-{program.__name__}", "--size", "64").latencies.percentile(50)
        sample.values.update({"over_c": over, "share": over / 2})
    return sample


def _tcp(rig: Rig, contender: Contender) -> Sample:
    return _pair(pair.tcp, rig, contender)


def _udp(rig: Rig, contender: Contender) -> Sample:
    return _pair(pair.udp, rig, contender)


def _simulated(program: Program, by_shm: Program) -> Callable[[Rig, Contender], Sample]:
    """Measure the tcpip stack over shared memory, also with both ends on one loop, right before."""

    def measure(rig: Rig, contender: Contender) -> Sample:
        over = {**_STACK, LIBRARY: os.environ[SIMULATOR], "ZF_ATTR": ""}
        with new_wire() as wire:
            direct = _round_trips(rig, contender, by_shm, {}, wire=wire)
        sample = _round_trips(rig, contender, program, over)
        sample.values["times_tcpip"] = sample.values["p50"] / direct.values["p50"]
        return sample

    return measure


def _idle(rig: Rig, contender: Contender) -> Sample:
    if not contender.is_loop:
        load = _c(rig, "zf-idle")
    else:
        given = {"seconds": rig.settings.seconds}
        with _program(contender, pair.idle, given) as server:
            load = rig.own(server, rig.ticks(), rig.settings.seconds + START_LIMIT)
    values = {"idle": float(load.raw["idle"])}
    if contender.is_sfloop:
        values["over_c"] = values["idle"] - float(_c(rig, "zf-idle").raw["idle"])
    return Sample(values, load.disturbance)


_ROUND_TRIP = (
    *ROUND_TRIP,
    Metric("over_c", "RTT p50 over c-spin's", "ns", "lower"),
    Metric("share", "the loop's share of a message", "ns", "lower"),
)

CASES = (
    Case(
        "tcp-tcpdirect",
        "TCP echo, both ends on one loop, 64 B; sfloop on TCPDirect",
        _ROUND_TRIP,
        _tcp,
        ("c-spin",),
        unavailable=unavailable,
    ),
    Case(
        "udp-tcpdirect",
        "UDP echo, both ends on one loop, 64 B; sfloop on TCPDirect",
        _ROUND_TRIP,
        _udp,
        ("c-spin",),
        unavailable=unavailable,
    ),
    Case(
        "idle-tcpdirect",
        "TCPDirect with nothing to do: the stack's share of a turn, and zf_reactor_perform itself",
        (Metric("idle", "a poll", "ns", "lower"), Metric("over_c", "over c-spin's", "ns", "lower")),
        _idle,
        ("c-spin",),
        only=(OWN, "c-spin"),
        most_rounds=3,
        unavailable=unavailable,
    ),
    *(
        Case(
            f"{name}-tcpdirect-sim",
            f"{name.upper()} echo, both ends on one loop, 64 B; sfloop on TCPDirect, over a simulator of it",
            (*ROUND_TRIP, Metric("times_tcpip", "RTT p50 × the tcpip stack's over shm", "ratio", "lower")),
            _simulated(program, by_shm),
            only=(OWN,),
            scaled_seconds=2.0,
            unavailable=no_simulator,
        )
        for name, program, by_shm in (("tcp", pair.tcp, pair.tcp_by_shm), ("udp", pair.udp, pair.udp_by_shm))
    ),
)
