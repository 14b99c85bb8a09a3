"""Starts a fork server and returns its outcomes, in order or by test id."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import IO, Protocol

from .outcome import Outcome
from .suite import SuiteError


class Server(Protocol):
    """An object that lists and runs tests: a fork server, or another project's pytest."""

    tests: list[str]

    def run(self, test_ids: Iterable[str], /) -> Iterator[Outcome]: ...

    def close(self) -> None: ...


class ForkServer:
    """A fork server process for one suite and one loop.

    ``command`` is the argument list before ``serve``'s options. ``environment`` is added to this process's own. Raises
    SuiteError with the server's message if the suite cannot run here.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
        self._process = subprocess.Popen(
            [sys.executable, *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **(environment or {})},
        )
        try:
            self.tests = self._read_tests()
        except BaseException:
            self.close()
            raise

    def _read_tests(self) -> list[str]:
        line = _pipe(self._process.stdout).readline()
        if not line:
            raise SuiteError(f"the fork server exited with status {self._process.wait()}; its errors are above")
        answer = json.loads(line)
        if "unusable" in answer:
            raise SuiteError(answer["unusable"])
        return list(answer["tests"])

    def run(self, test_ids: Iterable[str]) -> Iterator[Outcome]:
        """Run these tests and yield their outcomes in the order in which the tests end."""
        stdin = _pipe(self._process.stdin)
        stdin.write("".join(f"{test_id}\n" for test_id in test_ids))
        stdin.close()
        for line in _pipe(self._process.stdout):
            yield Outcome.from_json(line)
        if status := self._process.wait():
            raise RuntimeError(f"the fork server exited with status {status}; its errors are above")

    def close(self) -> None:
        """End the server. It kills tests that are still running."""
        if self._process.poll() is None:
            self._process.terminate()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()


def _pipe(stream: IO[str] | None) -> IO[str]:
    assert stream is not None
    return stream


#: Seconds without any outcome after which the server has failed. Each test has a limit, so this is for the server.
SILENCE_LIMIT = 300.0


class Background:
    """Runs tests in a fork server while the caller requests one outcome after another."""

    def __init__(self, server: Server, test_ids: Sequence[str]) -> None:
        self._server = server
        self._outcomes: dict[str, Outcome] = {}
        self._arrived = threading.Condition()
        self._failure: BaseException | None = None
        self._done = False
        self._thread = threading.Thread(target=self._collect, args=(list(test_ids),), daemon=True)
        self._thread.start()

    def _collect(self, test_ids: list[str]) -> None:
        try:
            for outcome in self._server.run(test_ids):
                with self._arrived:
                    self._outcomes[outcome.test_id] = outcome
                    self._arrived.notify_all()
        except BaseException as error:  # wait_for() raises it
            self._failure = error
        finally:
            with self._arrived:
                self._done = True
                self._arrived.notify_all()

    def wait_for(self, test_id: str) -> Outcome:
        """Wait for the outcome of one test.

        Raises RuntimeError if the server ended without it, and TimeoutError if the server is silent for too long.
        """
        with self._arrived:
            while test_id not in self._outcomes and not self._done:
                count = len(self._outcomes)
                if not self._arrived.wait(SILENCE_LIMIT) and len(self._outcomes) == count:
                    raise TimeoutError(f"no outcome from the server in {SILENCE_LIMIT:g} s, waiting for {test_id}")
            if test_id in self._outcomes:
                return self._outcomes[test_id]
        raise RuntimeError(f"the server ended without an outcome for {test_id}: {self._failure}") from self._failure

    def close(self) -> None:
        self._server.close()
        self._thread.join()
