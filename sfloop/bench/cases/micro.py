"""The loop alone: callbacks, tasks, timers, sleeping, waking from another thread."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sfloop.bench.loops import Contender
from sfloop.bench.model import Case, Metric, Sample
from sfloop.bench.programs import micro
from sfloop.bench.rig import Load, Rig
from sfloop.bench.serve import Program

TIMERS = 100_000
LOOPS = 200
SLEEP_SECONDS = 0.0005


def _run(rig: Rig, contender: Contender, program: Program, **parameters: Any) -> Load:
    seconds, warmup = rig.settings.seconds, rig.settings.warmup
    given = {"seconds": seconds, "warmup": warmup, **parameters}
    ticks = rig.ticks()
    with rig.server(contender, program, parameters=given) as server:
        return rig.own(server, ticks, seconds + warmup)


def _rate(program: Program) -> Callable[[Rig, Contender], Sample]:
    def measure(rig: Rig, contender: Contender) -> Sample:
        return _run(rig, contender, program).rate()

    return measure


def _timers(rig: Rig, contender: Contender) -> Sample:
    load = _run(rig, contender, micro.timers, count=TIMERS)
    return Sample({"cpu_ms": load.raw["cpu_seconds"] * 1e3}, load.disturbance)


def _loops_made(rig: Rig, contender: Contender) -> Sample:
    load = _run(rig, contender, micro.loops_made, count=LOOPS)
    return Sample({"cpu_ns": load.raw["cpu_seconds"] / LOOPS * 1e9}, load.disturbance)


def _sleep(rig: Rig, contender: Contender) -> Sample:
    load = _run(rig, contender, micro.sleep, delay=SLEEP_SECONDS)
    values = {**load.latencies.summary(), "early": load.raw["early"], "earliest": load.raw["earliest"]}
    return Sample(values, load.disturbance, load.histogram)


def _threadsafe(rig: Rig, contender: Contender) -> Sample:
    load = _run(rig, contender, micro.threadsafe, thread_cpu=rig.settings.cpus.load)
    return Sample(load.latencies.summary(), load.disturbance, load.histogram)


_CALLBACKS = Metric("per_second", "callbacks/s", "per_s", "higher")

CASES = (
    Case("call-soon-chain", "call_soon, each callback schedules the next", (_CALLBACKS,), _rate(micro.call_soon_chain)),
    Case("call-soon-batch", "call_soon, 1,000 scheduled, then run", (_CALLBACKS,), _rate(micro.call_soon_batch)),
    Case(
        "task-await",
        "create_task and await, one after the other",
        (Metric("per_second", "tasks/s", "per_s", "higher"),),
        _rate(micro.task_await),
    ),
    Case(
        "loops-made",
        "a loop made, run and closed, as by asyncio.run() of nothing",
        (Metric("cpu_ns", "CPU time a loop", "ns", "lower"),),
        _loops_made,
        scaled_seconds=0.0,
        fixed_seconds=0.2,
    ),
    Case(
        "timers-100k",
        "100,000 call_later, half cancelled, the rest run",
        (Metric("cpu_ms", "CPU time", "ms", "lower"),),
        _timers,
        scaled_seconds=0.0,
        fixed_seconds=0.7,
    ),
    Case(
        "sleep-500us",
        "asyncio.sleep(500 µs)",
        (
            Metric("p50", "lateness p50", "ns", "lower"),
            Metric("p99", "lateness p99", "ns", "lower"),
            Metric("early", "returned early", "count", "lower", timed=False),
            Metric("earliest", "earliest by", "ns", "lower"),
        ),
        _sleep,
    ),
    Case(
        "call-soon-threadsafe",
        "call_soon_threadsafe from another thread to its callback",
        (
            Metric("p50", "latency p50", "ns", "lower"),
            Metric("p99", "latency p99", "ns", "lower"),
            Metric("p99.9", "latency p99.9", "ns", "lower", judged=False),
        ),
        _threadsafe,
    ),
)
