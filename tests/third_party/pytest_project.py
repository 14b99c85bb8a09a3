"""Another project's pytest suite on the loop under test, with the interface of a fork server.

The suite runs in pytest-xdist's workers. A time limit for each test ends its worker, so a hang or a crash costs one
test. A test that fails on the loop under test runs again on asyncio's own. If it fails there, too, the cause is the
machine or the suite, and the outcome says so.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from conformance.forkserver.outcome import Outcome, Status
from conformance.forkserver.suite import SuiteError

from . import localhost
from .sdist import pinned_version, unpacked

HERE = Path(__file__).parent

#: If a larger share of a suite fails on asyncio's own loop, the run is broken.
MOST_ON_ASYNCIO = 0.03


@dataclasses.dataclass(frozen=True)
class Project:
    """How to run one project's suite.

    ``source`` is the location of its package in the source distribution. ``excluded`` is a regular expression for test
    ids that are not run. ``needs`` maps modules that the suite imports to their packages. ``plugins`` are modules of
    pytest plugins for the suite and for every pytest that it starts; no others are loaded. ``compiled`` is the folder
    of a package that has to be compiled: the tests import the installed package of the same version instead.
    ``environment`` holds more environment variables.
    """

    name: str
    arguments: tuple[str, ...]
    needs: dict[str, str]
    source: str = "."
    excluded: str = ""
    plugins: tuple[str, ...] = ()
    compiled: str = ""
    environment: Mapping[str, str] = dataclasses.field(default_factory=dict)


class PytestRun:
    """Lists and runs a project's tests."""

    def __init__(self, project: Project, loop: str, *, jobs: int) -> None:
        self._project = project
        self._loop = loop
        self._jobs = jobs
        self._directory = unpacked(project.name, without=(project.compiled,) if project.compiled else ())
        self._process: subprocess.Popen[bytes] | None = None
        missing = [package for module, package in project.needs.items() if importlib.util.find_spec(module) is None]
        if missing:
            raise SuiteError(f"{project.name}'s tests need {', '.join(missing)}: pip install {' '.join(missing)}")
        if project.compiled:
            self._check_version(pinned_version(project.name), importlib.metadata.version(project.name))
        self.tests = self._collect()

    def _check_version(self, pinned: str, installed: str) -> None:
        if pinned != installed:
            name = self._project.name
            raise SuiteError(
                f"{name}'s tests are of {pinned}, and {installed} is installed: pip install {name}=={pinned}"
            )

    def _collect(self) -> list[str]:
        with tempfile.TemporaryFile("w+") as log:
            lines = list(self._pytest(self._loop, ["--collect-only", "-q"], None, log.fileno()))
            log.seek(0)
            if len(lines) != 1:
                raise SuiteError(f"{self._project.name}'s tests could not be collected:\n{log.read()[-4000:]}")
        return list(json.loads(lines[0])["tests"])

    def run(self, test_ids: Iterable[str]) -> Iterator[Outcome]:
        """Run these tests and yield their outcomes as they end. Failures come last, after the run on asyncio."""
        failed: list[Outcome] = []
        for outcome in self._outcomes(self._loop, test_ids):
            if outcome.status.is_failure and self._loop != "asyncio":
                failed.append(outcome)
            else:
                yield outcome
        if failed:
            again = {o.test_id: o for o in self._outcomes("asyncio", [o.test_id for o in failed])}
            too = sum(outcome.status.is_failure for outcome in again.values())
            if too > MOST_ON_ASYNCIO * len(self.tests):
                raise RuntimeError(
                    f"{too} of {self._project.name}'s {len(self.tests)} tests fail on asyncio's own loop: it is not "
                    f"the loop that is at fault. The first one: {next(iter(again.values())).detail}"
                )
            yield from (_judge(outcome, again.get(outcome.test_id)) for outcome in failed)

    def close(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def _outcomes(self, loop: str, test_ids: Iterable[str]) -> Iterator[Outcome]:
        with tempfile.NamedTemporaryFile("w") as selection, tempfile.TemporaryFile("w+") as log:
            wanted = list(test_ids)
            selection.write("".join(f"{test_id}\n" for test_id in wanted))
            selection.flush()
            seen: set[str] = set()
            for line in self._pytest(loop, ["-n", str(self._jobs)], selection.name, log.fileno()):
                outcome = Outcome.from_json(line)
                seen.add(outcome.test_id)
                yield outcome
            if missing := [test_id for test_id in wanted if test_id not in seen]:
                log.seek(0)
                detail = f"pytest ended without an outcome for it; the end of its output:\n{log.read()[-4000:]}"
                yield from (Outcome(test_id, Status.ERROR, detail) for test_id in missing)

    def _pytest(self, loop: str, arguments: list[str], selection: str | None, log: int) -> Iterator[str]:
        reader, writer = os.pipe()
        with os.fdopen(reader) as lines:
            try:
                self._process = subprocess.Popen(
                    [*localhost.command_prefix(), sys.executable, "-m", "pytest", *self._project.arguments, *arguments],
                    cwd=self._directory,
                    env=self._environment(loop, selection, writer),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    pass_fds=[writer],
                )
            finally:
                os.close(writer)
            yield from lines
            self._process.wait()

    def _environment(self, loop: str, selection: str | None, descriptor: int) -> dict[str, str]:
        paths = [self._directory / self._project.source, HERE / "plugins", HERE.parent]
        environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("PYTEST_", "COV_"))},
            "PYTHONPATH": os.pathsep.join(str(path) for path in paths),
            "PYTHONDONTWRITEBYTECODE": "1",  # several Python versions share the unpacked source
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            "PYTEST_PLUGINS": ",".join(("loop_under_test", *self._project.plugins)),
            "SFLOOP_TEST_LOOP": loop,
            "OUTCOME_FD": str(descriptor),
            "OUTCOME_EXCLUDED": self._project.excluded,
            **self._project.environment,
        }
        return {**environment, "OUTCOME_SELECTION": selection} if selection else environment


def _judge(outcome: Outcome, on_asyncio: Outcome | None) -> Outcome:
    if on_asyncio is None or not on_asyncio.status.is_failure:
        return outcome
    lines = [line for line in on_asyncio.detail.splitlines() if line.startswith("E  ")]
    why = lines[-1][1:].strip() if lines else on_asyncio.status.value
    return dataclasses.replace(
        outcome, status=Status.ASYNCIO_FAILS, detail=f"asyncio's own loop fails it here too: {why}"
    )
