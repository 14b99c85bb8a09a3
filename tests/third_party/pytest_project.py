"""Another project's pytest suite on the loop under test, with the interface of a fork server.

A test that fails on the loop under test runs again on asyncio's own. If it fails there, too, the cause is the machine
or the suite, and the outcome says so.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import importlib.util
from collections.abc import Iterable, Iterator, Mapping

from conformance.forkserver.outcome import Outcome, Status
from conformance.forkserver.suite import SuiteError

from .pytest_process import PytestProcess
from .sdist import pinned

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
        self._pytest = PytestProcess(
            pinned(project.name).unpacked(without=(project.compiled,) if project.compiled else ()),
            project.arguments,
            source=project.source,
            plugins=project.plugins,
            excluded=project.excluded,
            environment=project.environment,
        )
        missing = [package for module, package in project.needs.items() if importlib.util.find_spec(module) is None]
        if missing:
            raise SuiteError(f"{project.name}'s tests need {', '.join(missing)}: pip install {' '.join(missing)}")
        if project.compiled:
            self._check_version(pinned(project.name).version, importlib.metadata.version(project.name))
        try:
            self.tests = self._pytest.collect(loop)
        except RuntimeError as error:
            raise SuiteError(f"{project.name}'s tests could not be collected:\n{error}") from None

    def _check_version(self, pinned: str, installed: str) -> None:
        if pinned != installed:
            name = self._project.name
            raise SuiteError(
                f"{name}'s tests are of {pinned}, and {installed} is installed: pip install {name}=={pinned}"
            )

    def run(self, test_ids: Iterable[str]) -> Iterator[Outcome]:
        """Run these tests and yield their outcomes as they end. Failures come last, after the run on asyncio."""
        failed: list[Outcome] = []
        for outcome in self._pytest.outcomes(self._loop, test_ids, jobs=self._jobs):
            if outcome.status.is_failure and self._loop != "asyncio":
                failed.append(outcome)
            else:
                yield outcome
        if failed:
            on_asyncio = self._pytest.outcomes("asyncio", [o.test_id for o in failed], jobs=self._jobs)
            again = {o.test_id: o for o in on_asyncio}
            too = sum(outcome.status.is_failure for outcome in again.values())
            if too > MOST_ON_ASYNCIO * len(self.tests):
                raise RuntimeError(
                    f"{too} of {self._project.name}'s {len(self.tests)} tests fail on asyncio's own loop: it is not "
                    f"the loop that is at fault. The first one: {next(iter(again.values())).detail}"
                )
            yield from (_judge(outcome, again.get(outcome.test_id)) for outcome in failed)

    def close(self) -> None:
        self._pytest.kill()


def _judge(outcome: Outcome, on_asyncio: Outcome | None) -> Outcome:
    if on_asyncio is None or not on_asyncio.status.is_failure:
        return outcome
    lines = [line for line in on_asyncio.detail.splitlines() if line.startswith("E  ")]
    why = lines[-1][1:].strip() if lines else on_asyncio.status.value
    return dataclasses.replace(
        outcome, status=Status.ASYNCIO_FAILS, detail=f"asyncio's own loop fails it here too: {why}"
    )
