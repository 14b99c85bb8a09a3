"""The loop's own time for one message: receive, data_received, write, until the next poll.

Two independent figures. The first is measured inside the server by a preload library (c/gap.c): the time between its
libc calls, per message. The second is measured from outside: the median round trip minus that of the spinning C server,
measured right after it. The first one is the loop's own work only. The second one includes work that the loop makes the
kernel do in addition to that of the C server.
"""

from __future__ import annotations

import struct
import tempfile

from sfloop.bench.loops import Contender
from sfloop.bench.model import Case, Metric, Sample
from sfloop.bench.programs import tcp
from sfloop.bench.rig import START_LIMIT, Rig
from sfloop.common.histogram import Histogram

_SPINNING = Contender("c-spin", "", is_loop=False)
#: If the library has seen a smaller share of messages, the loop does not call libc, so the figure is left out.
LEAST_SHARE = 0.5


def _inside(rig: Rig, contender: Contender) -> tuple[Histogram, Sample]:
    with tempfile.NamedTemporaryFile(prefix="sfloop-bench-") as results:
        environment = {"LD_PRELOAD": str(rig.settings.programs.gap_library), "SFLOOP_BENCH_GAP": results.name}
        with rig.server(contender, tcp.protocol, "serve-tcp", environment=environment) as server:
            port = server.line(START_LIMIT)["port"]
            load = rig.load(server, "tcp", port, size=64)
            results.seek(0)
            image = results.read()
    head = struct.calcsize("=Q")
    return Histogram.from_memory(image[head:]), load.sample()


def _outside(rig: Rig, contender: Contender) -> float:
    with rig.server(contender, tcp.protocol, "serve-tcp") as server:
        load = rig.load(server, "tcp", server.line(START_LIMIT)["port"], size=64, seconds=rig.settings.seconds / 2)
    return load.latencies.percentile(50)


def _measure(rig: Rig, contender: Contender) -> Sample:
    cost, seen = _inside(rig, contender)
    values = {"over_c": _outside(rig, contender) - _outside(rig, _SPINNING)}
    messages = seen.histogram.count if seen.histogram is not None else 0
    if cost.count >= LEAST_SHARE * messages:
        values.update({"own": cost.percentile(50), "own_p99": cost.percentile(99)})
    return Sample(values, seen.disturbance, cost if cost.count else None)


CASES = (
    Case(
        "own-cost",
        "the loop's own cost: receive, data_received, write; TCP echo, 64 B",
        (
            Metric("own", "own p50", "ns", "lower"),
            Metric("own_p99", "own p99", "ns", "lower"),
            Metric("over_c", "RTT p50 over c-spin's", "ns", "lower"),
        ),
        _measure,
        ("c-spin",),
        most_rounds=3,  # its p50 hardly varies
        fixed_seconds=0.5,
        scaled_seconds=2.0,
    ),
)
