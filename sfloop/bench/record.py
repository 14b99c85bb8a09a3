"""A run as JSON: every figure of every round, the merged histograms, the noise and the bars."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sfloop.bench.bars import Outcome
from sfloop.bench.compare import Comparison
from sfloop.bench.cpus import machine
from sfloop.bench.model import CaseResult
from sfloop.bench.rounds import Run

#: Increased when a reader of older files would misread a newer one.
SCHEMA = 1


def _case(result: CaseResult) -> dict[str, Any]:
    contenders: dict[str, Any] = {}
    for name, samples in result.samples.items():
        histogram = result.histogram(name)
        contenders[name] = {
            "rounds": [sample.values for sample in samples],
            "disturbances": [dataclasses.asdict(sample.disturbance) for sample in samples],
            "histogram": histogram.buckets() if histogram is not None else None,
        }
    return {
        "title": result.case.title,
        "metrics": [dataclasses.asdict(metric) for metric in result.case.metrics],
        "skipped": result.skipped,
        "failures": result.failures,
        "contenders": contenders,
    }


def document(run: Run, outcomes: Sequence[Outcome], comparisons: Sequence[Comparison], started: str) -> dict[str, Any]:
    """The run as plain data. `started` is an ISO 8601 time. Latencies and histograms are in ns."""
    settings = run.settings
    return {
        "schema": SCHEMA,
        "started": started,
        "machine": machine(),
        "settings": {
            "rounds": settings.rounds,
            "seconds": settings.seconds,
            "warmup": settings.warmup,
            "server_cpu": settings.cpus.server,
            "load_cpu": settings.cpus.load,
            "cpus_are_siblings": settings.cpus.siblings,
        },
        "contenders": [dataclasses.asdict(contender) for contender in run.contenders],
        "cases": {name: _case(result) for name, result in run.results.items()},
        "noise": {name: dataclasses.asdict(verdict) for name, verdict in run.verdicts().items()},
        "bars": [{**dataclasses.asdict(outcome), "by_peer": outcome.bar.by_peer} for outcome in outcomes],
        "against": [dataclasses.asdict(comparison) for comparison in comparisons],
    }


def write(path: Path, run: Run, outcomes: Sequence[Outcome], comparisons: Sequence[Comparison], started: str) -> None:
    """Write the run to a file."""
    path.write_text(json.dumps(document(run, outcomes, comparisons, started)) + "\n")
