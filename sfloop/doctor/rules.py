"""The kernel's rules for frames of an interface that are not sfloop's, in the form that checks use."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Hook = Literal["prerouting", "input", "output", "postrouting", "ingress", "egress"]


@dataclass(frozen=True)
class Chain:
    """A chain that frames of the interface pass through, and the effect of its rules on them."""

    #: The name in its program's listing: ``nft inet filter input``, ``iptables -t nat POSTROUTING``.
    name: str
    hook: Hook
    #: Rules that may match on the interface.
    rules: int
    #: Whether it drops frames that no rule matches.
    drops: bool = False
    #: Whether one of its rules changes addresses.
    translates: bool = False
    #: Whether one of its rules uses the state of a connection.
    tracks: bool = False

    @property
    def text(self) -> str:
        parts = [f"{self.rules} rule{'s' if self.rules != 1 else ''}"] if self.rules else []
        parts += ["policy drop"] if self.drops else []
        return f"{self.name} ({', '.join(parts)})"


@dataclass
class Effect:
    """The combined effect of several rules."""

    rules: int = 0
    translates: bool = False
    tracks: bool = False

    def add(self, other: Effect) -> None:
        self.rules += other.rules
        self.translates |= other.translates
        self.tracks |= other.tracks
