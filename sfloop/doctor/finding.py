"""What a check finds: a status, the reason, what it costs, and the command that mends it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

Status = Literal["pass", "warn", "fail", "unseen"]
STATUSES: tuple[Status, ...] = ("pass", "warn", "fail", "unseen")

#: Where a cost comes from: the kernel's or the NIC driver's own figure, measured here and now, or what is typical of
#: this kind of machine (an order of magnitude).
Source = Literal["kernel", "measured", "typical"]


@dataclass(frozen=True)
class Cost:
    """What leaving things as they are costs."""

    #: Microseconds, from and to; equal where it is one figure.
    from_us: float
    to_us: float
    #: What costs that: ``"message"``, ``"wake-up"``, ``"tick"``…
    per: str
    source: Source

    @property
    def text(self) -> str:
        figures = f"{self.from_us:,g}" if self.from_us == self.to_us else f"{self.from_us:,g}–{self.to_us:,g}"
        return f"{figures} µs per {self.per} ({self.source})"


@dataclass(frozen=True)
class Finding:
    """One line of the report."""

    #: The check's name: stable, for programs.
    check: str
    #: What was looked at: an interface, a CPU, a library; "" where it is the machine.
    subject: str
    #: ``pass``; ``warn``: it works, and costs latency or passes a protection by; ``fail``: something asked for cannot
    #: work; ``unseen``: it could not be looked at from here.
    status: Status
    reason: str
    cost: Cost | None = None
    #: What mends it, to be typed by whoever agrees. Nothing here is ever run.
    command: str | None = None

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


class UnseenError(Exception):
    """Something could not be looked at; the text says what and why."""
