"""The tables on the terminal."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from sfloop.bench import units
from sfloop.bench.bars import Outcome
from sfloop.bench.compare import TOLERANCE, Comparison, compare_case, slower
from sfloop.bench.loops import AGAINST, OWN, Contender
from sfloop.bench.model import CaseResult, Spread, Unit
from sfloop.bench.noise import Verdict

PEER = "uvloop"
_BUILD_STYLES = {"slower": "bold red", "faster": "green", "not compared": "yellow"}
_STYLES = {"met": "green", "missed": "bold red", "not measured": "yellow"}


def times_peer(result: CaseResult, contender: str) -> float | None:
    """The case's first metric as a multiple of uvloop's: the median over the rounds; None if one is missing."""
    key = result.case.metrics[0].key
    pairs = zip(result.values(contender, key), result.values(PEER, key), strict=False)
    ratios = [own / peer for own, peer in pairs if peer]
    return statistics.median(ratios) if ratios else None


def case_table(result: CaseResult, contenders: Sequence[Contender]) -> Table:
    """The figures of one case: a row for each contender, a column for each metric."""
    case = result.case
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("")
    for metric in case.metrics:
        arrow = "↓" if metric.better == "lower" else "↑"
        table.add_column(f"{metric.title} {arrow}", justify="right")
    table.add_column(f"× {PEER}", justify="right")
    for contender in contenders:
        name = contender.name
        if name in result.failures:
            failed = escape(f"failed: {result.failures[name]}")
            table.add_row(name, f"[bold red]{failed}[/]", *[""] * len(case.metrics))
        elif name in result.samples:
            spreads = [(result.spread(name, metric.key), metric.unit) for metric in case.metrics]
            cells = [units.spread(spread, unit) if spread else "–" for spread, unit in spreads]
            times = times_peer(result, name)
            ratio = "" if times is None else f"{times:.2f}"
            table.add_row(name, *cells, ratio, style="bold cyan" if name == OWN else None)
    comparisons = compare_case(result)
    if comparisons:
        table.add_row(f"{OWN} ÷ {AGAINST}", *(_coloured(each, _short(each)) for each in comparisons), "")
    return table


def _short(comparison: Comparison) -> str:
    return f"{ratio_text(comparison)} slower" if slower([comparison]) else ratio_text(comparison)


def _coloured(comparison: Comparison, text: str) -> str:
    style = _BUILD_STYLES.get(comparison.verdict) if comparison.judged else "dim"
    return f"[{style}]{escape(text)}[/]" if style else escape(text)


def ratio_text(comparison: Comparison) -> str:
    """The ratio of two builds with its interval, as text."""
    if comparison.ratio is None:
        return "–"
    around = comparison.interval
    text = _times(comparison.ratio)
    return f"{text} ({_times(around.low)} – {_times(around.high)})" if around else text


def _times(ratio: float) -> str:
    return f"{ratio:.3f}" if ratio < 10 else f"{ratio:,.0f}"


def level_text(comparison: Comparison) -> str:
    """The level of the interval, and the number of its rounds."""
    around = comparison.interval
    return f"{around.level:.1%} of {comparison.rounds} rounds" if around else "–"


def comparison_text(comparison: Comparison) -> str:
    """The verdict of a comparison, with remarks."""
    text = f"{comparison.verdict}: {comparison.reason}" if comparison.reason else comparison.verdict
    text += "" if comparison.judged or comparison.verdict == "not compared" else " (not judged)"
    return f"{text}; the machine was noisy" if comparison.noisy else text


#: The columns of the table of two builds.
BUILDS_COLUMNS = ("case", "figure", "this build ÷ the other: median (interval)", "interval's level", "")


def builds_table(comparisons: Sequence[Comparison], results: dict[str, CaseResult]) -> Table:
    """Every figure that both builds have."""
    title = "This build against the other"
    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for column in BUILDS_COLUMNS:
        table.add_column(column)
    for each in comparisons:
        metric = next(metric for metric in results[each.case].case.metrics if metric.key == each.metric)
        arrow = "↓" if metric.better == "lower" else "↑"
        texts = (ratio_text(each), level_text(each), _coloured(each, comparison_text(each)))
        table.add_row(each.case, f"{metric.title} {arrow}", *texts)
    return table


def builds_summary(comparisons: Sequence[Comparison]) -> str:
    """One line: the number of figures in which this build is slower."""
    compared = [each for each in comparisons if each.judged and each.verdict != "not compared"]
    found = slower(compared)
    cases = ", ".join(dict.fromkeys(each.case for each in found))
    text = f"{len(compared)} figures judged: {len(found)} slower by more than {TOLERANCE - 1:.0%}"
    return text + (f" (in {cases})" if found else "")


def print_case(console: Console, result: CaseResult, contenders: Sequence[Contender], verdict: Verdict | None) -> None:
    """Print one case: its table and whether it can be judged, or why it was not run."""
    if result.skipped is not None:
        console.print(f"[bold]{result.case.name}[/]: not run: {escape(result.skipped)}\n", soft_wrap=True)
        return
    console.print(f"[bold]{result.case.name}[/]: {escape(result.case.title)}", highlight=False)
    console.print(case_table(result, contenders), end="")
    if verdict is not None:
        style = "bold yellow" if verdict.noisy else "dim"
        console.print(f"  [{style}]{escape(verdict.text)}[/]", soft_wrap=True)
    console.print()


def measured(outcome: Outcome, unit: Unit) -> str:
    """The measured figure for a bar, as text."""
    if outcome.ratio is None or outcome.low is None or outcome.high is None:
        return outcome.reason or ""
    if outcome.bar.against == "nothing":
        return units.spread(Spread(outcome.ratio, outcome.low, outcome.high), unit)
    rounds = "" if outcome.low == outcome.high else f" ({outcome.low:.2f} – {outcome.high:.2f})"
    return f"{outcome.ratio:.2f} × {outcome.rival}{rounds}"


def unit_of(outcome: Outcome, result: CaseResult) -> Unit:
    """The unit of a bar's metric."""
    return next(metric.unit for metric in result.case.metrics if metric.key == outcome.bar.metric)


def verdict_text(outcome: Outcome) -> str:
    """The verdict, with a caution if the machine was noisy."""
    return f"{outcome.verdict}, but too noisy to judge" if outcome.noisy else outcome.verdict


def bars_table(outcomes: Sequence[Outcome], results: dict[str, CaseResult]) -> Table:
    """Every bar of the cases that were run, with sfloop's result."""
    table = Table(title="The bars", title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for column in ("case", "figure", "bar", "sfloop: median of rounds (min – max)", ""):
        table.add_column(column)
    for outcome in outcomes:
        result = results[outcome.bar.case]
        unit = unit_of(outcome, result)
        title = next(metric.title for metric in result.case.metrics if metric.key == outcome.bar.metric)
        table.add_row(
            outcome.bar.case,
            title,
            units.condition(outcome.bar, unit),
            escape(measured(outcome, unit)),
            f"[{_STYLES[outcome.verdict]}]{verdict_text(outcome)}[/]",
        )
    return table


def _counted(outcomes: Sequence[Outcome]) -> str:
    counts = {verdict: sum(outcome.verdict == verdict for outcome in outcomes) for verdict in _STYLES}
    return ", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count)


def summary(outcomes: Sequence[Outcome]) -> str:
    """One line: the numbers of bars met, missed and not measured. Bars that depend on a peer are counted separately."""
    own = [outcome for outcome in outcomes if not outcome.bar.by_peer]
    peers = [outcome for outcome in outcomes if outcome.bar.by_peer]
    noisy = sum(outcome.noisy for outcome in outcomes)
    parts = [f"{len(own)} bars by C on this machine or by a fixed figure: {_counted(own)}"] if own else []
    parts += [f"{len(peers)} that depend on a peer's figure: {_counted(peers)}"] if peers else []
    parts += [f"{noisy} of all in cases too noisy to judge"] if noisy else []
    return "; ".join(parts)
