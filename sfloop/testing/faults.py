"""Faults of a wire: lost, duplicated, corrupted, delayed and reordered frames."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Faults"]

_LONGEST_DELAY = 10.0


@dataclass(frozen=True, kw_only=True)
class Faults:
    """Faults of the frames that one end of a wire sends.

    The seed and the order of the frames decide which frames are affected, so a run can be repeated. Each fault decides
    independently of the others: a delay does not change which frames are lost.

    :param loss: share of the frames that are lost, 0 to 1.
    :param duplicate: share of the frames that arrive twice.
    :param corrupt: share of the frames that arrive with one wrong bit. The receiver's checksums detect it.
    :param reorder: share of the frames that the next frame overtakes. Without a next frame they arrive after 1 ms.
    :param delay: seconds from 0 to 10, or the least and the most, between which each frame has its own delay. Frames
        with different delays overtake each other.
    :param rate: bits per second that the wire carries; None: no limit.
    :param seed: a whole number from 0 to 10**18.
    :raises ValueError: a value is not allowed. The message names it.
    """

    loss: float = 0.0
    duplicate: float = 0.0
    corrupt: float = 0.0
    reorder: float = 0.0
    delay: float | tuple[float, float] = 0.0
    rate: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("loss", "duplicate", "corrupt", "reorder"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}={getattr(self, name)!r}: must be a share of the frames, from 0 to 1")
        least, most = self._delays
        if not 0 <= least <= most <= _LONGEST_DELAY:
            raise ValueError(
                f"delay={self.delay!r}: must be seconds from 0 to {_LONGEST_DELAY:g}, or the least and the most"
            )
        if self.rate is not None and not 1 <= self.rate <= 1e12:
            raise ValueError(f"rate={self.rate!r}: must be bits per second, from 1 to 10**12, or None")
        if not 0 <= self.seed <= 10**18:
            raise ValueError(f"seed={self.seed!r}: must be a whole number from 0 to 10**18")

    @property
    def _delays(self) -> tuple[float, float]:
        return self.delay if isinstance(self.delay, tuple) else (self.delay, self.delay)

    def describe(self) -> str:
        """The faults in the form of a loop's option ``faults``: ``"tx.loss=1%,seed=7"``."""
        words = [
            f"tx.{name}={getattr(self, name) * 100:.9f}%"
            for name in ("loss", "duplicate", "corrupt", "reorder")
            if getattr(self, name)
        ]
        if any(self._delays):
            words.append("tx.delay={}ns..{}ns".format(*(round(delay * 1e9) for delay in self._delays)))
        if self.rate is not None:
            words.append(f"tx.rate={round(self.rate)}bit")
        return ",".join([*words, f"seed={self.seed}"])
