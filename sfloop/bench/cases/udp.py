"""UDP: echo over loopback and over a veth pair, and a flood of small datagrams."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping

from sfloop.bench import netns
from sfloop.bench.cases.metrics import LOST, ROUND_TRIP
from sfloop.bench.errors import ContenderFailed
from sfloop.bench.loops import REFERENCES, Contender
from sfloop.bench.model import Case, Metric, Sample
from sfloop.bench.rig import GRACE, START_LIMIT, Rig

#: Seconds that the flood goes on beyond what the server counts, for its start and its warm-up.
MARGIN = 0.3


def measure_echo(rig: Rig, contender: Contender, environment: Mapping[str, str] | None = None) -> Sample:
    """Round trips of 64 B."""
    with rig.server(contender, "udp.echo", "serve-udp", environment=environment) as server:
        port = server.line(START_LIMIT)["port"]
        return rig.load(server, "udp", port, size=64).sample()


def measure_flood(
    rig: Rig, contender: Contender, program: str = "udp.flood", environment: Mapping[str, str] | None = None
) -> Sample:
    """Datagrams delivered while more are sent than can be."""
    seconds, warmup = rig.settings.seconds, rig.settings.warmup
    parameters = {"seconds": seconds, "warmup": warmup}
    with rig.server(contender, program, "serve-flood", parameters, environment) as server:
        port = server.line(START_LIMIT)["port"]
        ticks = rig.ticks()
        command = rig.load_command("flood", port, size=64, seconds=seconds + warmup + MARGIN)
        with subprocess.Popen(command, stdout=subprocess.PIPE) as sender:
            try:
                received = rig.own(server, ticks, seconds + warmup)
                output, _ = sender.communicate(timeout=GRACE)
            finally:
                sender.kill()
    if sender.returncode:
        raise ContenderFailed(f"the flood ended with status {sender.returncode}")
    sent = json.loads(output)
    values = {"per_second": received.per_second, "sent_per_second": sent["sent"] / sent["seconds"]}
    return Sample(values, rig.disturbance(sent, ticks))


CASES = (
    Case("udp-loopback", "UDP echo, loopback, 64 B", (*ROUND_TRIP, LOST), measure_echo, tuple(REFERENCES)),
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
            Metric("sent_per_second", "datagrams/s sent", "per_s", "higher"),
        ),
        measure_flood,
        tuple(REFERENCES),
        fixed_seconds=0.5,
    ),
)
