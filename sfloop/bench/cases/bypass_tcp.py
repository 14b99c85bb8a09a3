"""TCP past the kernel: sfloop on its tcpip stack, everything else on the kernel's sockets.

Over AF_XDP and AF_PACKET all contenders serve the same C load generator, which uses the kernel's sockets at the other
end of a veth pair. Over shared memory sfloop's load is an sfloop program, too, so its figure includes the cost of two
sfloop loops. The C load generator measures the others over loopback.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from sfloop.bench import netns
from sfloop.bench.cases.bypass import (
    AF_XDP,
    PACKET,
    Programs,
    af_xdp_unavailable,
    between_programs,
    packet_unavailable,
    sides_of,
)
from sfloop.bench.cases.metrics import MESSAGES, ROUND_TRIP
from sfloop.bench.loops import ADD_ON, OWN, Contender
from sfloop.bench.model import Case, Metric, Sample
from sfloop.bench.programs import connections, stream, tcp
from sfloop.bench.rig import START_LIMIT, Rig
from sfloop.bench.wires import new_wire

IDLE_CONNECTIONS = 10_000

#: The rivals of sfloop past the kernel: uvloop, also with aiofastnet's transports.
RIVALS = (OWN, "uvloop", f"uvloop+{ADD_ON}")

Measure = Callable[[Rig, Contender], Sample]

_TIMES_KERNEL = Metric("times_kernel", "RTT p50 × sfloop on the kernel's sockets", "ratio", "lower")


def _served(rig: Rig, contender: Contender, size: int, environment: Mapping[str, str]) -> Sample:
    with rig.server(contender, tcp.protocol, "serve-tcp", environment=environment) as server:
        port = server.line(START_LIMIT)["port"]
        return rig.load(server, "tcp", port, size=size, connections=1).sample()


def _over(driver: Mapping[str, str], size: int) -> Measure:
    def measure(rig: Rig, contender: Contender) -> Sample:
        if not contender.is_sfloop:
            return _served(rig, contender, size, {})
        kernel = _served(rig, contender, size, {})
        sample = _served(rig, contender, size, driver)
        sample.values["times_kernel"] = sample.values["p50"] / kernel.values["p50"]
        return sample

    return measure


def _over_shm(size: int, connections: int) -> Measure:
    def measure(rig: Rig, contender: Contender) -> Sample:
        if contender.is_sfloop:
            every = 1 if connections == 1 else 16  # read the clock less often if the rate counts
            given = {"size": size, "connections": connections, "every": every}
            programs = Programs(tcp.protocol, stream.ping, given)
            with new_wire() as wire:
                return between_programs(rig, contender, programs, sides_of(wire)).sample()
        with rig.server(contender, tcp.protocol, "serve-tcp") as server:
            port = server.line(START_LIMIT)["port"]
            return rig.load(server, "tcp", port, size=size, connections=connections).sample()

    return measure


def _idle(rig: Rig, contender: Contender) -> Sample:
    given = {"seconds": rig.settings.seconds, "connections": IDLE_CONNECTIONS}
    ticks = rig.ticks()
    with rig.server(contender, connections.idle, parameters=given) as server:
        raw = rig.own(server, ticks, rig.settings.seconds)
    values = {"idle": float(raw.raw["idle"]), "bytes_per_connection": float(raw.raw["bytes"])}
    return Sample({**values, "times_alone": values["idle"] / float(raw.raw["alone"])}, raw.disturbance)


CASES = (
    *(
        Case(
            f"tcp-af_xdp-{name}",
            f"TCP echo, veth, {words}, 1 connection; sfloop on AF_XDP",
            (*ROUND_TRIP, _TIMES_KERNEL),
            _over(AF_XDP, size),
            only=(*RIVALS, "c-spin"),
            unavailable=af_xdp_unavailable,
            place=netns.veth_pair,
        )
        for name, words, size in (("64", "64 B", 64), ("1k", "1 KiB", 1024))
    ),
    Case(
        "tcp-packet-64",
        "TCP echo, veth, 64 B, 1 connection; sfloop on AF_PACKET",
        (*ROUND_TRIP, _TIMES_KERNEL),
        _over(PACKET, 64),
        only=(*RIVALS, "c-spin"),
        unavailable=packet_unavailable,
        place=netns.veth_pair,
    ),
    Case(
        "tcp-shm-64",
        "TCP echo, 64 B, 1 connection; sfloop over shared memory, the others over loopback",
        ROUND_TRIP,
        _over_shm(64, 1),
        only=RIVALS,
    ),
    *(
        Case(
            f"tcp-shm-{connections}",
            f"TCP echo, 1 KiB, {connections} connections; sfloop over shared memory, the others over loopback",
            (MESSAGES, *ROUND_TRIP),
            _over_shm(1024, connections),
            only=RIVALS,
        )
        for connections in (10, 100)
    ),
    Case(
        "tcp-idle-10k",
        "10,000 idle connections over shared memory, both ends in one program: an empty turn, memory",
        (
            Metric("idle", "idle turn", "ns", "lower"),
            Metric("times_alone", "× that with 100", "ratio", "lower"),
            Metric("bytes_per_connection", "native memory per connection", "bytes", "lower", timed=False),
        ),
        _idle,
        only=(OWN,),
        most_rounds=3,
        fixed_seconds=3.5,
        scaled_seconds=2.0,
    ),
)
