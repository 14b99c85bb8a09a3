"""The times of the simulator's packets: steady spells, bursts and quiet spells, the same for every loop."""

from __future__ import annotations

import random
from dataclasses import dataclass

NS_PER_SECOND = 1_000_000_000

STEADY_GAP = 450e-6
"""Mean seconds between two packets of a steady spell. The gaps have an exponential distribution."""
STEADY_SPELL = (0.10, 0.40)
"""Shortest and longest steady spell, in seconds."""
BURSTS_PER_SECOND = 10.0
"""Mean number of bursts in a second of steady spell."""
BURST_PACKETS = (8, 32)
"""Fewest and most packets of a burst. They are sent back to back."""
QUIET_SPELL = (0.03, 0.12)
"""Shortest and longest quiet spell, in seconds. Only heartbeats are sent."""
MESSAGES_PER_PACKET = (1, 1, 1, 1, 1, 2, 2, 2, 3, 4)
"""The number of messages in a packet is drawn from these."""


@dataclass(frozen=True)
class Slot:
    """A planned packet: ``due`` ns after the start, with ``count`` messages."""

    due: int
    count: int


def schedule(seed: int, seconds: float) -> list[Slot]:
    """The packets of ``seconds`` seconds, in the order of their times."""
    rng = random.Random(f"schedule {seed}")
    slots: list[Slot] = []
    now = 0.0
    while now < seconds:
        end = min(seconds, now + rng.uniform(*STEADY_SPELL))
        while now < end:
            packets = 1
            if rng.random() < BURSTS_PER_SECOND * STEADY_GAP:
                packets = rng.randint(*BURST_PACKETS)
            for _ in range(packets):
                slots.append(Slot(int(now * NS_PER_SECOND), rng.choice(MESSAGES_PER_PACKET)))
            now += rng.expovariate(1 / STEADY_GAP)
        now += rng.uniform(*QUIET_SPELL)
    return slots


def losses(seed: int, packets: int, rate: float) -> set[int]:
    """The packets to lose on purpose, each with probability ``rate``.

    Some losses include the next packets, as real losses do, so that longer gaps occur, too.
    """
    rng = random.Random(f"losses {seed}")
    lost: set[int] = set()
    for index in range(packets):
        if rng.random() < rate:
            lost.update(range(index, min(packets, index + rng.choice((1, 1, 1, 2, 4)))))
    return lost
