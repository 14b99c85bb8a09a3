"""System calls per echo, counted by strace for a fixed number of messages.

A spinning server also polls while it has nothing to do. Such a poll finds nothing and is no cost of a message, so it is
counted separately. `strace -c` cannot distinguish the two, so every call is traced with its result.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sfloop.bench.errors import ContenderFailed
from sfloop.bench.loops import Contender
from sfloop.bench.model import Case, Metric, Sample
from sfloop.bench.noise import Disturbance
from sfloop.bench.programs import tcp, udp
from sfloop.bench.rig import GRACE, START_LIMIT, Rig, Server
from sfloop.bench.serve import Program

MESSAGES = 2000
BURST = 16

RECEIVE = {"recvfrom", "recvmsg", "recvmmsg", "read", "readv", "io_uring_enter"}
SEND = {"sendto", "sendmsg", "sendmmsg", "write", "writev"}
POLL = {"epoll_wait", "epoll_pwait", "epoll_pwait2", "poll", "ppoll", "select", "pselect6"}


def unavailable() -> str | None:
    """Why calls cannot be counted here; None: they can."""
    if shutil.which("strace") is None:
        return "counting system calls needs strace: apt-get install strace"
    return None


_CALL = re.compile(r"^(?:\d+ +)?(?:<\.\.\. )?(\w+)[( ].*\) += (-?\d+)")


def parse(trace: Iterable[str]) -> Counter[str]:
    """Count receive, send, poll, empty poll and other calls in strace's output.

    A call that a call of another thread interrupts has two lines. The second one, which has the result, is counted.
    """
    counts: Counter[str] = Counter()
    for line in trace:
        call = _CALL.match(line)
        if call is None:
            continue
        name, result = call[1], int(call[2])
        if name in POLL:
            counts["poll" if result else "empty"] += 1
        else:
            counts["recv" if name in RECEIVE else "send" if name in SEND else "other"] += 1
    return counts


@contextmanager
def _tracing(server: Server, output: Path, cpu: int) -> Iterator[None]:
    """In this block, trace the calls of all threads of the server.

    strace runs on the server's CPU, because only one of the two can run at a time. The load keeps its own CPU, so that
    it answers well before the traced server returns from its last call, like a busy client.
    """
    command = ["strace", "-f", "-o", str(output), "-p", str(server.pid)]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as tracer:
        assert tracer.stderr is not None
        os.sched_setaffinity(tracer.pid, {cpu})
        attached = tracer.stderr.readline()
        if b"attached" not in attached:
            raise ContenderFailed(f"strace could not attach: {attached.decode().strip()}")
        try:
            yield
        finally:
            tracer.terminate()  # not SIGINT, which a program in the background may ignore
            tracer.communicate(timeout=GRACE)


def _count(program: Program, reference: str, command: str, burst: int) -> Callable[[Rig, Contender], Sample]:
    options = {"burst": burst} if burst > 1 else {}
    exchanges = MESSAGES // burst

    def measure(rig: Rig, contender: Contender) -> Sample:
        with rig.server(contender, program, reference) as server, tempfile.TemporaryDirectory() as directory:
            port = server.line(START_LIMIT)["port"]
            # Warm up caches, and the loop's knowledge of its load, before the count.
            rig.load(server, command, port, messages=exchanges, warmup=0, **options)
            output = Path(directory, "strace")
            with _tracing(server, output, rig.settings.cpus.server):
                traced = rig.load(server, command, port, messages=exchanges, warmup=0, **options)
            with output.open() as trace:
                calls = parse(trace)
        values = {kind: calls[kind] / (exchanges * burst) for kind in KINDS}
        return Sample(values, Disturbance(0.0, traced.disturbance.stolen_ticks, traced.disturbance.ticks))

    return measure


KINDS = {
    "recv": "receive",
    "send": "send",
    "poll": "poll that found something",
    "other": "other",
    "empty": "empty poll (idling)",
}
_METRICS = tuple(Metric(key, title, "ratio", "lower", timed=False) for key, title in KINDS.items())

CASES = (
    Case(
        "syscalls-tcp",
        "system calls per TCP echo, 64 B",
        _METRICS,
        _count(tcp.protocol, "serve-tcp", "tcp", 1),
        ("c-spin",),
        most_rounds=1,
        fixed_seconds=1.5,
        scaled_seconds=0.0,
        unavailable=unavailable,
    ),
    Case(
        "syscalls-udp",
        f"system calls per UDP echo, 64 B, in bursts of {BURST}",
        _METRICS,
        _count(udp.echo, "serve-udp", "udp", BURST),
        ("c-spin",),
        most_rounds=1,
        fixed_seconds=1.5,
        scaled_seconds=0.0,
        unavailable=unavailable,
    ),
)
