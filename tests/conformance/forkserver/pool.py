"""The fork server's pool: a few test processes at a time, each with a time limit."""

from __future__ import annotations

import dataclasses
import os
import selectors
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from .child import OUTCOME_FILE, OUTPUT_FILE, run_child
from .outcome import Outcome, Status
from .suite import Suite

OUTPUT_TAIL = 16_000  # characters of a failed test's output that are kept


@dataclasses.dataclass
class _Running:
    test_id: str
    pid: int
    pidfd: int
    directory: Path
    started: float
    time_limit: float
    killed: bool = False

    @property
    def deadline(self) -> float:
        return self.started + self.time_limit


class Pool:
    """Runs a suite's tests, ``jobs`` at a time. The process must be single-threaded, because it forks."""

    def __init__(self, suite: Suite, jobs: int, report: Callable[[Outcome], None]) -> None:
        self._suite = suite
        self._jobs = jobs
        self._report = report
        self._selector = selectors.DefaultSelector()
        self._running: dict[int, _Running] = {}
        self._root = Path(tempfile.mkdtemp(prefix="loop-tests-"))
        self._count = 0

    def run(self, test_ids: Iterable[str]) -> None:
        """Run the tests and report each outcome when it arrives. Kills the running tests on any exception."""
        try:
            for test_id in test_ids:
                while len(self._running) >= self._jobs:
                    self._wait()
                self._start(test_id)
            while self._running:
                self._wait()
        finally:
            for running in list(self._running.values()):
                self._kill(running)
                os.waitpid(running.pid, 0)
            self._selector.close()
            shutil.rmtree(self._root, ignore_errors=True)

    def _start(self, test_id: str) -> None:
        self._count += 1
        directory = self._root / str(self._count)
        directory.mkdir()
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            run_child(self._suite, test_id, directory)
        try:
            os.setpgid(pid, pid)  # the child does this, too, so that the group exists before a kill whichever is first
        except (PermissionError, ProcessLookupError):
            pass
        limit = self._suite.time_limit_of(test_id)
        running = _Running(test_id, pid, os.pidfd_open(pid), directory, time.monotonic(), limit)
        self._running[running.pidfd] = running
        self._selector.register(running.pidfd, selectors.EVENT_READ)

    def _wait(self) -> None:
        """Wait until a process ends or reaches its limit."""
        deadline = min(running.deadline for running in self._running.values())
        for key, _ in self._selector.select(max(deadline - time.monotonic(), 0.0)):
            self._reap(self._running[key.fd])
        now = time.monotonic()
        for running in list(self._running.values()):
            if not running.killed and now >= running.deadline:
                running.killed = True
                self._kill(running)
                self._reap(running)

    def _kill(self, running: _Running) -> None:
        try:
            os.killpg(running.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass

    def _reap(self, running: _Running) -> None:
        # The leader is a zombie until waitpid(), so no other process can have its group id.
        self._kill(running)
        _, wait_status = os.waitpid(running.pid, 0)
        self._selector.unregister(running.pidfd)
        os.close(running.pidfd)
        del self._running[running.pidfd]
        outcome = self._outcome(running, os.waitstatus_to_exitcode(wait_status))
        shutil.rmtree(running.directory, ignore_errors=True)
        self._report(outcome)

    def _outcome(self, running: _Running, exit_code: int) -> Outcome:
        output_file = running.directory / OUTPUT_FILE
        output = output_file.read_text(errors="replace") if output_file.exists() else ""
        try:
            outcome = Outcome.from_json((running.directory / OUTCOME_FILE).read_text())
        except FileNotFoundError:
            seconds = time.monotonic() - running.started
            if running.killed:
                status, why = Status.HANG, f"killed after {running.time_limit:g} s"
            elif exit_code < 0:
                status, why = Status.CRASH, f"died of {signal.Signals(-exit_code).name}"
            else:
                status, why = Status.CRASH, f"exited with {exit_code} before the test ended"
            return Outcome(running.test_id, status, f"{why}\n{output[-OUTPUT_TAIL:]}", seconds)
        if outcome.status.is_failure and output:
            detail = f"{outcome.detail}\n--- output ---\n{output[-OUTPUT_TAIL:]}"
            return dataclasses.replace(outcome, detail=detail)
        return outcome
