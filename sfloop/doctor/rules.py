"""What the kernel does with frames of an interface that are not sfloop's: chains of rules, as the checks see them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Hook = Literal["prerouting", "input", "output", "postrouting", "ingress", "egress"]


@dataclass(frozen=True)
class Chain:
    """A chain that frames of the interface go through, with what of it may apply to them."""

    #: As its program lists it: ``nft inet filter input``, ``iptables -t nat POSTROUTING``.
    name: str
    hook: Hook
    #: Rules that may match on the interface.
    rules: int
    #: Whether it drops what no rule has matched.
    drops: bool = False
    #: Whether a rule of it changes addresses.
    translates: bool = False
    #: Whether a rule of it asks for the state of a connection.
    tracks: bool = False

    @property
    def text(self) -> str:
        parts = [f"{self.rules} rule{'s' if self.rules != 1 else ''}"] if self.rules else []
        parts += ["policy drop"] if self.drops else []
        return f"{self.name} ({', '.join(parts)})"


@dataclass
class Effect:
    """What the rules that were looked at come to."""

    rules: int = 0
    translates: bool = False
    tracks: bool = False

    def add(self, other: Effect) -> None:
        self.rules += other.rules
        self.translates |= other.translates
        self.tracks |= other.tracks
