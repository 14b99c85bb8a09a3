"""The kept results of ``make ecosystem``, one record for each suite, and the table that is printed at the end."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
from collections.abc import Iterable, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from . import calls
from .carrying import Carried
from .running import Run
from .suite import Suite

#: More than this is slower than asyncio, if the suite takes long enough to tell.
MOST_RATIO, TELLING_SECONDS = 1.10, 10
#: With more processes for each CPU than this, other programs ran, and the times say nothing.
MOST_LOAD = 2
_HEAD = ("suite", "version", "passed", "failed", "skipped", "only on sfloop", "asyncio s", "sfloop s", "ratio")

Record = dict[str, Any]


def record(suite: Suite, run: Run, carried: Carried, *, quick: bool) -> Record:
    """A suite's result, for the file and for the page."""
    return {
        "project": suite.source.name,
        "version": suite.source.version,
        "python": platform.python_version(),
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d"),
        "quick": quick,
        "busy": os.getloadavg()[0] > MOST_LOAD * (os.cpu_count() or 1),
        "asyncio": dataclasses.asdict(run.sides["asyncio"]),
        "sfloop": dataclasses.asdict(run.sides["sfloop"]),
        **run.verdict.to_json(),
        "left_out": dict(suite.left_out),
        "calls": calls.of_archive(suite.source.path()),
        "through": suite.through,
        "carried": carried,
    }


def ratio(result: Record) -> float:
    """The time on sfloop, in times of the time on asyncio."""
    return float(result["sfloop"]["seconds"] / max(result["asyncio"]["seconds"], 0.1))


def read(path: Path) -> dict[str, Record]:
    """The records of a file by the suites' names. None if there is no file."""
    return dict(json.loads(path.read_text())) if path.exists() else {}


def write(path: Path, records: Mapping[str, Record]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(dict(sorted(records.items())), indent=1, ensure_ascii=False) + "\n")


def table(records: Mapping[str, Record], not_run: Mapping[str, str]) -> str:
    """The table of a run, and under it the tests that fail only on sfloop, with the reasons."""
    rows = [_HEAD, *(_row(name, result) for name, result in records.items())]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    for name, result in records.items():
        lines += _remarks(name, result)
    lines += [f"{name}: did not run: {reason}" for name, reason in not_run.items()]
    return "\n".join(lines)


def _row(name: str, result: Record) -> tuple[str, ...]:
    on, mine = result["asyncio"], result["sfloop"]
    return (
        name,
        result["version"],
        str(mine["passed"]),
        str(mine["failed"]),
        str(mine["skipped"]),
        f"{len(result['only_on_sfloop'])}, white-box {len(result['white_box'])}",
        f"{on['seconds']:.1f}",
        f"{mine['seconds']:.1f}",
        f"{ratio(result):.2f}",
    )


def _remarks(name: str, result: Record) -> Iterable[str]:
    if result["broken"]:
        yield f"{name}: BROKEN: {result['broken']}"
    for test_id, detail in result["only_on_sfloop"].items():
        yield f"{name}: FAILED only on sfloop: {test_id}: {detail}"
    for test_id, reason in result["white_box"].items():
        yield f"{name}: white-box test: {test_id}: {reason}"
    for expression in result["stale"]:
        yield f"{name}: STALE: no failed test matches the white-box expression {expression!r}: remove it from the suite"
    if result["on_both"]:
        yield f"{name}: {_some(result['on_both'])} failed on both loops"
    if result["only_on_asyncio"]:
        yield f"{name}: {_some(result['only_on_asyncio'])} failed on asyncio only"
    if result["busy"]:
        yield f"{name}: the machine was busy, so the times say nothing"
    elif ratio(result) > MOST_RATIO and result["asyncio"]["seconds"] >= TELLING_SECONDS:
        yield f"{name}: took {ratio(result):.2f} times as long on sfloop as on asyncio"


def _some(test_ids: list[str]) -> str:
    return f"{len(test_ids)} ({', '.join(test_ids[:5])}{', …' if len(test_ids) > 5 else ''})"
