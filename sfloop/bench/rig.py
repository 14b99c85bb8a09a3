"""The tools of a case: the contender's server in a process of its own, and the load generator on the other CPU."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from sfloop.bench.build import Programs
from sfloop.bench.cpus import CpuPair
from sfloop.bench.errors import ContenderFailed
from sfloop.bench.loops import BARE, Contender
from sfloop.bench.model import Place, Sample
from sfloop.bench.noise import CpuTicks, Disturbance
from sfloop.bench.serve import Program, program_name
from sfloop.common.histogram import Histogram

#: Commands of sfbench → the same without epoll.
WITHOUT_EPOLL = {"serve-tcp": "spin-tcp", "serve-udp": "spin-udp", "serve-sink": "spin-sink"}
#: Seconds that a server may take until it reports its port.
START_LIMIT = 30.0
#: Seconds that a program may take beyond its running time.
GRACE = 30.0


@dataclass(frozen=True)
class Settings:
    """How long and where to measure."""

    programs: Programs
    cpus: CpuPair
    rounds: int
    seconds: float
    warmup: float


def program_command(contender: Contender, program: Program, parameters: Mapping[str, Any]) -> list[str]:
    """The command that runs a program on a loop. Another build of sfloop runs with its own Python."""
    start = [sys.executable, "-m", "sfloop.bench.serve"] if contender.build is None else contender.build.command
    given = ["--program", program_name(program), "--parameters", json.dumps(parameters)]
    return [*start, "--loop", contender.loop, *given]


class Server:
    """A running server process."""

    def __init__(self, command: list[str], environment: Mapping[str, str]) -> None:
        # A file and not a pipe, because a server that writes many warnings must not block.
        self._errors = tempfile.TemporaryFile()
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env={**os.environ, **environment},
        )
        self._unread = b""

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def line(self, limit: float) -> dict[str, Any]:
        """The server's next JSON object. Raises ContenderFailed if the server ends, or writes none within `limit` s."""
        assert self._process.stdout is not None
        deadline = time.monotonic() + limit
        while b"\n" not in self._unread:
            ready, _, _ = select.select([self._process.stdout], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                raise ContenderFailed(f"the server said nothing for {limit:.0f} s{self._last_words()}")
            chunk = os.read(self._process.stdout.fileno(), 1 << 20)
            if not chunk:
                raise ContenderFailed(f"the server ended{self._last_words()}")
            self._unread += chunk
        text, _, self._unread = self._unread.partition(b"\n")
        message: dict[str, Any] = json.loads(text)
        return message

    def _last_words(self) -> str:
        """The last line of standard error. For a Python program it is the exception."""
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        return f": {lines[-1]}" if lines else ""

    def failure(self, what: str) -> ContenderFailed:
        """An error that includes the last line of the server's standard error."""
        return ContenderFailed(what + self._last_words())

    def resident_bytes(self) -> int:
        """Resident memory of the process in bytes."""
        with open(f"/proc/{self.pid}/statm") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def stop(self) -> None:
        """Kill the server. Its programs have nothing to save."""
        self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._errors.close()


@dataclass
class Load:
    """The result of the load generator."""

    raw: dict[str, Any]
    disturbance: Disturbance
    histogram: Histogram | None = None

    @property
    def per_second(self) -> float:
        """Messages answered per second."""
        return float(self.raw["count"]) / float(self.raw["seconds"])

    @property
    def latencies(self) -> Histogram:
        """The recorded latencies. Raises ContenderFailed if no message was answered."""
        if self.histogram is None or not self.histogram.count:
            raise ContenderFailed(f"not one message was answered within {self.raw['seconds']:.2f} s of measurement")
        return self.histogram

    def sample(self) -> Sample:
        """The figures of a ping-pong: round trips and messages per second."""
        values = self.latencies.summary()
        values.update({"per_second": self.per_second, "lost": float(self.raw.get("lost", 0))})
        return Sample(values, self.disturbance, self.histogram)

    def rate(self) -> Sample:
        """The figure of a program that only counts."""
        return Sample({"per_second": self.per_second}, self.disturbance)


@dataclass
class Rig:
    """Starts the servers and loads of a case at its place."""

    settings: Settings
    place: Place = field(default_factory=Place)

    @contextmanager
    def server(
        self,
        contender: Contender,
        program: Program,
        reference: str | None = None,
        parameters: Mapping[str, Any] | None = None,
        environment: Mapping[str, str] | None = None,
        wrapper: tuple[str, ...] = (),
    ) -> Iterator[Server]:
        """The contender's server on the server's CPU: a program of sfloop.bench.programs, or a command of sfbench."""
        cpu = self.settings.cpus.server
        given = dict(parameters or {})
        if contender.is_loop:
            given.setdefault("host", self.place.host)
            command = [*program_command(contender, program, given), "--cpu", str(cpu)]
        else:
            assert reference is not None, f"{program_name(program)} has no C reference server"
            reference = WITHOUT_EPOLL[reference] if contender.name in BARE else reference
            command = [str(self.settings.programs.sfbench), reference, "--host", self.place.host, "--cpu", str(cpu)]
            command += ["--spin"] if contender.name == "c-spin" else []
            for name, value in given.items():
                command += [f"--{name}", str(value)]
        server = Server([*self.place.server_prefix, *wrapper, *command], environment or {})
        try:
            yield server
        finally:
            server.stop()

    def load_command(self, command: str, port: int, **options: object) -> list[str]:
        """The command line of a load."""
        line = [*self.place.load_prefix, str(self.settings.programs.sfbench), command, "--host", self.place.host]
        line += ["--port", str(port), "--cpu", str(self.settings.cpus.load)]
        for name, value in options.items():
            line += [f"--{name}", str(value)]
        return line

    def load(self, server: Server, command: str, port: int, **options: object) -> Load:
        """Run a load on the load generator's CPU. Raises ContenderFailed if the server answers wrongly or not at
        all."""
        options.setdefault("seconds", self.settings.seconds)
        options.setdefault("warmup", self.settings.warmup)
        limit = self.settings.seconds + self.settings.warmup + GRACE
        ticks = CpuTicks((self.settings.cpus.server, self.settings.cpus.load))
        try:
            done = subprocess.run(
                self.load_command(command, port, **options), capture_output=True, text=True, timeout=limit, check=False
            )
        except subprocess.TimeoutExpired:
            raise server.failure(f"the load did not end within {limit:.0f} s") from None
        if done.returncode:
            detail = done.stderr.strip() or f"status {done.returncode}"
            if done.returncode < 0:
                detail = f"killed by {signal.Signals(-done.returncode).name}"
            raise server.failure(f"the load failed: {detail}")
        raw = json.loads(done.stdout)
        return Load(raw, self.disturbance(raw, ticks), self._histogram(raw))

    def own(self, server: Server, ticks: CpuTicks, seconds: float) -> Load:
        """Read the result of a program that measures itself for `seconds`. It is the program's next line."""
        raw = server.line(seconds + GRACE)
        return Load(raw, self.disturbance(raw, ticks), self._histogram(raw))

    def ticks(self) -> CpuTicks:
        """Start to count the ticks of both CPUs."""
        return CpuTicks((self.settings.cpus.server, self.settings.cpus.load))

    @staticmethod
    def disturbance(raw: Mapping[str, Any], ticks: CpuTicks) -> Disturbance:
        """The disturbances of a measurement that has just ended."""
        seconds = float(raw.get("seconds", 0.0)) or 1.0
        stolen, total = ticks.since()
        return Disturbance(float(raw.get("involuntary_switches", 0)) / seconds, stolen, total)

    @staticmethod
    def _histogram(raw: Mapping[str, Any]) -> Histogram | None:
        return Histogram.from_buckets(raw["histogram"]) if "histogram" in raw else None
