"""The bars: the figures that sfloop has to reach in each case, as data, and the verdicts."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from sfloop.bench.loops import AGAINST, C_SERVERS, COMBINED, OWN
from sfloop.bench.model import CaseResult

#: The figure that sfloop's is compared with: a contender's, the best of a group by its median, or the limit itself.
Against = Literal[
    "uvloop",
    "uvloop+aiofastnet",
    "sfloop+aiofastnet",
    "c-spin",
    "c-spin-recv",
    "c-af_xdp",
    "best peer",
    "best C server",
    "nothing",
]
#: The relation between sfloop's figure and the limit.
Relation = Literal["<=", ">="]


@dataclass(frozen=True)
class Bar:
    """`metric` of sfloop, divided by that of `against`, must be in `relation` to `limit`."""

    case: str
    metric: str
    relation: Relation
    limit: float
    against: Against

    @property
    def by_peer(self) -> bool:
        """Whether the bar depends on another loop's figure, whose relation to the limit differs between machines.

        The other bars use a C server on the same machine, or a fixed figure.
        """
        return self.against in ("uvloop", "best peer", *COMBINED)


def _beside_c(limit: float, *cases: str, server: Against = "c-spin-recv") -> tuple[Bar, ...]:
    return tuple(Bar(case, "p50", "<=", limit, server) for case in cases)


def _round_trips(cases: tuple[str, ...], limit: float, p99: bool = True) -> tuple[Bar, ...]:
    metrics = ("p50", "p99") if p99 else ("p50",)
    return tuple(Bar(case, metric, "<=", limit, "uvloop") for case in cases for metric in metrics)


_WEBSOCKETS = ("picows", "websockets", "aiohttp")

BARS: tuple[Bar, ...] = (
    *_round_trips(("tcp-protocol-64", "tcp-protocol-1k"), 0.45),
    *_beside_c(1.15, "tcp-protocol-64", "tcp-protocol-1k", server="c-spin"),
    *_beside_c(1.15, "tcp-protocol-64", "tcp-protocol-1k", "udp-loopback"),
    *_beside_c(1.15, "tcp-sock-64", "tcp-sock-1k", "tcp-sock-1k-of-256k"),
    *_beside_c(1.2, "tcp-streams-64", "tcp-streams-1k"),
    *_round_trips(("tcp-streams-64", "tcp-streams-1k", "tcp-sock-64", "tcp-sock-1k"), 0.55),
    Bar("tcp-10-connections", "per_second", ">=", 1.10, "uvloop"),
    Bar("tcp-10-connections", "per_second", ">=", 0.92, "best C server"),
    Bar("tcp-100-connections", "per_second", ">=", 1.05, "uvloop"),
    Bar("tcp-100-connections", "per_second", ">=", 0.90, "best C server"),
    Bar("tcp-protocol-64k", "per_second", ">=", 1.5, "uvloop"),
    Bar("tcp-buffered-64k", "per_second", ">=", 1.5, "uvloop"),
    Bar("tcp-protocol-64k", "per_second", ">=", 0.90, "best C server"),
    Bar("tcp-buffered-64k", "per_second", ">=", 0.90, "best C server"),
    *_round_trips(("udp-loopback", "udp-veth"), 0.35, p99=False),
    *_beside_c(1.15, "udp-veth", server="c-spin"),
    Bar("udp-flood", "per_second", ">=", 2.0, "uvloop"),
    Bar("udp-flood", "per_second", ">=", 0.90, "best C server"),
    *_round_trips(("udp-af_xdp",), 0.30),
    Bar("udp-af_xdp", "p50", "<=", 1.35, "c-af_xdp"),
    Bar("flood-af_xdp", "per_second", ">=", 3.0, "uvloop"),
    Bar("flood-af_xdp-batch", "per_second", ">=", 3.0, "uvloop"),
    Bar("flood-af_xdp-zerocopy", "per_second", ">=", 3.0, "uvloop"),
    Bar("udp-shm", "p50", "<=", 0.12, "uvloop"),
    *_round_trips(("tcp-af_xdp-64", "tcp-af_xdp-1k"), 0.40),
    Bar("tcp-af_xdp-64", "times_kernel", "<=", 1.0, "nothing"),
    Bar("tcp-af_xdp-1k", "times_kernel", "<=", 1.0, "nothing"),
    # AF_PACKET uses the kernel's receive path without its sockets, but each frame sent is a system call, as on the
    # kernel stack.
    *_round_trips(("udp-packet", "tcp-packet-64"), 0.45, p99=False),
    Bar("tcp-packet-64", "times_kernel", "<=", 1.0, "nothing"),
    Bar("http-af_xdp-aiohttp", "times_kernel", "<=", 0.85, "nothing"),
    *(
        Bar(f"http-af_xdp-{client}", "per_second", ">=", 1.0, "best peer")
        for client in ("aiohttp", "aiohttp-10", "httpx")
    ),
    Bar("tcp-shm-64", "p50", "<=", 0.15, "uvloop"),
    Bar("tcp-shm-10", "per_second", ">=", 2.0, "uvloop"),
    Bar("tcp-shm-100", "per_second", ">=", 2.0, "uvloop"),
    Bar("bulk-shm", "mbit", ">=", 10_000, "nothing"),
    Bar("bulk-af_xdp", "mbit", ">=", 2_000, "nothing"),
    Bar("bulk-af_xdp-replayed", "mbit", ">=", 1.0, "c-spin-recv"),
    Bar("tcp-idle-10k", "times_alone", "<=", 1.1, "nothing"),
    Bar("tcp-idle-10k", "bytes_per_connection", "<=", 1024, "nothing"),
    Bar("bulk-lossy", "mbit", ">=", 1.0, "uvloop"),
    Bar("udp-ef_vi", "times_shm", "<=", 1.15, "nothing"),
    Bar("tcp-ef_vi", "times_shm", "<=", 1.15, "nothing"),
    Bar("tcp-tcpdirect", "over_c", "<=", 2_000, "nothing"),
    Bar("tcp-tcpdirect", "share", "<=", 500, "nothing"),
    Bar("udp-tcpdirect", "over_c", "<=", 2_000, "nothing"),
    Bar("udp-tcpdirect", "share", "<=", 500, "nothing"),
    Bar("idle-tcpdirect", "over_c", "<=", 100, "nothing"),
    Bar("tcp-tcpdirect-sim", "times_tcpip", "<=", 1.2, "nothing"),
    Bar("udp-tcpdirect-sim", "times_tcpip", "<=", 1.2, "nothing"),
    Bar("stack-cost", "receive", "<=", 100, "nothing"),
    Bar("stack-cost", "send", "<=", 100, "nothing"),
    Bar("stack-cost", "segment_receive", "<=", 150, "nothing"),
    Bar("stack-cost", "segment_send", "<=", 150, "nothing"),
    Bar("stack-cost", "idle", "<=", 30, "nothing"),
    Bar("stack-cost", "idle_af_xdp", "<=", 30, "nothing"),
    Bar("call-soon-chain", "per_second", ">=", 1.0, "best peer"),
    Bar("call-soon-batch", "per_second", ">=", 1.0, "best peer"),
    Bar("task-await", "per_second", ">=", 1.0, "best peer"),
    Bar("loops-made", "cpu_ns", "<=", 1.0, "uvloop"),
    Bar("timers-100k", "cpu_ms", "<=", 1.0, "best peer"),
    Bar("sleep-500us", "p50", "<=", 20_000, "nothing"),
    Bar("sleep-500us", "early", "<=", 0, "nothing"),
    Bar("call-soon-threadsafe", "p50", "<=", 0.3, "uvloop"),
    Bar("idle-10k", "times_alone", "<=", 1.2, "nothing"),
    Bar("idle-10k", "bytes_per_connection", "<=", 1.0, "uvloop"),
    Bar("own-cost", "own", "<=", 500, "nothing"),
    *_beside_c(1.08, "tls-64", "tls-1k", server="c-spin"),
    *(Bar(case, "p99", "<=", 1.3, "c-spin") for case in ("tls-64", "tls-1k")),
    *_round_trips(("tls-64", "tls-1k"), 0.40, p99=False),
    *(Bar(case, "p50", "<=", 1.0, "sfloop+aiofastnet") for case in ("tls-64", "tls-1k")),
    *(Bar(case, "p99", "<=", 0.5, "uvloop+aiofastnet") for case in ("tls-64", "tls-1k")),
    *(Bar(case, "per_second", ">=", 1.5, "uvloop") for case in ("tls-64k", "tls-100-connections")),
    *(Bar(case, "per_second", ">=", 1.1, "uvloop+aiofastnet") for case in ("tls-64k", "tls-100-connections")),
    # `ceiling` is the rate that the receiver could reach. The source is the limit, because encrypting and sending takes
    # longer than receiving and decrypting.
    Bar("tls-bulk", "ceiling", ">=", 1.5, "uvloop"),
    Bar("tls-bulk", "ceiling", ">=", 1.1, "uvloop+aiofastnet"),
    Bar("tls-af_xdp-1k", "times_records", "<=", 1.3, "nothing"),
    Bar("tls-shm-1k", "times_records", "<=", 1.3, "nothing"),
    Bar("tls-handshakes", "per_second", ">=", 1.0, "uvloop"),
    Bar("tls-idle", "bytes_per_connection", "<=", 48 * 1024, "nothing"),
    *(Bar(f"ws-{program}-tls", "p50", "<=", 1.0, "sfloop+aiofastnet") for program in _WEBSOCKETS),
    *(Bar(f"ws-{program}{tls}", "p50", "<=", 1.0, "best peer") for program in _WEBSOCKETS for tls in ("", "-tls")),
    Bar("http-aiohttp", "per_second", ">=", 1.1, "uvloop"),
    Bar("http-uvicorn", "per_second", ">=", 1.1, "uvloop"),
    # One call per message, plus the calls that strace's own start and end add to 2,000 messages.
    Bar("syscalls-tcp", "recv", "<=", 1.05, "nothing"),
    Bar("syscalls-tcp", "send", "<=", 1.05, "nothing"),
    Bar("syscalls-tcp", "poll", "<=", 1.05, "nothing"),
    Bar("syscalls-tcp", "other", "<=", 0.05, "nothing"),
    # In batches: a few calls receive and answer a burst of 16.
    Bar("syscalls-udp", "recv", "<=", 0.25, "nothing"),
    Bar("syscalls-udp", "poll", "<=", 0.25, "nothing"),
)


@dataclass(frozen=True)
class Outcome:
    """sfloop's result against one bar."""

    bar: Bar
    verdict: Literal["met", "missed", "not measured"]
    #: The median figures of sfloop and of its rival.
    own: float | None = None
    other: float | None = None
    #: The contender that it was compared with.
    rival: str | None = None
    #: The median over the rounds of own ÷ other within a round, and the extremes; for "nothing", own itself.
    ratio: float | None = None
    low: float | None = None
    high: float | None = None
    #: Why it was not measured, or why it failed.
    reason: str | None = None
    #: The machine was too noisy in this case to judge the figure.
    noisy: bool = False


def _rival(bar: Bar, result: CaseResult) -> str | None:
    """The contender that a bar is compared with, or None if it was not measured."""
    if bar.against in ("uvloop", *COMBINED) or bar.against in C_SERVERS:
        return bar.against if result.values(bar.against, bar.metric) else None
    in_group = [
        name
        for name in result.samples
        if name.partition("+")[0] not in (OWN, AGAINST)
        and (name in C_SERVERS) == (bar.against == "best C server")
        and result.values(name, bar.metric)
    ]
    better = {metric.key: metric.better for metric in result.case.metrics}[bar.metric]
    choose = min if better == "lower" else max
    return choose(in_group, key=lambda name: statistics.median(result.values(name, bar.metric)), default=None)


def _not_measured(bar: Bar, result: CaseResult | None) -> Outcome | None:
    """The outcome if there is nothing to compare. If sfloop failed in the case, the bar is missed."""
    if result is None:
        return Outcome(bar, "not measured", reason="the case was not run")
    if result.skipped is not None:
        return Outcome(bar, "not measured", reason=result.skipped)
    if OWN in result.failures:
        return Outcome(bar, "missed", reason=f"{OWN} failed: {result.failures[OWN]}")
    if not result.values(OWN, bar.metric):
        return Outcome(bar, "not measured", reason=f"{OWN} has no figure")
    return None


def judge(bar: Bar, result: CaseResult | None, noisy: bool = False) -> Outcome:
    """Compare a result with a bar.

    The ratio is taken within each round, in which both ran next to each other. The median of the ratios counts.
    """
    nothing = _not_measured(bar, result)
    if nothing is not None or result is None:
        return nothing or Outcome(bar, "not measured")
    own = result.values(OWN, bar.metric)
    if bar.against == "nothing":
        rival, other, ratios = None, None, own
    else:
        rival = _rival(bar, result)
        if rival is None:
            return Outcome(bar, "not measured", own=statistics.median(own), reason=f"no figure of {bar.against}")
        theirs = result.values(rival, bar.metric)
        other = statistics.median(theirs)
        ratios = [mine / its for mine, its in zip(own, theirs, strict=False) if its]
        if not ratios:
            return Outcome(bar, "not measured", own=statistics.median(own), rival=rival, reason=f"{rival} measured 0")
    ratio = statistics.median(ratios)
    met = ratio <= bar.limit if bar.relation == "<=" else ratio >= bar.limit
    verdict: Literal["met", "missed"] = "met" if met else "missed"
    noisy = noisy and next(metric.timed for metric in result.case.metrics if metric.key == bar.metric)
    return Outcome(bar, verdict, statistics.median(own), other, rival, ratio, min(ratios), max(ratios), noisy=noisy)


def judge_all(results: Mapping[str, CaseResult], noisy: Mapping[str, bool]) -> list[Outcome]:
    """Compare all results with all bars of the cases that were run."""
    return [judge(bar, results[bar.case], noisy.get(bar.case, False)) for bar in BARS if bar.case in results]
