"""The plots of the HTML page, as SVG text."""

from __future__ import annotations

import io
import statistics
from collections.abc import Sequence
from typing import TYPE_CHECKING

from sfloop.bench import units
from sfloop.bench.loops import AGAINST, OWN
from sfloop.bench.model import CaseResult
from sfloop.common.histogram import Histogram

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's palette, which readers with any colour vision can tell apart.
COLOURS = {
    OWN: "#D55E00",
    AGAINST: "#882255",
    "uvloop": "#0072B2",
    "rloop": "#009E73",
    "asyncio": "#7F7F7F",
    "c-spin": "#000000",
    "c-spin-recv": "#555555",
    "c-block": "#000000",
    "c-af_xdp": "#000000",
    "zuvloop": "#CC79A7",
    "rsloop": "#E69F00",
    "blazio": "#56B4E9",
    "uvloop+aiofastnet": "#0072B2",
    "sfloop+aiofastnet": "#D55E00",
}
#: A log axis has no zero, so smaller values, in ns, are drawn as this value.
LEAST_NS = 10
OTHER_COLOUR = "#8C6D31"
DASHES = {
    "c-spin": "--",
    "c-spin-recv": "--",
    "c-block": ":",
    "c-af_xdp": "-.",
    "uvloop+aiofastnet": ":",
    "sfloop+aiofastnet": ":",
}


def _figure(height: float) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.4, height), layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def svg(figure: Figure) -> str:
    """The plot as an SVG element for a page."""
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None})
    document = text.getvalue()
    return document[document.index("<svg") :]


def percentile_line(histogram: Histogram) -> tuple[list[float], list[float]]:
    """The points of a percentile plot: 1 ÷ (1 − q), and the latency in ns at which q begins."""
    total, seen = histogram.count, 0
    tail, latency = [], []
    for value, count in histogram.buckets():
        tail.append(total / (total - seen))
        latency.append(float(max(value, LEAST_NS)))
        seen += count
    return tail, latency


def percentile_plot(result: CaseResult, contenders: Sequence[str]) -> Figure:
    """Latency over percentile, both on log axes, so that rare high latencies are visible at the right."""
    from matplotlib.ticker import FuncFormatter, NullLocator

    figure, axes = _figure(4.2)
    ends = [1.0]
    for name in contenders:
        histogram = result.histogram(name)
        if histogram is None or not histogram.count:
            continue
        tail, latency = percentile_line(histogram)
        axes.step(
            tail,
            latency,
            where="post",
            label=name,
            color=COLOURS.get(name, OTHER_COLOUR),
            linestyle=DASHES.get(name, "-"),
            linewidth=2.6 if name == OWN else 1.5,
            zorder=3 if name == OWN else 2,
        )
        ends.append(tail[-1])
    decades = [10.0**power for power in range(len(f"{max(ends):.0f}"))]
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xticks([1, 2, *decades[1:]], ["0", "50 %", *[_percent(decade) for decade in decades[1:]]])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: units.duration(value)))
    axes.set_xlabel("percentile")
    axes.grid(True, which="major", color="#DDDDDD", linewidth=0.6)
    axes.grid(True, which="minor", axis="y", color="#EEEEEE", linewidth=0.4)
    axes.set_ylabel(_latency_title(result))
    axes.set_ylim(bottom=max(axes.get_ylim()[0], LEAST_NS))
    figure.legend(frameon=False, loc="outside upper left", ncols=9)
    return figure


def _latency_title(result: CaseResult) -> str:
    return next((m.title.replace(" p50", "") for m in result.case.metrics if m.title.endswith(" p50")), "latency")


def _percent(tail: float) -> str:
    """The percentile of a tail of 1 in `tail`: 10 is 90 %, 1,000 is 99.9 %."""
    nines = len(f"{tail:.0f}") - 1
    return "90 %" if nines == 1 else "99 %" if nines == 2 else f"99.{'9' * (nines - 2)} %"


def bar_chart(result: CaseResult, contenders: Sequence[str]) -> Figure:
    """The case's first metric: a bar for the median of each contender, and a line for the extremes of the rounds."""
    metric = result.case.metrics[0]
    names = [name for name in contenders if result.values(name, metric.key)]
    figure, axes = _figure(0.8 + 0.42 * len(names))
    for row, name in enumerate(reversed(names)):
        rounds = result.values(name, metric.key)
        middle = statistics.median(rounds)
        axes.barh(row, middle, height=0.62, color=COLOURS.get(name, OTHER_COLOUR), alpha=1.0 if name == OWN else 0.75)
        axes.plot([min(rounds), max(rounds)], [row, row], color="#333333", linewidth=1.2)
        axes.annotate(
            units.figure(middle, metric.unit),
            (max(max(rounds), 0), row),
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
        )
    axes.set_yticks(range(len(names)), list(reversed(names)))
    axes.set_xlabel(f"{metric.title} ({metric.better} is better)")
    axes.set_xticks([])
    axes.spines["bottom"].set_visible(False)
    axes.margins(x=0.18)
    axes.set_xlim(
        left=min(0.0, axes.get_xlim()[0]) if any(v < 0 for n in names for v in result.values(n, metric.key)) else 0
    )
    return figure


def picture(result: CaseResult, contenders: Sequence[str]) -> Figure | None:
    """The plot for a case; None if nothing was measured."""
    if not result.samples:
        return None
    if any(result.histogram(name) is not None for name in contenders):
        return percentile_plot(result, contenders)
    return bar_chart(result, contenders)
