"""The result of a check: a status, the reason, the cost, and a command that fixes it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

Status = Literal["pass", "warn", "fail", "unseen"]
STATUSES: tuple[Status, ...] = ("pass", "warn", "fail", "unseen")

#: The source of a cost: the kernel's or the NIC driver's own figure, a measurement made now, or a typical value for
#: this kind of machine (an order of magnitude).
Source = Literal["kernel", "measured", "typical"]


@dataclass(frozen=True)
class Cost:
    """The cost of leaving a setting as it is."""

    #: Microseconds, from and to; equal if it is one figure.
    from_us: float
    to_us: float
    #: The event that costs this: ``"message"``, ``"wake-up"``, ``"tick"``…
    per: str
    source: Source

    @property
    def text(self) -> str:
        figures = f"{self.from_us:,g}" if self.from_us == self.to_us else f"{self.from_us:,g}–{self.to_us:,g}"
        return f"{figures} µs per {self.per} ({self.source})"


@dataclass(frozen=True)
class Finding:
    """One line of the report."""

    #: The check's name. It is stable, because programs use it.
    check: str
    #: An interface, a CPU or a library; "" for the machine.
    subject: str
    #: ``pass``; ``warn``: it works, but costs latency or bypasses a protection; ``fail``: something that was asked for
    #: cannot work; ``unseen``: the check could not see what it needs.
    status: Status
    reason: str
    cost: Cost | None = None
    #: A command that fixes it, for the user to run. The doctor never runs it.
    command: str | None = None

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


class UnseenError(Exception):
    """Something could not be examined. The text says what, and why."""
