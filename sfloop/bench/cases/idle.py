"""10,000 idle connections beside an active one: their effect on it, and their memory."""

from __future__ import annotations

import json
import resource
import select
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from sfloop.bench.errors import ContenderFailed
from sfloop.bench.loops import Contender
from sfloop.bench.model import Case, Metric, Sample
from sfloop.bench.noise import Disturbance
from sfloop.bench.programs import tcp
from sfloop.bench.rig import START_LIMIT, Rig

CONNECTIONS = 10_000
#: Descriptors that each process needs in addition.
SPARE = 100
OPEN_LIMIT = 60.0


def unavailable() -> str | None:
    """Return the reason why CONNECTIONS connections cannot be opened here, or None."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most != resource.RLIM_INFINITY and most < CONNECTIONS + SPARE:
        return f"{CONNECTIONS} connections need as many descriptors, but {most} are allowed: ulimit -Hn 20000"
    return None


@contextmanager
def _idle_connections(rig: Rig, port: int) -> Iterator[None]:
    command = rig.load_command("idle", port, connections=CONNECTIONS)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as opener:
        try:
            assert opener.stdout is not None
            assert opener.stderr is not None
            ready, _, _ = select.select([opener.stdout], [], [], OPEN_LIMIT)
            if not ready:
                raise ContenderFailed(f"{CONNECTIONS} connections were not open after {OPEN_LIMIT:.0f} s")
            line = opener.stdout.readline()
            if not line:
                raise ContenderFailed(
                    f"opening {CONNECTIONS} connections failed: {opener.stderr.read().decode().strip()}"
                )
            assert json.loads(line)["open"] == CONNECTIONS
            yield
        finally:
            opener.kill()


def _measure(rig: Rig, contender: Contender) -> Sample:
    with rig.server(contender, tcp.protocol, "serve-tcp") as server:
        port = server.line(START_LIMIT)["port"]
        alone = rig.load(server, "tcp", port, size=1024)
        before = server.resident_bytes()
        with _idle_connections(rig, port):
            weight = (server.resident_bytes() - before) / CONNECTIONS
            crowded = rig.load(server, "tcp", port, size=1024)
    p50, p50_alone = crowded.latencies.percentile(50), alone.latencies.percentile(50)
    values = {**crowded.latencies.summary(), "p50_alone": p50_alone, "times_alone": p50 / p50_alone}
    values["bytes_per_connection"] = weight
    first, second = alone.disturbance, crowded.disturbance
    disturbance = Disturbance(
        (first.interruptions + second.interruptions) / 2,
        first.stolen_ticks + second.stolen_ticks,
        first.ticks + second.ticks,
    )
    return Sample(values, disturbance, crowded.histogram)


CASES = (
    Case(
        "idle-10k",
        "10,000 idle connections beside 1 active, TCP echo, 1 KiB",
        (
            Metric("p50", "RTT p50", "ns", "lower"),
            Metric("p50_alone", "with none idle", "ns", "lower"),
            Metric("times_alone", "ratio", "ratio", "lower"),
            Metric("bytes_per_connection", "memory per idle connection", "bytes", "lower", timed=False),
        ),
        _measure,
        ("c-spin",),
        most_rounds=3,
        fixed_seconds=1.6,
        scaled_seconds=2.0,
        unavailable=unavailable,
    ),
)
