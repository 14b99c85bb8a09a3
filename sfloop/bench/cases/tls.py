"""TLS: echo on the kernel's sockets and past them, bulk, handshakes, idle connections, and WebSockets.

Each measurement makes a new certificate. The loads are in C and check it. Over shared memory the load is a program of
the contender, as in the plain cases.
"""

from __future__ import annotations

import importlib.util
import json
import select
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from sfloop.bench import netns
from sfloop.bench.cases.bulk import RECEIVED, received
from sfloop.bench.cases.bypass import AF_XDP, Programs, af_xdp_unavailable, between_programs, sides_of
from sfloop.bench.cases.bypass_tcp import RIVALS
from sfloop.bench.cases.metrics import MESSAGES, ROUND_TRIP
from sfloop.bench.errors import ContenderFailed
from sfloop.bench.loops import COMBINED, OWN, REFERENCES, Contender
from sfloop.bench.model import Case, Metric, Sample
from sfloop.bench.programs import stream, tcp, websocket
from sfloop.bench.rig import START_LIMIT, Rig, Server
from sfloop.bench.serve import Program
from sfloop.bench.wires import new_wire

IDLE_CONNECTIONS = 500
OPEN_LIMIT = 60.0
#: The contenders of cases that do not need every loop.
LOOPS = (OWN, "uvloop", "asyncio", *COMBINED)
#: The C reference servers, which are commands of the same program as the load.
ECHO_REFERENCES = tuple(REFERENCES)

Measure = Callable[[Rig, Contender], Sample]
Environment = Mapping[str, str]


def unavailable() -> str | None:
    """Why no certificate can be made; None: one can."""
    if importlib.util.find_spec("trustme") is None:
        return "TLS needs a certificate made by trustme: pip install trustme"
    return None


def _needs(package: str) -> Callable[[], str | None]:
    def check() -> str | None:
        if importlib.util.find_spec(package) is None:
            return f"{package} is not installed: pip install {package}"
        return unavailable()

    return check


@contextmanager
def certificates(*hosts: str) -> Iterator[tuple[str, str]]:
    """Files of a server's certificate and key, and of the authority that has signed it."""
    import trustme  # type: ignore[import-not-found, unused-ignore]

    authority = trustme.CA()
    with tempfile.TemporaryDirectory(prefix="sfloop-bench-") as directory:
        certificate, ca = Path(directory, "server.pem"), Path(directory, "ca.pem")
        authority.issue_cert(*hosts).private_key_and_cert_chain_pem.write_to_path(str(certificate))
        authority.cert_pem.write_to_path(str(ca))
        yield str(certificate), str(ca)


def _echo(size: int, connections: int = 1, load: str = "tls") -> Measure:
    def measure(rig: Rig, contender: Contender) -> Sample:
        with certificates(rig.place.host) as files:
            return _served(rig, contender, files, size, {}, connections, load)

    return measure


def _served(
    rig: Rig,
    contender: Contender,
    files: tuple[str, str],
    size: int,
    environment: Environment,
    connections: int = 1,
    load: str = "tls",
) -> Sample:
    given = {"certificate": files[0]}
    with rig.server(contender, tcp.tls, "serve-tls", given, environment) as server:
        port = server.line(START_LIMIT)["port"]
        return rig.load(server, load, port, size=size, connections=connections, ca=files[1]).sample()


def _plain(rig: Rig, contender: Contender, size: int, environment: Environment) -> float:
    with rig.server(contender, tcp.protocol, "serve-tcp", environment=environment) as server:
        port = server.line(START_LIMIT)["port"]
        return rig.load(server, "tcp", port, size=size).latencies.percentile(50)


def _records_alone(rig: Rig, certificate: str, size: int) -> float:
    """ns that OpenSSL alone takes for the two records of an echo: sealed by one end and opened by the other, in
    memory."""
    settings = rig.settings
    command = [str(settings.programs.sfbench), "tls-records", "--certificate", certificate, "--size", str(size)]
    command += ["--seconds", str(settings.seconds), "--warmup", str(settings.warmup), "--cpu", str(settings.cpus.load)]
    measured = Server(command, {})
    try:
        return rig.own(measured, rig.ticks(), settings.seconds + settings.warmup).latencies.percentile(50)
    finally:
        measured.stop()


def _with_parts(sample: Sample, plain: float, records: float) -> Sample:
    """Add the figures of an echo's parts, measured right before."""
    sample.values |= {"plain": plain, "records": records, "times_records": (sample.values["p50"] - plain) / records}
    return sample


def _over_af_xdp(rig: Rig, contender: Contender) -> Sample:
    environment = AF_XDP if contender.is_sfloop else {}
    with certificates(rig.place.host) as files:
        records = _records_alone(rig, files[0], 1024)
        plain = _plain(rig, contender, 1024, environment)
        return _with_parts(_served(rig, contender, files, 1024, environment), plain, records)


def _over_shm(rig: Rig, contender: Contender) -> Sample:
    if not contender.is_sfloop:
        return _echo(1024)(rig, contender)
    with new_wire() as wire:
        sides = sides_of(wire)
        host = sides[0]["SFLOOP_INTERFACE"].partition("@")[2]
        with certificates(host) as (certificate, ca):
            records = _records_alone(rig, certificate, 1024)
            programs = Programs(tcp.protocol, stream.ping, {"size": 1024})
            plain = between_programs(rig, contender, programs, sides).latencies.percentile(50)
            programs = Programs(tcp.tls, stream.ping, {"size": 1024, "ca": ca}, {"certificate": certificate})
            return _with_parts(between_programs(rig, contender, programs, sides).sample(), plain, records)


def _bulk(rig: Rig, contender: Contender) -> Sample:
    """Bytes that arrive at the contender's sink from a source in C."""
    settings = rig.settings
    timing = {"seconds": settings.seconds, "warmup": settings.warmup}
    ticks = rig.ticks()
    with certificates(rig.place.host) as (certificate, ca):
        given = {"certificate": certificate, **timing}
        with rig.server(contender, stream.sink, parameters=given) as server:
            port = server.line(START_LIMIT)["port"]
            source = Server(rig.load_command("tls-source", port, ca=ca), {})
            try:
                source.line(START_LIMIT)
                load = rig.own(server, ticks, settings.seconds + settings.warmup)
            finally:
                source.stop()
    return received(load)


def _websocket(program: Program, tls: bool) -> Measure:
    def measure(rig: Rig, contender: Contender) -> Sample:
        with certificates(rig.place.host) as (certificate, ca):
            given = {"certificate": certificate} if tls else {}
            options = {"ca": ca} if tls else {}
            with rig.server(contender, program, parameters=given) as server:
                port = server.line(START_LIMIT)["port"]
                return rig.load(server, "ws", port, size=256, **options).sample()

    return measure


def _idle(rig: Rig, contender: Contender) -> Sample:
    ticks = rig.ticks()
    with certificates(rig.place.host) as files:
        with rig.server(contender, tcp.tls, "serve-tls", {"certificate": files[0]}) as server:
            port = server.line(START_LIMIT)["port"]
            rig.load(server, "tls", port, size=64, ca=files[1], messages=100)
            before = server.resident_bytes()
            with _idle_connections(rig, port, files[1]):
                weight = (server.resident_bytes() - before) / IDLE_CONNECTIONS
    return Sample({"bytes_per_connection": weight}, rig.disturbance({}, ticks))


@contextmanager
def _idle_connections(rig: Rig, port: int, ca: str) -> Iterator[None]:
    command = rig.load_command("tls-idle", port, connections=IDLE_CONNECTIONS, ca=ca)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as opener:
        try:
            assert opener.stdout is not None and opener.stderr is not None
            ready, _, _ = select.select([opener.stdout], [], [], OPEN_LIMIT)
            line = opener.stdout.readline() if ready else b""
            if not line:
                said = opener.stderr.read().decode().strip() if ready else f"they took more than {OPEN_LIMIT:.0f} s"
                raise ContenderFailed(f"{IDLE_CONNECTIONS} TLS connections could not be opened: {said}")
            assert json.loads(line)["open"] == IDLE_CONNECTIONS
            yield
        finally:
            opener.kill()


_RATE = (MESSAGES, *ROUND_TRIP)
_PARTS = (
    Metric("plain", "RTT p50 without TLS", "ns", "lower", judged=False),
    Metric("records", "OpenSSL alone, both records", "ns", "lower", judged=False),
    Metric("times_records", "what TLS adds ÷ OpenSSL alone", "ratio", "lower"),
)


def _case(
    name: str,
    title: str,
    metrics: tuple[Metric, ...],
    measure: Measure,
    references: tuple[str, ...] = (),
    needs: Callable[[], str | None] = unavailable,
    fixed_seconds: float = 0.4,
    all_loops: bool = False,
) -> Case:
    return Case(
        name,
        title,
        metrics,
        measure,
        references,
        only=None if all_loops else (*LOOPS, *references),
        streams=True,
        unavailable=needs,
        most_rounds=3,
        fixed_seconds=fixed_seconds,
    )


CASES = (
    _case("tls-64", "TLS echo, Protocol, 64 B, 1 connection", ROUND_TRIP, _echo(64), ECHO_REFERENCES, all_loops=True),
    _case(
        "tls-1k", "TLS echo, Protocol, 1 KiB, 1 connection", ROUND_TRIP, _echo(1024), ECHO_REFERENCES, all_loops=True
    ),
    _case("tls-64k", "TLS echo, Protocol, 64 KiB, 1 connection", _RATE, _echo(65536), ("c-spin",)),
    _case(
        "tls-100-connections",
        "TLS echo, Protocol, 1 KiB, 100 connections",
        _RATE,
        _echo(1024, 100),
        ("c-spin",),
        fixed_seconds=0.8,
    ),
    _case("tls-bulk", "bulk TLS one way, from a source in C", RECEIVED, _bulk),
    _case(
        "tls-handshakes",
        "TLS handshakes one after the other, each with a connection and an answer of 1 B",
        (Metric("per_second", "handshakes/s", "per_s", "higher"), *ROUND_TRIP),
        _echo(1, load="tls-handshakes"),
        ("c-spin",),
    ),
    _case(
        "tls-idle",
        f"{IDLE_CONNECTIONS} idle TLS connections that have answered once",
        (Metric("bytes_per_connection", "memory per idle connection", "bytes", "lower", timed=False),),
        _idle,
        ("c-spin",),
        fixed_seconds=1.2,
    ),
    Case(
        "tls-af_xdp-1k",
        "TLS echo, veth, 1 KiB, 1 connection; sfloop on AF_XDP",
        (*ROUND_TRIP, *_PARTS),
        _over_af_xdp,
        only=(*RIVALS, "c-spin"),
        unavailable=lambda: unavailable() or af_xdp_unavailable(),
        place=netns.veth_pair,
        most_rounds=3,
        fixed_seconds=0.8,
        scaled_seconds=3.0,
    ),
    Case(
        "tls-shm-1k",
        "TLS echo, 1 KiB, 1 connection; sfloop over shared memory, the others over loopback",
        (*ROUND_TRIP, *_PARTS),
        _over_shm,
        only=RIVALS,
        unavailable=unavailable,
        most_rounds=3,
        fixed_seconds=0.8,
        scaled_seconds=3.0,
    ),
    *(
        _case(
            f"ws-{program.__name__}{'-tls' if tls else ''}",
            f"WebSocket echo{' over TLS' if tls else ''}, {program.__name__}, 256 B, 1 connection",
            ROUND_TRIP,
            _websocket(program, tls),
            needs=_needs(program.__name__),
            fixed_seconds=0.6,
        )
        for program in (websocket.picows, websocket.websockets, websocket.aiohttp)
        for tls in (False, True)
    ),
)
