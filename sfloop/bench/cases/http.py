"""HTTP requests per second of two servers that run on any loop."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable

from sfloop.bench.cases.metrics import ROUND_TRIP
from sfloop.bench.loops import Contender
from sfloop.bench.model import Case, Metric, Sample
from sfloop.bench.programs import http
from sfloop.bench.rig import START_LIMIT, Rig
from sfloop.bench.serve import Program

CONNECTIONS = 10


def _unavailable(package: str, install: str) -> Callable[[], str | None]:
    def check() -> str | None:
        if importlib.util.find_spec(package) is None:
            return f"{package} is not installed: pip install {install}"
        return None

    return check


def _http(program: Program) -> Callable[[Rig, Contender], Sample]:
    def measure(rig: Rig, contender: Contender) -> Sample:
        with rig.server(contender, program) as server:
            port = server.line(START_LIMIT)["port"]
            return rig.load(server, "http", port, connections=CONNECTIONS).sample()

    return measure


_METRICS = (Metric("per_second", "requests/s", "per_s", "higher"), *ROUND_TRIP)

CASES = (
    Case(
        "http-aiohttp",
        f"HTTP GET, aiohttp, {CONNECTIONS} connections",
        _METRICS,
        _http(http.aiohttp),
        streams=True,
        unavailable=_unavailable("aiohttp", "aiohttp"),
        fixed_seconds=0.6,
    ),
    Case(
        "http-uvicorn",
        f"HTTP GET, uvicorn, {CONNECTIONS} connections",
        _METRICS,
        _http(http.uvicorn),
        streams=True,
        unavailable=_unavailable("uvicorn", "uvicorn httptools"),
        fixed_seconds=0.45,
    ),
)
