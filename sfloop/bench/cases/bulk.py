"""Bulk TCP in one direction: how many bytes a contender receives or sends, and whose limit that is.

A receiver's figure describes the receiver only if the source is faster. So the cases also show the share of the
receiver's turns that found something, the share of time in which it was busy, its figure if it were busy all the time,
and how busy the source was or how often it had to wait. Busy is CPU time without that of turns that found nothing.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping

from sfloop.bench import netns, spans
from sfloop.bench.cases.bypass import (
    AF_XDP,
    SIDES,
    af_xdp_unavailable,
    cannot_feed,
    frame_taking_veth_pair,
    sides_of,
)
from sfloop.bench.cases.bypass_tcp import RIVALS
from sfloop.bench.errors import ContenderFailed
from sfloop.bench.loops import BARE, OWN, Contender
from sfloop.bench.model import Case, Metric, Sample
from sfloop.bench.programs import stream
from sfloop.bench.rig import GRACE, START_LIMIT, Load, Rig, Server, program_command
from sfloop.bench.wires import new_wire

#: Seconds of measurement on a lossy path, which give a few hundred losses.
LOSSY_SECONDS = 1.0
#: Seconds that the replaying source runs longer than the receiver counts, for the start of both.
MARGIN = 0.5

#: The load of a contender, if it is a program on a loop.
THIS_BUILD, ASYNCIO = Contender(OWN, "", is_loop=True), Contender("asyncio", "", is_loop=True)

_MEGABITS = Metric("mbit", "Mbit/s", "per_s", "higher")
#: The receiver's figure if it were busy all the time: per second of busy time.
_CEILING = Metric("ceiling", "Mbit/s at full load", "per_s", "higher", judged=False)
_FOUND = Metric("found", "turns that found something", "ratio", "lower", judged=False)
_BUSY = Metric("busy", "receiver busy", "ratio", "lower", judged=False)
_SOURCE_BUSY = Metric("source_busy", "source busy", "ratio", "lower", judged=False)
_SOURCE_WAITED = Metric("source_waited", "source's tries at a full window", "ratio", "higher", judged=False)
#: Figures of a receiver alone.
RECEIVED = (_MEGABITS, _CEILING, _FOUND, _BUSY)

#: Times that the source stood still for 20 ms, because a frame was lost or the receiver did not run.
_RESENT = Metric("resent", "times sent again", "count", "lower", judged=False)


def received(load: Load, **more: float) -> Sample:
    """The figures of a receiver. A loop that does not count its turns has no share of them."""
    told, megabits = load.raw, load.per_second * 8 / 1e6
    figures = {"mbit": megabits, "busy": float(told["busy"]) / float(told["seconds"]), **more}
    if figures["busy"]:
        figures["ceiling"] = megabits / figures["busy"]
    if told["turns"]:
        figures["found"] = 1 - float(told["empty_turns"]) / float(told["turns"])
    return Sample(figures, load.disturbance)


def _bulk(
    rig: Rig, contender: Contender, server_side: Mapping[str, str], load_side: Mapping[str, str], host: str
) -> Sample:
    """Bytes that arrive at the contender's sink. The source is sfloop's, on the stack of `load_side`.

    On the kernel's sockets the source is this build's for every contender. On a wire both ends are the contender's
    build.
    """
    settings = rig.settings
    timing = {"seconds": settings.seconds, "warmup": settings.warmup}
    ticks = rig.ticks()
    with rig.server(contender, stream.sink, parameters={"host": host, **timing}, environment=server_side) as server:
        port = server.line(START_LIMIT)["port"]
        given = {"server": [host, port], **timing}
        command = program_command(contender if load_side else THIS_BUILD, stream.source, given)
        source = Server([*rig.place.load_prefix, *command, "--cpu", str(settings.cpus.load)], load_side)
        try:
            source.line(START_LIMIT)
            load = rig.own(server, ticks, settings.seconds + settings.warmup)
            did = source.line(GRACE)
        finally:
            source.stop()
    return received(load, source_busy=float(did["busy"]) / float(did["seconds"]))


def _bulk_over_shm(rig: Rig, contender: Contender) -> Sample:
    if not contender.is_sfloop:
        return _bulk(rig, contender, {}, {}, rig.place.host)
    with new_wire() as wire:
        server_side, load_side = sides_of(wire)
        return _bulk(rig, contender, server_side, load_side, SIDES[0])


def _bulk_over_af_xdp(rig: Rig, contender: Contender) -> Sample:
    return _bulk(rig, contender, AF_XDP if contender.is_sfloop else {}, {}, rig.place.host)


def _lossy(rig: Rig, contender: Contender) -> Sample:
    """Bytes that the contender's source delivers to a sink on the kernel's sockets, with CUBIC, on a path that loses 1
    % of the frames in each direction and delays each by 0.5 ms."""
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
        with rig.server(contender, stream.serve_source, parameters=given, environment=environment) as server:
            port = server.line(START_LIMIT)["port"]
            drain = program_command(ASYNCIO, stream.drain, {"server": [place.host, port], **asked})
            load = Server([*place.load_prefix, *drain, "--cpu", cpu], {})
            try:
                load.line(START_LIMIT)
                result = rig.own(load, rig.ticks(), sum(asked.values()))
            finally:
                load.stop()
    finally:
        relay.stop()
    return Sample({"mbit": result.per_second * 8 / 1e6}, result.disturbance)


def _replayed(rig: Rig, contender: Contender) -> Sample:
    """Bytes that arrive at the contender's sink from a source that replays frames. sfloop's sink is on AF_XDP, all
    others' on the kernel's sockets."""
    settings = rig.settings
    timing = {"seconds": settings.seconds, "warmup": settings.warmup}
    environment = AF_XDP if contender.is_sfloop else {}
    ticks = rig.ticks()
    with rig.server(contender, stream.sink, "serve-sink", timing, environment) as server:
        port = server.line(START_LIMIT)["port"]
        seconds = settings.seconds + settings.warmup + MARGIN
        source = Server(rig.load_command("replay", port, interface=netns.INTERFACE, seconds=seconds), {})
        try:
            source.line(START_LIMIT)
            load = rig.own(server, ticks, settings.seconds + settings.warmup)
            told = source.line(seconds + GRACE)
        finally:
            source.stop()
    if told["reset"]:
        raise ContenderFailed("the receiver reset the connection")
    did = spans.between(told["history"], load.raw["begin"], load.raw["end"])
    tries = did.sent + did.waited
    waited = did.waited / tries if tries else 0.0
    return received(load, source_waited=waited, resent=float(told["resent"]))


def _no_lossy_path() -> str | None:
    missing = "the relayed path needs the command ethtool, which is missing: apt-get install ethtool"
    return af_xdp_unavailable() or (None if shutil.which("ethtool") else missing)


CASES = (
    Case(
        "bulk-shm",
        "bulk TCP one way; sfloop over shared memory, the others over loopback",
        (_MEGABITS, _CEILING, _FOUND, _BUSY, _SOURCE_BUSY),
        _bulk_over_shm,
        only=RIVALS,
    ),
    Case(
        "bulk-af_xdp",
        "bulk TCP one way, received over veth, MTU 1500; sfloop on AF_XDP",
        (_MEGABITS, _CEILING, _FOUND, _BUSY, _SOURCE_BUSY),
        _bulk_over_af_xdp,
        only=RIVALS,
        unavailable=af_xdp_unavailable,
        place=netns.veth_pair,
    ),
    Case(
        "bulk-af_xdp-replayed",
        "bulk TCP one way, received over veth, frames of 1500 B made once and replayed; sfloop on AF_XDP",
        (_MEGABITS, _CEILING, _FOUND, _BUSY, _SOURCE_WAITED, _RESENT),
        _replayed,
        tuple(BARE),
        only=(*RIVALS, *BARE),
        fixed_seconds=0.8,
        unavailable=cannot_feed,
        place=frame_taking_veth_pair,
    ),
    Case(
        "bulk-lossy",
        "bulk TCP one way by CUBIC, 1 % of the frames lost, RTT 1 ms; sfloop on AF_XDP",
        (_MEGABITS,),
        _lossy,
        only=RIVALS,
        fixed_seconds=LOSSY_SECONDS + 0.8,
        scaled_seconds=0.0,
        unavailable=_no_lossy_path,
        place=netns.relayed_pair,
    ),
)
