"""Plots of the latency distributions."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .columns import AF_XDP, SHM, UVLOOP_VETH
from .summary import Latency, LoopSummary

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = {
    "asyncio": "#6b7280",
    "uvloop": "#d97706",
    "sfloop": "#0e7490",
    SHM.name: "#7c3aed",
    UVLOOP_VETH.name: "#d97706",
    AF_XDP.name: "#15803d",
}
DASHES: dict[str, Any] = {UVLOOP_VETH.name: (0, (4, 1.6)), AF_XDP.name: (0, (4, 1.6))}
"""Dashed lines mark the veth pair, because only loops on the same network may be compared."""
INK, FAINT = "#1f2937", "#e5e7eb"
POINTS = 240
STYLE: dict[Any, Any] = {
    "font.family": ["DejaVu Sans", "sans-serif"],
    "font.size": 10,
    "svg.fonttype": "path",
    "axes.edgecolor": "#9ca3af",
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
}
NINES = (0.0, 50.0, 90.0, 99.0, 99.9, 99.99, 99.999, 99.9999)


def percentile_figure(name: str, summaries: Sequence[LoopSummary]) -> Figure:
    """Latency by percentile, with the scale of HdrHistogram's plots: each additional nine has the same width."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(STYLE):
        figure = Figure(figsize=(7.6, 4.2), layout="constrained")
        axes = figure.add_subplot()
        ends = []
        for summary in summaries:
            latency = summary.latencies[name]
            if latency.count:
                x, y = percentile_curve(latency)
                colour, dashes = COLOURS[summary.loop], DASHES.get(summary.loop, "-")
                axes.plot(x, y, color=colour, linestyle=dashes, linewidth=2, label=summary.loop)
                axes.plot(x[-1], y[-1], "o", color=colour, markersize=4)
                ends.append((y[-1], x[-1], summary.loop))
        _scales(axes, max((x for _, x, _ in ends), default=100.0))
        axes.set_xlabel("percentile")
        axes.set_ylabel(f"{name}, µs")
        if ends:
            axes.legend(loc="best", framealpha=0.85, edgecolor="none")
    return figure


def percentile_curve(latency: Latency) -> tuple[list[float], list[float]]:
    """(1 / (1 - p), µs) points from the minimum to the last value that the number of samples can resolve."""
    last = float(latency.count)
    xs = [last ** (step / POINTS) for step in range(POINTS)]
    percents = [100.0 * (1.0 - 1.0 / x) for x in xs]
    found = [*latency.histogram.percentiles(percents), latency.histogram.maximum]
    return [*xs, last], [value / 1000 for value in found]


def _scales(axes: Axes, last: float) -> None:
    from matplotlib.ticker import FuncFormatter, NullFormatter

    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(1, last * 1.25)
    nines = [nine for nine in NINES if 100 / (100 - nine) <= last * 1.25]
    axes.set_xticks([100 / (100 - nine) for nine in nines], [f"{nine:g} %" for nine in nines])
    axes.set_xticks([], minor=True)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.grid(True, which="major", color=FAINT, linewidth=0.8)
    axes.grid(True, which="minor", axis="y", color=FAINT, linewidth=0.4)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def rounds_figure(names: Sequence[str], summaries: Sequence[LoopSummary]) -> Figure:
    """The median of every round as a dot, which shows the noise between rounds next to the difference between loops."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    with rc_context(STYLE):
        figure = Figure(figsize=(7.6, 0.9 + 0.34 * len(summaries)), layout="constrained")
        for axes, name in zip(figure.subplots(1, len(names), sharey=True, squeeze=False)[0], names, strict=True):
            for row, summary in enumerate(summaries):
                latency = summary.latencies[name]
                xs = [median / 1000 for median in latency.medians]
                colour = COLOURS[summary.loop]
                axes.plot(xs, [row] * len(xs), "o", color=colour, alpha=0.55, markersize=6, markeredgewidth=0)
                if xs:
                    axes.plot([latency.median / 1000] * 2, [row - 0.3, row + 0.3], color=colour, linewidth=2)
            axes.set_yticks(range(len(summaries)), [summary.loop for summary in summaries])
            axes.set_ylim(len(summaries) - 0.5, -0.5)
            axes.set_xlim(left=0)
            axes.xaxis.set_major_locator(MaxNLocator(4))
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
            axes.set_xlabel(f"{name}, p50 of each round, µs")
            axes.grid(True, axis="x", color=FAINT, linewidth=0.8)
            axes.tick_params(axis="y", length=0)
            axes.set_axisbelow(True)
            axes.spines[["top", "right", "left"]].set_visible(False)
    return figure


def svg(figure: Figure, salt: str) -> str:
    """The figure as an ``<svg>`` element for a page. ``salt`` keeps its ids different from those of other figures."""
    from matplotlib import rc_context

    with rc_context({**STYLE, "svg.hashsalt": salt}):
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None}, transparent=True)
    text = buffer.getvalue()
    return text[text.index("<svg") :]
