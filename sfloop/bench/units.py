"""Figures as text."""

from __future__ import annotations

from sfloop.bench.bars import Bar
from sfloop.bench.model import Spread, Unit


def _digits(value: float) -> str:
    """Three significant digits, without an exponent."""
    size = abs(value)
    return f"{value:.2f}" if size < 10 else f"{value:.1f}" if size < 100 else f"{value:,.0f}"


_TIMES: tuple[tuple[float, float, str], ...] = ((1e3, 1.0, "ns"), (1e6, 1e3, "µs"), (1e9, 1e6, "ms"), (1e300, 1e9, "s"))


def _time_scale(ns: float) -> tuple[float, str]:
    """A suitable unit for a time, and its length in ns."""
    return next((divisor, unit) for limit, divisor, unit in _TIMES if abs(ns) < limit)


def _in_unit(ns: float, divisor: float) -> str:
    return f"{ns:.0f}" if divisor == 1.0 else _digits(ns / divisor)


def duration(ns: float) -> str:
    """A time in ns as text, in a suitable unit."""
    divisor, unit = _time_scale(ns)
    return f"{_in_unit(ns, divisor)} {unit}"


def figure(value: float, unit: Unit) -> str:
    """One figure with its unit."""
    if unit == "ns":
        return duration(value)
    if unit == "ms":
        return duration(value * 1e6)
    if unit == "ratio":
        return f"{value:.2f}"
    if unit == "bytes":
        return f"{value:,.0f} B"
    return f"{value:,.0f}"


def spread(value: Spread, unit: Unit) -> str:
    """The median, followed by the extremes in brackets if there is more than one round, all in the median's unit."""
    text = figure(value.median, unit)
    return text if value.low == value.high else f"{text} ({extremes(value, unit)})"


def extremes(value: Spread, unit: Unit) -> str:
    """The lowest and the highest of the rounds, in the median's unit."""
    if unit in ("ns", "ms"):
        factor = 1e6 if unit == "ms" else 1.0
        divisor, _ = _time_scale(value.median * factor)
        return f"{_in_unit(value.low * factor, divisor)} – {_in_unit(value.high * factor, divisor)}"
    if unit == "bytes":
        return f"{value.low:,.0f} – {value.high:,.0f}"
    return f"{figure(value.low, unit)} – {figure(value.high, unit)}"


def condition(bar: Bar, unit: Unit) -> str:
    """The condition of a bar as text."""
    sign = "≤" if bar.relation == "<=" else "≥"
    if bar.against == "nothing":
        return f"{sign} {figure(bar.limit, unit)}"
    return f"{sign} {bar.limit:g} × {bar.against}" + (", a peer" if bar.by_peer else "")
