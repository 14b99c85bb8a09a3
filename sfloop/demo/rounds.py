"""One round of the demo: the exchange and a client, each a process on its own CPU."""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from sfloop.testing.netns import VethPair

from .client_program import command
from .columns import Column
from .places import Place, kernel_datagrams, place_of
from .verify import verify, verify_bypass

READY_SECONDS = 60.0
"""How long the exchange may take to prepare its session, which may include reading a long recording."""
SLACK_SECONDS = 20.0
"""A round that takes so much longer than its session counts as hung."""


class RoundFailedError(Exception):
    """A round failed. ``problems`` has the reasons."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


@dataclass(frozen=True)
class Placement:
    """The CPUs of the two processes."""

    exchange: int
    client: int

    @property
    def shared(self) -> bool:
        """Whether both processes share one CPU."""
        return self.exchange == self.client

    @classmethod
    def of(cls, cpus: set[int]) -> Placement:
        """Place the exchange on the last CPU allowed, and the client on the first."""
        return cls(exchange=max(cpus), client=min(cpus))


@dataclass(frozen=True)
class Settings:
    """The settings of all rounds."""

    client: Path
    seconds: float
    warm_up: float
    loss: float
    request_loss: float
    recording: Path | None
    placement: Placement
    stack: str | None = None
    """sfloop's stack in its loopback column; None: the default."""
    veth: VethPair | None = None
    """The veth pair, for the columns that use it."""


@dataclass(frozen=True)
class RoundResult:
    """Results of both processes of a successful round."""

    loop: str
    """The column's name."""
    number: int
    exchange: dict[str, Any]
    client: dict[str, Any]


def child_environment() -> dict[str, str]:
    """The environment of child processes. The directory above the package is first on their path, so that they import
    the same sfloop."""
    root = str(Path(__file__).resolve().parents[2])
    return {**os.environ, "PYTHONPATH": os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])}


@dataclass
class _Process:
    """A child process that is ended with the round. A file keeps its standard error."""

    name: str
    arguments: list[str]
    cpu: int
    directory: Path
    popen: subprocess.Popen[bytes] = field(init=False)

    def __enter__(self) -> _Process:
        self._errors: IO[bytes] = (self.directory / f"{self.name}.err").open("w+b")
        self.popen = subprocess.Popen(
            self.arguments,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            cwd=self.directory,  # a directory without another sfloop
            env=child_environment(),
        )
        # The child has one thread yet, and later threads inherit its affinity.
        with contextlib.suppress(ProcessLookupError):  # it has already ended; `wait` reports why
            os.sched_setaffinity(self.popen.pid, {self.cpu})
        return self

    def __exit__(self, *_: object) -> None:
        if self.popen.poll() is None:
            self.popen.kill()
        self.popen.communicate()
        self._errors.close()

    def errors(self) -> str:
        """The last part of the process's standard error."""
        self._errors.seek(0)
        return self._errors.read().decode(errors="replace").strip()[-2000:]

    def wait(self, seconds: float) -> str | None:
        """Wait for the process to end. Returns the reason if it failed, else None."""
        try:
            self.popen.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            return self._with_errors(f"the {self.name} did not finish within {seconds:.0f} s")
        if self.popen.returncode:
            return self._with_errors(f"the {self.name} failed with exit status {self.popen.returncode}")
        if "Traceback (most recent call last)" in self.errors():
            return self._with_errors(f"the {self.name} reported an exception")
        return None

    def _with_errors(self, text: str) -> str:
        errors = self.errors()
        return f"{text}:\n{errors}" if errors else text


def run_round(column: Column, number: int, seed: int, settings: Settings) -> RoundResult:
    """Run round ``number`` of ``column``. Raises RoundFailedError if any check fails."""
    place = place_of(column, settings.stack, settings.veth)
    with tempfile.TemporaryDirectory(prefix="sfloop-demo-") as name:
        directory = Path(name)
        cpus = settings.placement
        run = _exchange_command(seed, settings, place, directory)
        before = kernel_datagrams(place)
        with _Process("exchange", run, cpus.exchange, directory) as exchange:
            ready = _ready(exchange)
            arguments = _client_arguments(ready, place, directory)
            run = [*place.client_prefix, *command(column.loop, settings.client, arguments, place.sfloop_options)]
            with _Process("client", run, cpus.client, directory) as client:
                limit = ready["seconds"] + SLACK_SECONDS
                problems = [client.wait(limit), exchange.wait(SLACK_SECONDS)]
        by_kernel = kernel_datagrams(place) - before
        return _outcome(column, number, directory, [problem for problem in problems if problem], by_kernel)


def _exchange_command(seed: int, settings: Settings, place: Place, directory: Path) -> list[str]:
    arguments = [*place.exchange_prefix, sys.executable, "-m", "sfloop.demo.exchange", *place.exchange_options]
    arguments += ["--result", str(directory / "exchange.json")]
    arguments += ["--seed", str(seed), "--seconds", str(settings.seconds), "--warm-up", str(settings.warm_up)]
    arguments += ["--loss", str(settings.loss), "--request-loss", str(settings.request_loss)]
    if settings.recording:
        arguments += ["--itch", str(settings.recording)]
    if settings.placement.shared:
        arguments.append("--share-cpu")
    return arguments


def _ready(exchange: _Process) -> dict[str, Any]:
    """Read the line with which the exchange reports that it is ready, and its addresses."""
    stdout = exchange.popen.stdout
    assert stdout is not None
    readable, _, _ = select.select([stdout], [], [], READY_SECONDS)
    line = stdout.readline() if readable else b""
    if not line:
        problem = exchange.wait(1.0) or "the exchange ended before it was ready"
        raise RoundFailedError([problem])
    ready: dict[str, Any] = json.loads(line)
    return ready


def _client_arguments(ready: dict[str, Any], place: Place, directory: Path) -> list[str]:
    arguments = ["--result", str(directory / "client.json"), "--warm-up", str(ready["warm_up"])]
    arguments += ["--interface", place.client_address]
    for name in ("feed", "requests", "orders"):
        host, port = ready[name]
        arguments += [f"--{name}", f"{host}:{port}"]
    for name in ("username", "password", "session"):
        arguments += [f"--{name}", ready[name]]
    return arguments


def _outcome(column: Column, number: int, directory: Path, problems: list[str], by_kernel: int) -> RoundResult:
    results: dict[str, dict[str, Any]] = {}
    for side in ("exchange", "client"):
        file = directory / f"{side}.json"
        if file.exists():
            results[side] = json.loads(file.read_text())
    if "client" in results and "exchange" in results:
        outcome = results["exchange"], results["client"]
        problems = [*verify(column.loop, *outcome), *verify_bypass(column, *outcome, by_kernel), *problems]
    elif "exchange" in results:
        problems += [f"exchange: {problem}" for problem in results["exchange"]["problems"]]
    elif not problems:
        problems = ["neither process of the round left a result"]
    if problems:
        raise RoundFailedError(problems)
    return RoundResult(column.name, number, results["exchange"], results["client"])
