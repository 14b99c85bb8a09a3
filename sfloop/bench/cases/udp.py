"""UDP: echo over loopback and a veth pair, and a flood of small datagrams."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Mapping
from typing import Any

from sfloop.bench import netns, spans
from sfloop.bench.cases.metrics import LOST, ROUND_TRIP
from sfloop.bench.errors import ContenderFailed
from sfloop.bench.loops import BARE, REFERENCES, Contender
from sfloop.bench.model import Case, Metric, Sample
from sfloop.bench.programs import udp
from sfloop.bench.rig import GRACE, START_LIMIT, Rig
from sfloop.bench.serve import Program

#: Seconds that the flood lasts longer than the server counts, for its start and warm-up.
MARGIN = 0.3


def measure_echo(
    rig: Rig, contender: Contender, environment: Mapping[str, str] | None = None, reference: str = "serve-udp"
) -> Sample:
    """Round trips of 64 B."""
    with rig.server(contender, udp.echo, reference, environment=environment) as server:
        port = server.line(START_LIMIT)["port"]
        return rig.load(server, "udp", port, size=64).sample()


def measure_flood(rig: Rig, contender: Contender) -> Sample:
    """Datagrams of 64 B that are delivered while more are sent than the receiver can handle."""

    def sender(port: int, seconds: float) -> list[str]:
        return rig.load_command("flood", port, size=64, seconds=seconds)

    return measure_delivery(rig, contender, sender)


def measure_delivery(
    rig: Rig,
    contender: Contender,
    sender: Callable[[int, float], list[str]],
    program: Program = udp.flood,
    parameters: Mapping[str, Any] | None = None,
    environment: Mapping[str, str] | None = None,
) -> Sample:
    """Datagrams that are delivered while `sender` sends. It makes a command for a port and a time in seconds."""
    seconds, warmup = rig.settings.seconds, rig.settings.warmup
    given = {"seconds": seconds, "warmup": warmup, **(parameters or {})}
    with rig.server(contender, program, "serve-flood", given, environment) as server:
        port = server.line(START_LIMIT)["port"]
        ticks = rig.ticks()
        command = sender(port, seconds + warmup + MARGIN)
        with subprocess.Popen(command, stdout=subprocess.PIPE) as sending:
            try:
                received = rig.own(server, ticks, seconds + warmup)
                output, _ = sending.communicate(timeout=GRACE)
            finally:
                sending.kill()
    if sending.returncode:
        raise ContenderFailed(f"the flood ended with status {sending.returncode}")
    # The sender starts before the receiver counts and stops after it. Leave out datagrams that it sent outside that
    # span.
    sent = spans.between(json.loads(output)["history"], received.raw["begin"], received.raw["end"])
    values = {"per_second": received.per_second, "sent_per_second": sent.sent / sent.ns * 1e9}
    # Use the receiver's disturbances, because the sender is interrupted by its own kernel work.
    return Sample(values, received.disturbance)


CASES = (
    Case(
        "udp-loopback",
        "UDP echo, loopback, 64 B",
        (*ROUND_TRIP, LOST),
        measure_echo,
        (*REFERENCES, *BARE),
    ),
    Case(
        "udp-veth",
        "UDP echo, veth pair between two namespaces, 64 B",
        (*ROUND_TRIP, LOST),
        measure_echo,
        tuple(REFERENCES),
        unavailable=netns.unavailable,
        place=netns.veth_pair,
    ),
    Case(
        "udp-flood",
        "UDP receive flood, loopback, 64 B",
        (
            Metric("per_second", "datagrams/s delivered", "per_s", "higher"),
            Metric("sent_per_second", "datagrams/s sent", "per_s", "higher", judged=False),
        ),
        measure_flood,
        tuple(REFERENCES),
        fixed_seconds=0.5,
    ),
)
