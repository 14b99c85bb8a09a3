"""TCP echo: round trips, and messages per second on several connections."""

from __future__ import annotations

from collections.abc import Callable

from sfloop.bench.cases.metrics import MESSAGES, ROUND_TRIP
from sfloop.bench.loops import BARE, REFERENCES, Contender
from sfloop.bench.model import Case, Sample
from sfloop.bench.programs import tcp
from sfloop.bench.rig import START_LIMIT, Rig
from sfloop.bench.serve import Program

ECHO_REFERENCES = tuple(REFERENCES)


def _echo(program: Program, size: int, connections: int = 1, **parameters: int) -> Callable[[Rig, Contender], Sample]:
    def measure(rig: Rig, contender: Contender) -> Sample:
        given = parameters if contender.is_loop else None
        with rig.server(contender, program, "serve-tcp", given) as server:
            port = server.line(START_LIMIT)["port"]
            return rig.load(server, "tcp", port, size=size, connections=connections).sample()

    return measure


def _latency(name: str, title: str, program: Program, size: int, **parameters: int) -> Case:
    # Do not measure the sock_* methods with aiofastnet, because it replaces transports only.
    streams = program is not tcp.sock
    measure = _echo(program, size, **parameters)
    return Case(name, title, ROUND_TRIP, measure, (*ECHO_REFERENCES, *BARE), streams=streams)


_RATE = (MESSAGES, *ROUND_TRIP)

CASES = (
    _latency("tcp-protocol-64", "TCP echo, Protocol, 64 B, 1 connection", tcp.protocol, 64),
    _latency("tcp-protocol-1k", "TCP echo, Protocol, 1 KiB, 1 connection", tcp.protocol, 1024),
    _latency("tcp-streams-64", "TCP echo, streams, 64 B, 1 connection", tcp.streams, 64),
    _latency("tcp-streams-1k", "TCP echo, streams, 1 KiB, 1 connection", tcp.streams, 1024),
    _latency("tcp-sock-64", "TCP echo, sock_recv and sock_sendall, 64 B, 1 connection", tcp.sock, 64),
    _latency("tcp-sock-1k", "TCP echo, sock_recv and sock_sendall, 1 KiB, 1 connection", tcp.sock, 1024),
    _latency(
        "tcp-sock-1k-of-256k",
        "TCP echo, sock_recv of up to 256 KiB and sock_sendall, 1 KiB, 1 connection",
        tcp.sock,
        1024,
        receive=256 * 1024,
    ),
    Case(
        "tcp-10-connections",
        "TCP echo, Protocol, 1 KiB, 10 connections",
        _RATE,
        _echo(tcp.protocol, 1024, 10),
        ECHO_REFERENCES,
        streams=True,
    ),
    Case(
        "tcp-100-connections",
        "TCP echo, Protocol, 1 KiB, 100 connections",
        _RATE,
        _echo(tcp.protocol, 1024, 100),
        ECHO_REFERENCES,
        streams=True,
    ),
    Case(
        "tcp-protocol-64k",
        "TCP echo, Protocol, 64 KiB, 1 connection",
        _RATE,
        _echo(tcp.protocol, 65536),
        ECHO_REFERENCES,
        streams=True,
    ),
    Case(
        "tcp-buffered-64k",
        "TCP echo, BufferedProtocol, 64 KiB, 1 connection",
        _RATE,
        _echo(tcp.buffered, 65536),
        ECHO_REFERENCES,
        streams=True,
    ),
)
