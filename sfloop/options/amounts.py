"""The options ``linger`` (seconds) and ``ring`` (frames)."""

from __future__ import annotations

import math
from typing import Final

__all__ = ["check_linger", "check_ring"]

#: The most seconds that ``loop.close()`` may wait for connections.
LINGER_MAX_S: Final = 3600
#: Least and most frames of a receive ring. AF_PACKET and AF_XDP accept no more than the maximum.
RING_MIN: Final = 64
RING_MAX: Final = 65_536


def check_linger(label: str, value: object) -> float:
    allowed = f"must be a number of seconds from 0 to {LINGER_MAX_S}"
    try:
        number = float(value) if isinstance(value, (str, int, float)) and not isinstance(value, bool) else math.nan
    except ValueError:
        number = math.nan
    if not 0 <= number <= LINGER_MAX_S:
        kind = ValueError if isinstance(value, (str, int, float)) and not isinstance(value, bool) else TypeError
        raise kind(f"{label}={value!r}: {allowed}")
    return number


def check_ring(label: str, value: object) -> int | None:
    if value is None:
        return None
    allowed = f"must be a number of frames from {RING_MIN} to {RING_MAX}"
    if isinstance(value, str):
        try:
            value = int(value)
        except ValueError:
            raise ValueError(f"{label}={value!r}: {allowed}") from None
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{label}={value!r}: {allowed}, or None, not {type(value).__name__}")
    if not RING_MIN <= value <= RING_MAX:
        raise ValueError(f"{label}={value!r}: {allowed}")
    return value
