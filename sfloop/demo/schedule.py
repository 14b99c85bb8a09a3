"""When the simulator sends its packets: steady spells, bursts and quiet spells, the same for every loop."""

from __future__ import annotations

import random
from dataclasses import dataclass

NS_PER_SECOND = 1_000_000_000

STEADY_GAP = 450e-6
"""Mean seconds between two packets of a steady spell; the gaps are distributed exponentially."""
STEADY_SPELL = (0.10, 0.40)
"""Shortest and longest steady spell, in seconds."""
BURSTS_PER_SECOND = 10.0
"""How many bursts there are in a second of steady spell, on average."""
BURST_PACKETS = (8, 32)
"""Fewest and most packets of a burst; they leave back to back."""
QUIET_SPELL = (0.03, 0.12)
"""Shortest and longest quiet spell, in seconds: no packets but heartbeats."""
MESSAGES_PER_PACKET = (1, 1, 1, 1, 1, 2, 2, 2, 3, 4)
"""What the number of messages in a packet is drawn from."""


@dataclass(frozen=True)
class Slot:
    """One packet to be: ``due`` ns after the start, with ``count`` messages."""

    due: int
    count: int


def schedule(seed: int, seconds: float) -> list[Slot]:
    """The packets of ``seconds`` seconds, in the order in which they are due."""
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
    """Which of ``packets`` packets are to be lost on purpose, each with probability ``rate``.

    Now and then a loss takes the next packets along, as real ones do, so that gaps of several packets occur too.
    """
    rng = random.Random(f"losses {seed}")
    lost: set[int] = set()
    for index in range(packets):
        if rng.random() < rate:
            lost.update(range(index, min(packets, index + rng.choice((1, 1, 1, 2, 4)))))
    return lost
