"""HTTP: two servers that run on any loop, and two clients of one of them past the kernel."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable

from sfloop.bench import netns
from sfloop.bench.cases.bypass import AF_XDP, Programs, af_xdp_unavailable, between_programs
from sfloop.bench.cases.bypass_tcp import RIVALS
from sfloop.bench.cases.metrics import ROUND_TRIP
from sfloop.bench.errors import ContenderFailed
from sfloop.bench.loops import Contender
from sfloop.bench.model import Case, Metric, Sample
from sfloop.bench.programs import http, requests
from sfloop.bench.rig import START_LIMIT, Rig
from sfloop.bench.serve import Program

CONNECTIONS = 10


def _not_installed(package: str, install: str) -> str | None:
    if importlib.util.find_spec(package) is None:
        return f"{package} is not installed: pip install {install}"
    return None


def _unavailable(package: str, install: str) -> Callable[[], str | None]:
    return lambda: _not_installed(package, install)


def _no_clients(package: str) -> Callable[[], str | None]:
    return lambda: (
        af_xdp_unavailable() or _not_installed("uvicorn", "uvicorn httptools") or _not_installed(package, package)
    )


def _http(program: Program) -> Callable[[Rig, Contender], Sample]:
    def measure(rig: Rig, contender: Contender) -> Sample:
        with rig.server(contender, program) as server:
            port = server.line(START_LIMIT)["port"]
            return rig.load(server, "http", port, connections=CONNECTIONS).sample()

    return measure


def _over_af_xdp(client: Program, connections: int) -> Callable[[Rig, Contender], Sample]:
    """uvicorn at one end of a veth pair, the client at the other, both on the contender's loop. sfloop is past the
    kernel at both ends, and is measured on the kernel's sockets right before."""
    addresses = (netns.SERVER_ADDRESS, netns.LOAD_ADDRESS)

    def measure(rig: Rig, contender: Contender) -> Sample:
        programs = Programs(http.uvicorn, client, {"connections": connections})
        plain = between_programs(rig, contender, programs, [{}, {}], addresses).sample()
        if not contender.is_sfloop:
            return plain
        load = between_programs(rig, contender, programs, [dict(AF_XDP), dict(AF_XDP)], addresses)
        if not load.raw["carried"]:
            raise ContenderFailed("the client's connections stayed on the kernel's sockets")
        sample = load.sample()
        sample.values["times_kernel"] = sample.values["p50"] / plain.values["p50"]
        return sample

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
    *(
        Case(
            f"http-af_xdp-{client.__name__}{suffix}",
            f"HTTP GET, uvicorn, {client.__name__}'s client, {words}, veth; sfloop on AF_XDP at both ends",
            (*_METRICS, Metric("times_kernel", "RTT p50 × sfloop on the kernel's sockets", "ratio", "lower")),
            _over_af_xdp(client, connections),
            only=RIVALS,
            unavailable=_no_clients(client.__name__),
            place=netns.veth_pair,
            most_rounds=3,
            fixed_seconds=0.8,
            scaled_seconds=1.3,
        )
        # httpx has one connection, because with more its pool lets single requests wait for seconds, on every loop.
        for client, suffix, words, connections in (
            (requests.aiohttp, "", "1 connection", 1),
            (requests.aiohttp, f"-{CONNECTIONS}", f"{CONNECTIONS} connections", CONNECTIONS),
            (requests.httpx, "", "1 connection", 1),
        )
    ),
)
