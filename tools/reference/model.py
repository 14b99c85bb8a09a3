"""The parts of the reference: counters and sections."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Counter:
    """One counter: its ``name``, what it ``counts``, what a rising value ``tells``, and what to ``do`` then."""

    name: str
    counts: str
    tells: str
    do: str = ""


@dataclass(frozen=True)
class Section:
    """Counters in one place. ``where`` is the expression that returns them."""

    title: str
    where: str
    about: str
    counters: tuple[Counter, ...]
    after: str = field(default="")

    @property
    def names(self) -> list[str]:
        """The names, in the order of the page."""
        return [counter.name for counter in self.counters]
