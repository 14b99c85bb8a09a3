"""UDP past the kernel: sfloop on its tcpip stack, everything else on the kernel's sockets on the same veth pair.

The others cannot use a shared-memory wire, so the C load generator measures them over loopback. sfloop's load there is
an sfloop program, too, so its figure includes the cost of two sfloop loops.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from sfloop import backends
from sfloop.bench import netns
from sfloop.bench.cases.metrics import LOST, ROUND_TRIP
from sfloop.bench.cases.udp import measure_delivery, measure_echo
from sfloop.bench.errors import ContenderFailed
from sfloop.bench.loops import BYPASSING, OWN, REFERENCES, Contender
from sfloop.bench.model import Case, Metric, Place, Sample
from sfloop.bench.programs import cost, stream, tcp, udp
from sfloop.bench.rig import GRACE, START_LIMIT, Load, Rig, Server, program_command
from sfloop.bench.serve import Program
from sfloop.bench.wires import new_wire

AF_XDP, PACKET = (
    {"SFLOOP_DRIVER": driver, "SFLOOP_INTERFACE": netns.INTERFACE, "SFLOOP_FALLBACK": "error"}
    for driver in ("af_xdp", "packet")
)
# 239.255.0.0/16 is for use within a site (RFC 2365, section 6.1).
_GROUP = "239.255.26.4"


def _driver_unavailable(name: str) -> str | None:
    drivers = {backend.name: backend for backend in backends() if backend.kind == "driver"}
    return netns.unavailable() or (None if drivers[name].available else drivers[name].reason)


def af_xdp_unavailable() -> str | None:
    return _driver_unavailable("af_xdp")


def packet_unavailable() -> str | None:
    return _driver_unavailable("packet")


def cannot_feed() -> str | None:
    release = tuple(int(number) for number in re.findall(r"\d+", os.uname().release)[:2])
    if release < (5, 18):
        return f"the feed is sent as XDP frames, which needs Linux 5.18; this is {os.uname().release}"
    missing = "the feed needs the command ethtool, which is missing: apt-get install ethtool"
    return af_xdp_unavailable() or (None if shutil.which("ethtool") else missing)


def _environment(contender: Contender) -> Mapping[str, str]:
    return AF_XDP if contender.is_sfloop else {}


def _echo(rig: Rig, contender: Contender) -> Sample:
    reference = "serve-xdp" if contender.name in BYPASSING else "serve-udp"
    return measure_echo(rig, contender, _environment(contender), reference)


def _echo_over_packet(rig: Rig, contender: Contender) -> Sample:
    return measure_echo(rig, contender, PACKET if contender.is_sfloop else {})


def _feed(program: Program, rig: Rig, contender: Contender) -> Sample:
    def sender(port: int, seconds: float) -> list[str]:
        return replace(rig, place=to_group).load_command("feed", port, interface=netns.INTERFACE, seconds=seconds)

    to_group = replace(rig.place, host=_GROUP)
    # Only sfloop runs the protocol of batches, because the others do not have it. They run the plain one.
    chosen = program if contender.is_sfloop else udp.flood
    return measure_delivery(rig, contender, sender, chosen, {"group": _GROUP}, _environment(contender))


@contextmanager
def frame_taking_veth_pair() -> Iterator[Place]:
    with netns.veth_pair() as place:
        netns.receive_frames(place)
        yield place


#: The addresses of the server and of the load on a shared-memory wire.
SIDES = ("127.77.0.1", "127.77.0.2")


def sides_of(wire: str) -> list[dict[str, str]]:
    """The environments of the programs at both ends."""
    return [
        {"SFLOOP_DRIVER": "shm", "SFLOOP_INTERFACE": f"{wire}@{address}", "SFLOOP_FALLBACK": "error"}
        for address in SIDES
    ]


@dataclass(frozen=True)
class Programs:
    """A server and a load program, and their parameters besides addresses and times."""

    serves: Program
    loads: Program
    given: Mapping[str, object]
    to_server: Mapping[str, object] = field(default_factory=dict)


UDP_ECHO = Programs(udp.echo, udp.ping, {"size": 64})


def between_programs(
    rig: Rig,
    contender: Contender,
    programs: Programs,
    sides: list[dict[str, str]],
    addresses: tuple[str, str] = SIDES,
) -> Load:
    """Run a server and a load generator of the contender, in the environments of `sides`.

    Returns the measurement of the load generator.
    """
    settings = rig.settings
    parameters = {"host": addresses[0], **programs.to_server}
    serving = rig.server(contender, programs.serves, parameters=parameters, environment=sides[0])
    with serving as server:
        port = server.line(START_LIMIT)["port"]
        given = {"host": addresses[1], "server": [addresses[0], port], **programs.given}
        given |= {"seconds": settings.seconds, "warmup": settings.warmup}
        command = program_command(contender, programs.loads, given)
        load = Server([*rig.place.load_prefix, *command, "--cpu", str(settings.cpus.load)], sides[1])
        try:
            load.line(START_LIMIT)
            return rig.own(load, rig.ticks(), settings.seconds + settings.warmup + GRACE)
        finally:
            load.stop()


def _over_shm(rig: Rig, contender: Contender) -> Sample:
    if not contender.is_sfloop:
        return measure_echo(rig, contender)
    with new_wire() as wire:
        return between_programs(rig, contender, UDP_ECHO, sides_of(wire)).sample()


# Environment variable: sfloop's ef_vi driver, built by `make bench` with the simulator of its API (tests/sim/ef_vi).
_SIMULATOR = "SFLOOP_BENCH_EF_VI_SIMULATOR"


def _no_simulator() -> str | None:
    if not os.environ.get(_SIMULATOR):
        return "the simulator of ef_vi's API is not built: run `make bench` in a checkout"
    return netns.unavailable()


def _simulated_driver(contender: Contender) -> str:
    """The simulated driver of a build. It is compiled with the build's own headers, so another build needs its own."""
    if contender.build is None:
        return os.environ[_SIMULATOR]
    library = contender.build.ef_vi_simulator
    if not library.exists():
        raise ContenderFailed(
            f"that build has no simulator of ef_vi's API ({library}): run `make bench ARGS=--list` in its checkout"
        )
    return str(library)


TCP_ECHO = Programs(tcp.protocol, stream.ping, {"size": 64})


def _over_ef_vi(programs: Programs) -> Callable[[Rig, Contender], Sample]:
    """Frames use shared memory, as in udp-shm. Neighbours and routes are those of the veth pair beside it. The shm
    driver itself is measured right before."""

    def measure(rig: Rig, contender: Contender) -> Sample:
        library = _simulated_driver(contender)
        addresses = (netns.SERVER_ADDRESS, netns.LOAD_ADDRESS)
        side = {"SFLOOP_DRIVER": "ef_vi", "SFLOOP_INTERFACE": netns.INTERFACE, "SFLOOP_FALLBACK": "error"}
        with new_wire() as wire:
            direct = between_programs(replace(rig, place=Place()), contender, programs, sides_of(wire)).sample()
        with new_wire() as wire:
            side |= {"SFLOOP_EF_VI_LIBRARY": library, "SFLOOP_TEST_EF_VI": f"wire={wire}"}
            sample = between_programs(rig, contender, programs, [side, side], addresses).sample()
        sample.values["times_shm"] = sample.values["p50"] / direct.values["p50"]
        return sample

    return measure


def _cost(rig: Rig, contender: Contender) -> Sample:
    """Over shared memory. Also an idle turn of the AF_XDP driver, if it can be used."""
    given = {"seconds": rig.settings.seconds / 2, "size": 64}
    ticks = rig.ticks()
    with rig.server(contender, cost.stack, parameters=given) as server:
        load = rig.own(server, ticks, rig.settings.seconds)
    values = {key: float(load.raw[key]) for key in ("send", "receive", "idle")}
    with rig.server(contender, cost.segments, parameters=given) as server:
        raw = rig.own(server, ticks, rig.settings.seconds).raw
    values |= {"segment_send": float(raw["send"]), "segment_receive": float(raw["receive"])}
    if af_xdp_unavailable() is None:
        with netns.veth_pair() as place:
            placed = replace(rig, place=place)
            with placed.server(contender, cost.idle, parameters=given, environment=AF_XDP) as server:
                values["idle_af_xdp"] = float(placed.own(server, ticks, rig.settings.seconds).raw["idle"])
    return Sample(values, load.disturbance)


def _no_clients() -> str | None:
    return None if importlib.util.find_spec("sfloop") else "sfloop is not installed"


_FLOOD = (
    Metric("per_second", "datagrams/s delivered", "per_s", "higher"),
    Metric("sent_per_second", "datagrams/s sent", "per_s", "higher"),
)

CASES = (
    Case(
        "udp-af_xdp",
        "UDP echo, veth, 64 B; sfloop on AF_XDP",
        (*ROUND_TRIP, LOST),
        _echo,
        (*REFERENCES, *BYPASSING),
        unavailable=af_xdp_unavailable,
        place=netns.veth_pair,
    ),
    Case(
        "udp-packet",
        "UDP echo, veth, 64 B; sfloop on AF_PACKET",
        (*ROUND_TRIP, LOST),
        _echo_over_packet,
        tuple(REFERENCES),
        only=(OWN, "uvloop", "c-spin"),
        unavailable=packet_unavailable,
        place=netns.veth_pair,
    ),
    *(
        Case(
            f"flood-af_xdp{suffix}",
            f"multicast feed, veth, 64 to 512 B; sfloop on AF_XDP{words}",
            _FLOOD,
            functools.partial(_feed, program),
            ("c-spin",),
            # The other loops have neither batches nor views; the first case measures them.
            only=(OWN, "uvloop") if suffix else None,
            fixed_seconds=0.5,
            unavailable=cannot_feed,
            place=frame_taking_veth_pair,
        )
        for suffix, words, program in (
            ("", "", udp.flood),
            ("-batch", ", whole batches", udp.flood_batch),
            ("-zerocopy", ", whole batches of views", udp.flood_zero_copy),
        )
    ),
    *(
        Case(
            f"{name}-ef_vi",
            f"{name.upper()} echo, 64 B; sfloop on ef_vi over a simulated NIC",
            (*ROUND_TRIP, Metric("times_shm", "RTT p50 × the shm driver's", "ratio", "lower")),
            _over_ef_vi(programs),
            only=(OWN,),
            scaled_seconds=2.0,
            unavailable=_no_simulator,
            place=netns.veth_pair,
        )
        for name, programs in (("udp", UDP_ECHO), ("tcp", TCP_ECHO))
    ),
    Case(
        "udp-shm",
        "UDP echo, 64 B; sfloop over shared memory, the others over loopback",
        (*ROUND_TRIP, LOST),
        _over_shm,
        tuple(REFERENCES),
        unavailable=_no_clients,
    ),
    Case(
        "stack-cost",
        "the tcpip stack by itself, in C over shared memory: a datagram and a TCP segment of 64 B, an empty turn",
        (
            Metric("receive", "received, per datagram", "ns", "lower"),
            Metric("send", "sent, per datagram", "ns", "lower"),
            Metric("segment_receive", "received, per segment", "ns", "lower"),
            Metric("segment_send", "sent, per segment", "ns", "lower"),
            Metric("idle", "idle turn, shm", "ns", "lower"),
            Metric("idle_af_xdp", "idle turn, AF_XDP", "ns", "lower"),
        ),
        _cost,
        only=(OWN,),
        fixed_seconds=0.8,
    ),
)
