"""The HTML page of a run, complete in one file."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

from sfloop.bench import plots, report, units
from sfloop.bench.bars import Outcome
from sfloop.bench.compare import Comparison
from sfloop.bench.cpus import machine
from sfloop.bench.loops import C_SERVERS, OWN
from sfloop.bench.model import CaseResult, Unit
from sfloop.bench.noise import Verdict
from sfloop.bench.rounds import Run

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1a1a1a; background: #fff }
body { max-width: 62rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.6rem } h2 { font-size: 1.15rem; margin-top: 2.6rem } code { font-size: 0.92em }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 0.9rem }
th, td { padding: 0.25rem 0.7rem; text-align: right; border-bottom: 1px solid #e4e4e4 } th { font-weight: 600 }
th:first-child, td:first-child, table.bars td, table.bars th { text-align: left }
tr.own td { font-weight: 600; background: #fdf1e9 } .low { color: #666; font-weight: 400; font-size: 0.85em }
.met { color: #00693f } .missed, .failed { color: #b00020; font-weight: 600 } .notmeasured, .noisy { color: #8a5a00 }
.slower { color: #b00020; font-weight: 600 } .faster { color: #00693f }
.quiet { color: #666 } .wide { overflow-x: auto } svg { max-width: 100%; height: auto; margin-top: 0.6rem }
"""


def _cell(result: CaseResult, name: str, key: str, unit: Unit) -> str:
    spread = result.spread(name, key)
    if spread is None:
        return "<td>–</td>"
    rounds = ""
    if spread.low != spread.high:
        rounds = f'<br><span class="low">{units.extremes(spread, unit)}</span>'
    return f"<td>{units.figure(spread.median, unit)}{rounds}</td>"


def _case_table(result: CaseResult, names: Sequence[str]) -> str:
    metrics = result.case.metrics
    head = "".join(f"<th>{escape(metric.title)} {'↓' if metric.better == 'lower' else '↑'}</th>" for metric in metrics)
    rows = [f"<tr><th></th>{head}<th>× {report.PEER}</th></tr>"]
    for name in names:
        if name in result.failures:
            text = escape(result.failures[name])
            rows.append(f'<tr><td>{name}</td><td class="failed" colspan="{len(metrics) + 1}">failed: {text}</td></tr>')
        elif name in result.samples:
            cells = "".join(_cell(result, name, metric.key, metric.unit) for metric in metrics)
            times = report.times_peer(result, name)
            ratio = "" if times is None else f"{times:.2f}"
            rows.append(f"<tr{' class=own' if name == OWN else ''}><td>{name}</td>{cells}<td>{ratio}</td></tr>")
    return f'<div class="wide"><table>{"".join(rows)}</table></div>'


def _case(result: CaseResult, names: Sequence[str], verdict: Verdict | None) -> str:
    parts = [f'<h2 id="{result.case.name}">{escape(result.case.title)} <code>{result.case.name}</code></h2>']
    if result.skipped is not None:
        return parts[0] + f'<p class="notmeasured">Not run: {escape(result.skipped)}</p>'
    parts.append(_case_table(result, names))
    if verdict is not None:
        parts.append(f'<p class="{"noisy" if verdict.noisy else "quiet"}">{escape(verdict.text)}</p>')
    figure = plots.picture(result, names)
    if figure is not None:
        parts.append(plots.svg(figure))
    return "\n".join(parts)


def _bars(outcomes: Sequence[Outcome], results: dict[str, CaseResult]) -> str:
    if not outcomes:
        return ""
    rows = ["<tr><th>case</th><th>figure</th><th>bar</th><th>sfloop: median of rounds (min – max)</th><th></th></tr>"]
    for outcome in outcomes:
        result = results[outcome.bar.case]
        unit = report.unit_of(outcome, result)
        title = next(metric.title for metric in result.case.metrics if metric.key == outcome.bar.metric)
        style = outcome.verdict.replace(" ", "")
        rows.append(
            f'<tr><td><a href="#{result.case.name}">{result.case.name}</a></td><td>{escape(title)}</td>'
            f"<td>{escape(units.condition(outcome.bar, unit))}</td><td>{escape(report.measured(outcome, unit))}</td>"
            f'<td class="{style}">{escape(report.verdict_text(outcome))}</td></tr>'
        )
    table = f'<div class="wide"><table class="bars">{"".join(rows)}</table></div>'
    return f"<h2>The bars</h2><p>{escape(report.summary(outcomes))}</p>{table}"


def _builds(comparisons: Sequence[Comparison], results: dict[str, CaseResult]) -> str:
    if not comparisons:
        return ""
    rows = [f"<tr>{''.join(f'<th>{heading}</th>' for heading in report.BUILDS_COLUMNS)}</tr>"]
    for each in comparisons:
        result = results[each.case]
        title = next(metric.title for metric in result.case.metrics if metric.key == each.metric)
        rows.append(
            f'<tr><td><a href="#{each.case}">{each.case}</a></td><td>{escape(title)}</td>'
            f"<td>{report.ratio_text(each)}</td><td>{report.level_text(each)}</td>"
            f'<td class="{each.verdict.replace(" ", "")}">{escape(report.comparison_text(each))}</td></tr>'
        )
    table = f'<div class="wide"><table class="bars">{"".join(rows)}</table></div>'
    return f"<h2>The two builds</h2><p>{escape(report.builds_summary(comparisons))}</p>{table}"


def render(run: Run, outcomes: Sequence[Outcome], comparisons: Sequence[Comparison], started: str) -> str:
    """The page as text."""
    names = [contender.name for contender in run.contenders]
    versions = ", ".join(
        f"{c.name} {c.version}" if c.is_loop else f"{c.name} ({C_SERVERS[c.name]})" for c in run.contenders
    )
    facts = ", ".join(f"{key} {value}" for key, value in machine().items())
    settings, verdicts = run.settings, run.verdicts()
    cases = "\n".join(_case(result, names, verdicts.get(name)) for name, result in run.results.items())
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>sfloop bench, {escape(started)}</title><style>{_STYLE}</style></head><body>
<h1>sfloop bench</h1>
<p>{escape(started)}. {escape(facts)}.<br>{escape(versions)}.<br>
{settings.rounds} rounds of {settings.seconds:g} s; server on CPU {settings.cpus.server}, load on CPU
{settings.cpus.load}.
Figures are medians of the rounds, with the lowest and the highest below; ↓ lower is better, ↑ higher is better.
In the plots, all rounds are taken together, and both axes are logarithmic.</p>
{_bars(outcomes, run.results)}
{_builds(comparisons, run.results)}
{cases}
</body></html>
"""


def write(path: Path, run: Run, outcomes: Sequence[Outcome], comparisons: Sequence[Comparison], started: str) -> None:
    """Write the page to a file."""
    path.write_text(render(run, outcomes, comparisons, started))
