"""A pytest plugin for other projects' suites: selects tests by id, and writes one outcome line for each.

``OUTCOME_FD`` is the descriptor to write to. ``OUTCOME_SELECTION``, if set, names a file with the ids to run.
``OUTCOME_EXCLUDED`` is a regular expression for ids that are not run. With ``--collect-only`` the ids are written.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest
from conformance.forkserver.outcome import Outcome, Status

_RANK = [Status.PASS, Status.SKIP, Status.FAIL, Status.ERROR, Status.CRASH]


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):  # in pytest-xdist's workers the controller reports
        config.pluginmanager.register(_Reporter(int(os.environ["OUTCOME_FD"])), "outcome-reporter")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    excluded = re.compile(os.environ.get("OUTCOME_EXCLUDED") or r"(?!)")
    selection = os.environ.get("OUTCOME_SELECTION")
    selected = set(Path(selection).read_text().splitlines()) if selection else None
    kept = [
        item for item in items if not excluded.search(item.nodeid) and (selected is None or item.nodeid in selected)
    ]
    config.hook.pytest_deselected(items=[item for item in items if item not in kept])
    items[:] = kept


class _Reporter:
    def __init__(self, descriptor: int) -> None:
        self._lines = os.fdopen(descriptor, "w", encoding="utf-8", closefd=False)
        self._parts: dict[str, list[tuple[Status, str, float]]] = {}

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        if session.config.option.collectonly:
            print(json.dumps({"tests": [item.nodeid for item in session.items]}), file=self._lines, flush=True)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        parts = self._parts.setdefault(report.nodeid, [])
        parts.append((_status(report), _detail(report), report.duration))
        if report.when not in ("setup", "call"):  # "teardown", or pytest-xdist's "???" for a worker that died
            status, detail, _ = max(parts, key=lambda part: _RANK.index(part[0]))
            seconds = sum(part[2] for part in parts)
            print(Outcome(report.nodeid, status, detail, seconds).to_json(), file=self._lines, flush=True)
            del self._parts[report.nodeid]


def _status(report: pytest.TestReport) -> Status:
    if report.failed:
        return {"call": Status.FAIL, "setup": Status.ERROR, "teardown": Status.ERROR}.get(
            report.when or "", Status.CRASH
        )
    if report.skipped and not hasattr(report, "wasxfail"):
        return Status.SKIP
    return Status.PASS


def _detail(report: pytest.TestReport) -> str:
    if report.skipped and isinstance(report.longrepr, tuple):
        return report.longrepr[2].removeprefix("Skipped: ")
    if report.failed:
        return "\n".join([report.longreprtext, *(f"--- {title} ---\n{text}" for title, text in report.sections)])
    return ""
