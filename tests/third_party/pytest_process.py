"""Another project's pytest in processes of its own, with the loop under test and an outcome for each test.

pytest-xdist's workers run the tests. A time limit for each test ends its worker, so a hang or a crash costs one test.
"""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO

from conformance.forkserver.outcome import Outcome, Status

from . import localhost

HERE = Path(__file__).resolve().parent


@dataclasses.dataclass
class PytestProcess:
    """How to start a project's pytest.

    ``directory`` is the root of the project's source. ``source`` is the location of its package in it. ``plugins`` are
    modules of pytest plugins for the suite and for every pytest that it starts; no others are loaded. ``excluded`` is a
    regular expression for test ids that are not run. ``environment`` holds more environment variables. ``prefix`` are
    words before the command.
    """

    directory: Path
    arguments: tuple[str, ...]
    source: str = "."
    plugins: tuple[str, ...] = ()
    excluded: str = ""
    environment: Mapping[str, str] = dataclasses.field(default_factory=dict)
    python: str = sys.executable
    prefix: tuple[str, ...] = ()
    process: subprocess.Popen[bytes] | None = None

    def collect(self, loop: str) -> list[str]:
        """The ids of the tests. Raises RuntimeError with the end of pytest's output if they cannot be collected."""
        with tempfile.TemporaryFile("w+") as log:
            lines = list(self._lines(loop, ["--collect-only", "-q"], None, log.fileno()))
            if len(lines) != 1:
                raise RuntimeError(_end_of(log))
        return list(json.loads(lines[0])["tests"])

    def outcomes(self, loop: str, test_ids: Iterable[str] | None, *, jobs: int) -> Iterator[Outcome]:
        """Run these tests, or all, and yield their outcomes as they end. Raises RuntimeError with the end of pytest's
        output if all tests were to run and pytest itself failed."""
        with tempfile.NamedTemporaryFile("w") as selection, tempfile.TemporaryFile("w+") as log:
            wanted = list(test_ids or ())
            selection.write("".join(f"{test_id}\n" for test_id in wanted))
            selection.flush()
            seen: set[str] = set()
            selected = None if test_ids is None else selection.name
            for line in self._lines(loop, ["-n", str(jobs)], selected, log.fileno()):
                outcome = Outcome.from_json(line)
                seen.add(outcome.test_id)
                yield outcome
            if missing := [test_id for test_id in wanted if test_id not in seen]:
                detail = f"pytest ended without an outcome for it; the end of its output:\n{_end_of(log)}"
                yield from (Outcome(test_id, Status.ERROR, detail) for test_id in missing)
            if test_ids is None and (not seen or not self._ended_well()):
                raise RuntimeError(_end_of(log))

    def kill(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def _ended_well(self) -> bool:
        """Whether pytest ran the tests that it found. 1: some failed."""
        return self.process is not None and self.process.returncode in (0, 1)

    def _lines(self, loop: str, arguments: list[str], selection: str | None, log: int) -> Iterator[str]:
        reader, writer = os.pipe()
        with os.fdopen(reader) as lines:
            try:
                self.process = subprocess.Popen(
                    [
                        *localhost.command_prefix(),
                        *self.prefix,
                        self.python,
                        "-m",
                        "pytest",
                        *self.arguments,
                        *arguments,
                    ],
                    cwd=self.directory,
                    env=self._environment(loop, selection, writer),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    pass_fds=[writer],
                )
            finally:
                os.close(writer)
            yield from lines
            self.process.wait()

    def _environment(self, loop: str, selection: str | None, descriptor: int) -> dict[str, str]:
        paths = [self.directory / self.source, HERE / "plugins", HERE.parent]
        environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("PYTEST_", "COV_"))},
            "PYTHONPATH": os.pathsep.join(str(path) for path in paths),
            "PYTHONDONTWRITEBYTECODE": "1",  # several Python versions share the unpacked source
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            "PYTEST_PLUGINS": ",".join(("loop_under_test", *self.plugins)),
            "SFLOOP_TEST_LOOP": loop,
            "OUTCOME_FD": str(descriptor),
            "OUTCOME_EXCLUDED": self.excluded,
            **self.environment,
        }
        return {**environment, "OUTCOME_SELECTION": selection} if selection else environment


def _end_of(log: IO[str]) -> str:
    log.seek(0)
    return log.read()[-4000:]
