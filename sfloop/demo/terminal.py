"""The demo's tables for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.table import Table
from rich.text import Text

from .columns import AF_XDP, BYPASS_COLUMNS, SHM, UVLOOP_VETH
from .comparison import microseconds
from .summary import PERCENTILES, LoopSummary
from .summary import latency as latency_of

STYLES = {
    "asyncio": "white",
    "uvloop": "yellow",
    "sfloop": "bold cyan",
    SHM.name: "bold magenta",
    UVLOOP_VETH.name: "yellow",
    AF_XDP.name: "bold green",
}
LATENCY_HEADINGS = (*(f"p{percentile:g}" for percentile in PERCENTILES), "max", "p50 by round")
COUNT_HEADINGS = ("messages/s", "gaps closed", "re-sent", "orders", "CPU", "final book")

LATE_NS = 1_000_000
"""A packet that leaves later than this was delayed. In a burst, packets wait for earlier ones, but less than this."""


def latency_table(name: str, summaries: Sequence[LoopSummary]) -> Table:
    """Percentiles of one latency, a line for each loop."""
    counts = [f"{summary.latencies[name].count:,}" for summary in summaries]
    samples = counts[0] if len(set(counts)) == 1 else " / ".join(counts)
    table = _table(f"{name.capitalize()}, µs ({samples} samples)", LATENCY_HEADINGS)
    for summary in summaries:
        table.add_row(Text(summary.loop), *latency_cells(summary, name), style=STYLES.get(summary.loop, ""))
    return table


def _table(title: str, headings: Sequence[str]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, title=title, title_style="bold", title_justify="left", pad_edge=False)
    table.add_column("loop", no_wrap=True)
    for heading in headings:
        table.add_column(heading, justify="right", overflow="fold")
    return table


def latency_cells(summary: LoopSummary, name: str) -> list[str]:
    """The cells of one loop's line in a table of latencies: percentiles, maximum, spread of the rounds."""
    latency = summary.latencies[name]
    if not latency.count:
        return ["–"] * len(LATENCY_HEADINGS)
    low, high = min(latency.medians), max(latency.medians)
    spread = f"{microseconds(latency.median)} ({microseconds(low)}–{microseconds(high)})"
    return [*map(microseconds, latency.columns), spread]


def count_table(summaries: Sequence[LoopSummary]) -> Table:
    """The messages that each loop's client received, recovered and sent."""
    table = _table("Messages, gaps and orders", COUNT_HEADINGS)
    for summary in summaries:
        table.add_row(Text(summary.loop), *count_cells(summary), style=STYLES.get(summary.loop, ""))
    return table


def count_cells(summary: LoopSummary) -> list[str]:
    """The cells of one loop's line in a table of counts. Contains verified rounds only."""
    gaps = summary.total("client", "gaps")
    return [
        f"{summary.messages_per_second:,.0f}",
        f"{gaps:,} of {gaps:,}",
        f"{summary.total('client', 'recovered'):,}",
        f"{summary.total('client', 'orders_executed'):,}",
        f"{summary.cpu:.0%}",
        "equal",
    ]


def _networks(present: set[str]) -> list[tuple[str, list[str]]]:
    """(text, names of its columns) for every network but the loopback."""
    texts = {
        "shm": "market data, retransmissions and orders over a shared-memory wire, with sfloop's tcpip stack at both "
        "ends. Tick-to-trade includes the turns of the simulator's loop.",
        "veth": "two network namespaces joined by a veth pair: the simulator on the kernel's sockets in one, the "
        "client in the other. On sfloop af_xdp the tcpip stack carries market data and orders, past the kernel.",
    }
    columns = [column for column in BYPASS_COLUMNS if column.name in present]
    found = [(text, [c.name for c in columns if c.network == network]) for network, text in texts.items()]
    return [(text, names) for text, names in found if names]


def notes(summaries: Sequence[LoopSummary]) -> list[str]:
    """Further facts for a reader of the figures."""
    present = {summary.loop for summary in summaries}
    lines = [f"{', '.join(names)}: {text}" for text, names in _networks(present)]
    for summary in summaries:
        unplanned = summary.total("exchange", "messages_lost_unplanned")
        if unplanned:
            lines.append(
                f"{summary.loop}: {unplanned:,} messages were lost in addition to those lost on purpose "
                f"(most likely a socket buffer was full); all were recovered."
            )
        negative = summary.total("client", "negative_latencies")
        if negative:
            lines.append(
                f"{summary.loop}: {negative:,} messages arrived before they were sent, by the wall clock, which must "
                f"have been set back meanwhile."
            )
    lateness = latency_of([result.exchange["lateness"] for summary in summaries for result in summary.rounds])
    late = lateness.histogram.percentile(99.0) if lateness.count else 0
    if late > LATE_NS:
        lines.append(
            f"One in a hundred packets left the simulator more than {microseconds(late)} µs late: other programs use "
            f"its CPU, and most likely the client's, too. On a busy machine these figures are mostly noise."
        )
    untimed = sum(summary.total("exchange", "orders_untimed") for summary in summaries)
    if untimed:
        lines.append(
            f"{untimed:,} orders answer messages of the warm-up, or messages that were lost or followed a gap; "
            f"tick-to-trade does not include their times."
        )
    reasons = {result.exchange["unicast_because"] for summary in summaries for result in summary.rounds} - {None}
    lines += [f"The feed used unicast instead of multicast: {reason}." for reason in sorted(reasons)]
    return lines
