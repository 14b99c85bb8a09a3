"""The fork server reports each way in which a test can end."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from conformance import cpython, forkserver_samples, loops
from conformance.forkserver.expectations import Expectations, Expected, Kind
from conformance.forkserver.outcome import Outcome, Status
from conformance.forkserver.pool import Pool
from conformance.forkserver.pytest_suite import loop_under_test
from conformance.forkserver.suite import SuiteError

ENDS = {
    "test_passes": (Status.PASS, ""),
    "test_makes_no_loop": (Status.NO_LOOP, ""),
    "test_fails": (Status.FAIL, "1 != 2"),
    "test_fails_in_a_subtest": (Status.FAIL, "1 != 0"),
    "test_raises": (Status.ERROR, "raised on purpose"),
    "test_skips": (Status.SKIP, "skipped on purpose"),
    "test_passes_unexpectedly": (Status.FAIL, "expected failure"),
    "test_hangs": (Status.HANG, "before the hang"),
    "test_hangs_in_native_code": (Status.HANG, "killed after"),
    "test_crashes": (Status.CRASH, "SIGSEGV"),
    "test_exits": (Status.CRASH, "exited with 3"),
    "test_leaves_a_descriptor_open": (Status.FAIL, "/dev/null"),
    "test_leaves_a_process_running": (Status.NO_LOOP, ""),
}


class SamplesSuite(cpython.CPythonSuite):
    time_limit = 2.0
    id_prefix = "conformance.forkserver_samples.Samples."

    def load(self) -> list[str]:
        self._creations = loops.substitute(loops.target(self._loop))
        return [name for name in dir(forkserver_samples.Samples) if name.startswith("test_")]


def run_samples(loop: str, names: list[str]) -> dict[str, Outcome]:
    """Run samples in a forked process, because the suite changes asyncio and the fork server needs a single thread."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            suite = SamplesSuite(loop)
            suite.load()
            with os.fdopen(writer, "w") as answers:
                Pool(suite, 2, lambda outcome: print(outcome.to_json(), file=answers)).run(names)
            status = 0
        finally:
            os._exit(status)
    os.close(writer)
    with os.fdopen(reader) as lines:
        outcomes = [Outcome.from_json(line) for line in lines]
    assert os.waitpid(pid, 0)[1] == 0
    return {outcome.test_id: outcome for outcome in outcomes}


@pytest.fixture(scope="module")
def pid_file(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("samples") / "pid"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(forkserver_samples.PID_FILE_VARIABLE, str(path))
        yield path


@pytest.fixture(scope="module")
def outcomes(pid_file: Path) -> dict[str, Outcome]:
    return run_samples("asyncio", list(ENDS))


@pytest.mark.parametrize("name", ENDS)
def test_end_is_reported(name: str, outcomes: dict[str, Outcome]) -> None:
    status, words = ENDS[name]
    assert outcomes[name].status is status, outcomes[name]
    assert words in outcomes[name].detail


def test_processes_left_behind_are_killed(pid_file: Path, outcomes: dict[str, Outcome]) -> None:
    process = Path("/proc") / pid_file.read_text()
    deadline = time.monotonic() + 5
    while process.exists() and "(sleep) Z" not in (process / "stat").read_text():
        assert time.monotonic() < deadline, "the process that the test left behind is still running"
        time.sleep(0.01)


def test_asyncios_own_loop_is_noticed() -> None:
    if loop_under_test() == "asyncio":
        pytest.skip("asyncio's own loop is the loop under test")
    outcome = run_samples(loop_under_test(), ["test_makes_asyncios_own_loop"])["test_makes_asyncios_own_loop"]
    assert outcome.status is Status.ERROR
    assert "asyncio's own loop" in outcome.detail


def test_unknown_loop_is_refused() -> None:
    with pytest.raises(SuiteError, match="choose one of asyncio, uvloop, sfloop"):
        loops.target("libev")


class TestExpectations:
    exceptions = Expectations(
        [Expected("m.C.test_a*", "looks inside"), Expected("m.C.test_hang", "waits", (3, 13), status=Status.HANG)],
        (3, 13, 1),
    )

    @pytest.mark.parametrize(
        ("test_id", "status", "kind"),
        [
            ("m.C.test_abc", Status.FAIL, Kind.EXPECTED),
            ("m.C.test_abc", Status.PASS, Kind.UNEXPECTED_PASS),
            ("m.C.test_abc", Status.SKIP, Kind.SKIPPED),
            ("m.C.test_b", Status.PASS, Kind.OK),
            ("m.C.test_b", Status.HANG, Kind.FAILED),
            ("m.C.test_hang", Status.HANG, Kind.EXPECTED),
            ("m.C.test_hang", Status.CRASH, Kind.FAILED),
            ("m.C.test_b", Status.NO_LOOP, Kind.NO_LOOP),
        ],
    )
    def test_verdict(self, test_id: str, status: Status, kind: Kind) -> None:
        assert self.exceptions.judge(Outcome(test_id, status)).kind is kind

    def test_other_python_versions_are_not_concerned(self) -> None:
        older = Expectations([Expected("m.C.test_hang", "waits", since=(3, 13))], (3, 12, 9))
        assert older.judge(Outcome("m.C.test_hang", Status.PASS)).kind is Kind.OK

    def test_exception_without_a_test_is_found(self) -> None:
        unused = self.exceptions.unused(["m.C.test_abc"])
        assert [e.pattern for e in unused] == ["m.C.test_hang"]


def test_substituting_where_python_has_no_policies() -> None:
    """As on Python 3.16: remove the names first."""
    code = """
import asyncio, asyncio.events, asyncio.unix_events
for module in asyncio.events, asyncio.unix_events, asyncio:
    for name in [name for name in vars(module) if "Policy" in name or "_policy" in name]:
        delattr(module, name)
asyncio.new_event_loop = asyncio.events.new_event_loop = asyncio.SelectorEventLoop
from conformance import loops
creations = loops.substitute(loops.target("sfloop"))
print(asyncio.new_event_loop is asyncio.events.new_event_loop, creations.under_test, creations.foreign)
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=Path(__file__).resolve().parents[1],
    )
    assert done.returncode == 0, done.stderr
    same, made, foreign = done.stdout.split()
    assert (same, foreign) == ("True", "[]")
    assert int(made) > 0
