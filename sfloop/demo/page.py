"""The demo's HTML page, complete in one file."""

from __future__ import annotations

import html
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from .plot import percentile_figure, rounds_figure, svg
from .summary import TICK, WIRE, LoopSummary
from .terminal import COUNT_HEADINGS, LATENCY_HEADINGS, count_cells, latency_cells, notes

EXPLANATIONS = {
    WIRE: "From the time at which the exchange simulator passes a packet to its socket, written into each message, to "
    "the call of the client's datagram_received: one value per message, queueing in bursts included.",
    TICK: "From the time at which the simulator sends a trade message to the arrival of the client's order, both by "
    "the simulator's clock. It includes the loop twice, the books, the strategy, and the stack that carries "
    "the orders.",
}


def render(
    summaries: Sequence[LoopSummary],
    machine: Sequence[tuple[str, str]],
    setting: str,
    outcome: Sequence[str],
    left_out: Sequence[str] = (),
) -> str:
    """The page as text.

    :param setting: a description of the rounds.
    :param outcome: sentences that compare the columns.
    :param left_out: lines about columns that could not run.
    """
    escape = html.escape
    template = Path(__file__).with_name("page.html").read_text(encoding="utf-8")
    parts = {
        "SETTING": escape(setting),
        "OUTCOME": "".join(f"<p>{escape(sentence)}</p>" for sentence in outcome),
        "SECTIONS": "".join(_section(name, summaries) for name in (WIRE, TICK)),
        "ROUNDS": svg(rounds_figure((WIRE, TICK), summaries), "rounds"),
        "COUNTS": _table(["loop", *COUNT_HEADINGS], [[s.loop, *count_cells(s)] for s in summaries]),
        "NOTES": "".join(f"<li>{escape(note)}</li>" for note in [*notes(summaries), *left_out]),
        "MACHINE": "".join(f"<dt>{escape(what)}</dt><dd>{escape(value)}</dd>" for what, value in machine),
        "DATE": datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
    }
    for name, value in parts.items():
        template = template.replace(f"<!--{name}-->", value)
    return template


def _section(name: str, summaries: Sequence[LoopSummary]) -> str:
    headings = ["loop", *LATENCY_HEADINGS, "samples"]
    rows = [[s.loop, *latency_cells(s, name), f"{s.latencies[name].count:,}"] for s in summaries]
    return (
        f"<section><h2>{html.escape(name.capitalize())}</h2><p>{html.escape(EXPLANATIONS[name])}</p>"
        f"<figure>{svg(percentile_figure(name, summaries), name)}</figure>"
        f"{_table(headings, rows, 'µs')}</section>"
    )


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]], unit: str = "") -> str:
    head = "".join(f"<th>{html.escape(heading)}</th>" for heading in headings)
    body = ""
    for row in rows:
        cells = "".join(f"<td>{html.escape(cell)}</td>" for cell in row[1:])
        kind, name = html.escape(row[0].replace(" ", "-")), html.escape(row[0])
        body += f'<tr class="{kind}"><th scope="row">{name}</th>{cells}</tr>'
    caption = f"<caption>{unit}</caption>" if unit else ""
    return f'<div class="scroll"><table>{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
