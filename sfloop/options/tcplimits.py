"""The option ``tcp``: limits and timers of the tcpip stack's TCP (stacks/tcpip/config.h, struct sf_tcp_limits)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

from sfloop.common.names import nearest

__all__ = ["ALGORITHMS", "NAMES", "TcpLimits", "check_tcp", "in_nanoseconds"]

#: (name, value) pairs in the order of the names. A tuple, because options are hashable.
TcpLimits = tuple[tuple[str, "int | float | str"], ...]

ALGORITHMS: Final = ("cubic", "newreno")

#: Name → (least, most), as a count or in bytes.
COUNTS: Final[dict[str, tuple[int, int]]] = {
    "max_connections": (1, 1 << 24),
    "max_half_open": (1, 1 << 20),
    "max_time_wait": (1, 1 << 24),
    "send_buffer": (4096, 1 << 30),
    "receive_buffer": (4096, 1 << 30),
    "memory": (1 << 16, 1 << 48),
    "syn_retries": (1, 127),
    "retries": (1, 127),
    "mss": (88, 65_495),
}
#: Name → (least, most) in seconds.
SECONDS: Final[dict[str, tuple[float, float]]] = {
    "time_wait": (0.001, 3600),
    "orphan_timeout": (0.001, 3600),
    "user_timeout": (0.001, 86_400),
    "min_rto": (0.0001, 60),
    "delayed_ack": (0.0001, 0.5),  # RFC 9293, 3.8.6.3
}
NAMES: Final = ("congestion", *COUNTS, *SECONDS)


def check_tcp(label: str, value: object) -> TcpLimits | None:
    """Convert a mapping, or text such as ``"congestion=newreno,time_wait=5"``, to :data:`TcpLimits`.

    :raises TypeError: the value is neither a mapping nor text.
    :raises ValueError: a name is unknown, or a value is not allowed.
    """
    if value is None:
        return None
    if isinstance(value, str):
        given = _from_text(label, value)
    elif isinstance(value, (Mapping, tuple)):
        given = dict(value)
    else:
        raise TypeError(f"{label}={value!r}: must be a mapping of limits, text like 'time_wait=5', or None")
    return tuple((name, _check(label, name, given[name])) for name in sorted(given, key=str)) or None


def in_nanoseconds(limits: TcpLimits | None) -> dict[str, int | str]:
    """The limits as the stack in C takes them: a time is a whole number of nanoseconds, never a shorter time."""
    return {name: math.ceil(float(value) * 1e9) if name in SECONDS else _exact(value) for name, value in limits or ()}


def _exact(value: float | str) -> int | str:
    return value if isinstance(value, str) else int(value)


def _from_text(label: str, text: str) -> dict[str, object]:
    given: dict[str, object] = {}
    for part in text.split(","):
        name, equals, value = part.partition("=")
        if not equals or not value.strip():
            raise ValueError(f"{label}={text!r}: {part!r} must be a name and a value, like 'time_wait=5'")
        given[name.strip()] = value.strip()
    return given


def _check(label: str, name: object, value: object) -> int | float | str:
    if name == "congestion":
        if value not in ALGORITHMS:
            raise ValueError(f"{label}: congestion={value!r}: must be one of {', '.join(map(repr, ALGORITHMS))}")
        return str(value)
    if name in COUNTS:
        return _check_count(label, str(name), value)
    if name in SECONDS:
        return _check_seconds(label, str(name), value)
    raise ValueError(f"{label}: there is no limit {name!r}{nearest(str(name), NAMES)}; there are {', '.join(NAMES)}")


def _check_count(label: str, name: str, value: object) -> int:
    least, most = COUNTS[name]
    try:
        number = int(value) if isinstance(value, str) else value
    except ValueError:
        number = None
    if isinstance(number, bool) or not isinstance(number, int) or not least <= number <= most:
        raise ValueError(f"{label}: {name}={value!r}: must be a whole number from {least} to {most}")
    return number


def _check_seconds(label: str, name: str, value: object) -> float:
    least, most = SECONDS[name]
    try:
        number = float(value) if isinstance(value, (str, int, float)) and not isinstance(value, bool) else math.nan
    except ValueError:
        number = math.nan
    if not least <= number <= most:
        raise ValueError(f"{label}: {name}={value!r}: must be a number of seconds from {least} to {most}")
    return number
