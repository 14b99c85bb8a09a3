"""Decides whether the machine was too noisy to judge a case.

Three figures are checked against limits:

- *Interruptions.* The load generator has a CPU to itself and never sleeps. Each involuntary context switch means that
  another program or a kernel thread took that CPU, which falsifies the current measurement.
- *Steal.* Time in which the hypervisor gave one of the two CPUs to another machine (``/proc/stat``).
- *Unsteadiness.* The spread of the rounds of a reference (the spinning C server, else uvloop, else asyncio), as a share
  of their median. With five rounds or more, the farthest one is left out, because it does not move the median.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

#: Involuntary switches per second of the load generator. Kernel threads cause a few.
MOST_INTERRUPTIONS = 20.0
MOST_STEAL = 0.02
MOST_UNSTEADINESS = 0.15


@dataclass(frozen=True)
class Disturbance:
    """The disturbances of one measurement."""

    #: Involuntary context switches per second of the program that measured.
    interruptions: float
    #: Clock ticks stolen from the two CPUs, and all clock ticks.
    stolen_ticks: int
    ticks: int


@dataclass(frozen=True)
class Verdict:
    """Whether a case can be judged, and the figures."""

    noisy: bool
    text: str
    interruptions: float
    steal: float
    unsteadiness: float | None


class CpuTicks:
    """Counts the ticks of some CPUs, and stolen ticks, since it was made (``/proc/stat``, man 5 proc)."""

    def __init__(self, cpus: Sequence[int]) -> None:
        self._names = {f"cpu{cpu}" for cpu in cpus}
        self._stolen, self._ticks = self._read()

    def _read(self) -> tuple[int, int]:
        stolen = ticks = 0
        for line in Path("/proc/stat").read_text().splitlines():
            name, *columns = line.split()
            if name in self._names:
                # user nice system idle iowait irq softirq steal; guest time is part of user time.
                values = [int(column) for column in columns[:8]]
                ticks += sum(values)
                stolen += values[7] if len(values) > 7 else 0
        return stolen, ticks

    def since(self) -> tuple[int, int]:
        """(stolen ticks, all ticks)."""
        stolen, ticks = self._read()
        return stolen - self._stolen, ticks - self._ticks


def unsteadiness(rounds: Sequence[float]) -> float | None:
    """The spread of the rounds as a share of their median; None for fewer than three rounds."""
    if len(rounds) < 3:
        return None
    middle = statistics.median(rounds)
    kept = sorted(rounds, key=lambda value: abs(value - middle))
    if len(kept) >= 5:
        kept.pop()
    return (max(kept) - min(kept)) / middle if middle else None


def judge(disturbances: Sequence[Disturbance], reference: str | None, rounds: Sequence[float]) -> Verdict:
    """Judge a case by all of its measurements and by the rounds of its reference."""
    interruptions = statistics.median(d.interruptions for d in disturbances) if disturbances else 0.0
    ticks = sum(d.ticks for d in disturbances)
    steal = sum(d.stolen_ticks for d in disturbances) / ticks if ticks else 0.0
    apart = unsteadiness(rounds)
    seen = []
    if interruptions > MOST_INTERRUPTIONS:
        seen.append(
            f"other programs took the clock-holder's CPU away {interruptions:.0f} times a second "
            f"(up to {MOST_INTERRUPTIONS:.0f} is quiet)"
        )
    if steal > MOST_STEAL:
        seen.append(f"the hypervisor took {steal:.1%} of the CPUs' time (up to {MOST_STEAL:.0%} is quiet)")
    if apart is not None and apart > MOST_UNSTEADINESS:
        seen.append(f"the rounds of {reference} lie {apart:.0%} apart (up to {MOST_UNSTEADINESS:.0%} is quiet)")
    if seen:
        text = "too noisy to judge: " + "; ".join(seen)
    else:
        text = f"quiet: {interruptions:.0f} interruptions/s, {steal:.1%} steal"
        text += "" if apart is None else f", rounds of {reference} {apart:.0%} apart"
    return Verdict(bool(seen), text, interruptions, steal, apart)
