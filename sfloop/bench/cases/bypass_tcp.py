"""TCP past the kernel: sfloop on its tcpip stack, everything else on the kernel's sockets.

Over AF_XDP and AF_PACKET all serve the same C load generator, which is on the kernel's sockets at the other end of a
veth pair. Over shared memory sfloop's load is an sfloop program too, so that its figure has the cost of two of its
loops in it; the others are measured over loopback, by the C load generator.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping

from sfloop.bench import netns
from sfloop.bench.cases.bypass import (
    AF_XDP,
    PACKET,
    SIDES,
    Programs,
    af_xdp_unavailable,
    between_programs,
    packet_unavailable,
    sides_of,
)
from sfloop.bench.cases.metrics import MESSAGES, ROUND_TRIP
from sfloop.bench.loops import ADD_ON, OWN, Contender
from sfloop.bench.model import Case, Metric, Sample
from sfloop.bench.rig import START_LIMIT, Rig, Server, program_command
from sfloop.bench.wires import new_wire

IDLE_CONNECTIONS = 10_000
#: Seconds for which a lossy path is measured: a few hundred losses.
LOSSY_SECONDS = 1.0

#: What loads a contender, where it is a program on a loop.
THIS_BUILD, ASYNCIO = Contender(OWN, "", is_loop=True), Contender("asyncio", "", is_loop=True)

#: Beside sfloop past the kernel: uvloop, and the transports that aiofastnet gives it.
_RIVALS = (OWN, "uvloop", f"uvloop+{ADD_ON}")

Measure = Callable[[Rig, Contender], Sample]

_TIMES_KERNEL = Metric("times_kernel", "RTT p50 × sfloop on the kernel's sockets", "ratio", "lower")
_MEGABITS = Metric("mbit", "Mbit/s", "per_s", "higher")


def _served(rig: Rig, contender: Contender, size: int, environment: Mapping[str, str]) -> Sample:
    with rig.server(contender, "tcp.protocol", "serve-tcp", environment=environment) as server:
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
            every = 1 if connections == 1 else 16  # where it is the rate that counts, the clock is read less
            given = {"size": size, "connections": connections, "every": every}
            programs = Programs("tcp.protocol", "stream.ping", given)
            with new_wire() as wire:
                return between_programs(rig, contender, programs, sides_of(wire)).sample()
        with rig.server(contender, "tcp.protocol", "serve-tcp") as server:
            port = server.line(START_LIMIT)["port"]
            return rig.load(server, "tcp", port, size=size, connections=connections).sample()

    return measure


def _bulk(
    rig: Rig, contender: Contender, server_side: Mapping[str, str], load_side: Mapping[str, str], host: str
) -> Sample:
    """What arrives at the contender's sink. The source is sfloop's, on the stack of `load_side`.

    On the kernel's sockets it is this build's for every contender. Over a wire both ends are of the contender's build.
    """
    settings = rig.settings
    timing = {"seconds": settings.seconds, "warmup": settings.warmup}
    ticks = rig.ticks()
    with rig.server(contender, "stream.sink", parameters={"host": host, **timing}, environment=server_side) as server:
        port = server.line(START_LIMIT)["port"]
        command = program_command(contender if load_side else THIS_BUILD, "stream.source", {"server": [host, port]})
        source = Server([*rig.place.load_prefix, *command, "--cpu", str(settings.cpus.load)], load_side)
        try:
            source.line(START_LIMIT)
            load = rig.own(server, ticks, settings.seconds + settings.warmup)
        finally:
            source.stop()
    return Sample({"mbit": load.per_second * 8 / 1e6}, load.disturbance)


def _bulk_over_shm(rig: Rig, contender: Contender) -> Sample:
    if not contender.is_sfloop:
        return _bulk(rig, contender, {}, {}, rig.place.host)
    with new_wire() as wire:
        server_side, load_side = sides_of(wire)
        return _bulk(rig, contender, server_side, load_side, SIDES[0])


def _bulk_over_af_xdp(rig: Rig, contender: Contender) -> Sample:
    return _bulk(rig, contender, AF_XDP if contender.is_sfloop else {}, {}, rig.place.host)


def _lossy(rig: Rig, contender: Contender) -> Sample:
    """What the contender's source gets through to a sink on the kernel's sockets, by CUBIC, over a path that loses 1 %
    of the frames in either direction and takes 0.5 ms for each way."""
    environment = AF_XDP if contender.is_sfloop else {}
    place, cpu = rig.place, str(rig.settings.cpus.load)
    asked = {"seconds": LOSSY_SECONDS, "warmup": rig.settings.warmup}
    first, second = netns.RELAY_INTERFACES
    command = [*place.relay_prefix, str(rig.settings.programs.sfbench), "relay"]
    command += ["--interface", first, "--second", second]
    command += ["--delay", "0.5", "--loss", "1", "--seconds", "3600", "--cpu", cpu]
    relay = Server(command, {})
    try:
        relay.line(START_LIMIT)
        given = {"congestion": "cubic"}
        with rig.server(contender, "stream.serve_source", parameters=given, environment=environment) as server:
            port = server.line(START_LIMIT)["port"]
            drain = program_command(ASYNCIO, "stream.drain", {"server": [place.host, port], **asked})
            load = Server([*place.load_prefix, *drain, "--cpu", cpu], {})
            try:
                load.line(START_LIMIT)
                result = rig.own(load, rig.ticks(), sum(asked.values()))
            finally:
                load.stop()
    finally:
        relay.stop()
    return Sample({"mbit": result.per_second * 8 / 1e6}, result.disturbance)


def _idle(rig: Rig, contender: Contender) -> Sample:
    given = {"seconds": rig.settings.seconds, "connections": IDLE_CONNECTIONS}
    ticks = rig.ticks()
    with rig.server(contender, "connections.idle", parameters=given) as server:
        raw = rig.own(server, ticks, rig.settings.seconds)
    values = {"idle": float(raw.raw["idle"]), "bytes_per_connection": float(raw.raw["bytes"])}
    return Sample({**values, "times_alone": values["idle"] / float(raw.raw["alone"])}, raw.disturbance)


def _no_lossy_path() -> str | None:
    missing = "the relayed path needs the command ethtool, which is missing: apt-get install ethtool"
    return af_xdp_unavailable() or (None if shutil.which("ethtool") else missing)


CASES = (
    *(
        Case(
            f"tcp-af_xdp-{name}",
            f"TCP echo, veth, {words}, 1 connection; sfloop on AF_XDP",
            (*ROUND_TRIP, _TIMES_KERNEL),
            _over(AF_XDP, size),
            only=(*_RIVALS, "c-spin"),
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
        only=(*_RIVALS, "c-spin"),
        unavailable=packet_unavailable,
        place=netns.veth_pair,
    ),
    Case(
        "tcp-shm-64",
        "TCP echo, 64 B, 1 connection; sfloop over shared memory, the others over loopback",
        ROUND_TRIP,
        _over_shm(64, 1),
        only=_RIVALS,
    ),
    *(
        Case(
            f"tcp-shm-{connections}",
            f"TCP echo, 1 KiB, {connections} connections; sfloop over shared memory, the others over loopback",
            (MESSAGES, *ROUND_TRIP),
            _over_shm(1024, connections),
            only=_RIVALS,
        )
        for connections in (10, 100)
    ),
    Case(
        "bulk-shm",
        "bulk TCP one way; sfloop over shared memory, the others over loopback",
        (_MEGABITS,),
        _bulk_over_shm,
        only=_RIVALS,
    ),
    Case(
        "bulk-af_xdp",
        "bulk TCP one way, received over veth, MTU 1500; sfloop on AF_XDP",
        (_MEGABITS,),
        _bulk_over_af_xdp,
        only=_RIVALS,
        unavailable=af_xdp_unavailable,
        place=netns.veth_pair,
    ),
    Case(
        "bulk-lossy",
        "bulk TCP one way by CUBIC, 1 % of the frames lost, RTT 1 ms; sfloop on AF_XDP",
        (_MEGABITS,),
        _lossy,
        only=_RIVALS,
        fixed_seconds=LOSSY_SECONDS + 0.8,
        scaled_seconds=0.0,
        unavailable=_no_lossy_path,
        place=netns.relayed_pair,
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
