"""Figures as text, tables and pictures."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from bench_results import QUIET, result
from rich.console import Console

from sfloop.bench import bars, page, plots, record, report, units
from sfloop.bench.build import Programs
from sfloop.bench.cpus import CpuPair
from sfloop.bench.loops import Contender
from sfloop.bench.model import CaseResult, Sample, Spread
from sfloop.bench.rig import Settings
from sfloop.bench.rounds import Run
from sfloop.common.histogram import Histogram

CONTENDERS = [Contender("sfloop", "1.0", True), Contender("uvloop", "0.23", True), Contender("c-spin", "", False)]


@pytest.mark.parametrize(
    ("ns", "text"),
    [
        (0, "0 ns"),
        (999, "999 ns"),
        (1000, "1.00 µs"),
        (21_345, "21.3 µs"),
        (123_456, "123 µs"),
        (2.5e6, "2.50 ms"),
        (3e9, "3.00 s"),
        (-1720, "-1.72 µs"),
    ],
)
def test_durations(ns: float, text: str) -> None:
    assert units.duration(ns) == text


def test_spreads_keep_to_the_unit_of_the_median() -> None:
    assert units.spread(Spread(21_345, 20_000, 1_200_000), "ns") == "21.3 µs (20.0 – 1,200)"
    assert units.spread(Spread(5, 5, 5), "count") == "5"
    assert units.spread(Spread(268.8, 250, 300), "ms") == "269 ms (250 – 300)"
    assert units.spread(Spread(1292, 1200, 1300), "bytes") == "1,292 B (1,200 – 1,300)"


def filled() -> CaseResult:
    made = result("tcp-protocol-1k")
    for name, value in {"sfloop": 8_000, "uvloop": 20_000}.items():
        histogram = Histogram.from_values([value, value + 1000, value * 5])
        made.samples[name] = [Sample(histogram.summary(), QUIET, histogram) for _ in range(2)]
    made.failures["c-spin"] = "it <b>burst</b> [red]"
    return made


def run_of(*results: CaseResult) -> Run:
    settings = Settings(Programs(Path("a"), Path("b")), CpuPair(0, 1), 2, 0.1, 0.1)
    return Run(settings, CONTENDERS, {each.case.name: each for each in results})


def printed(made: CaseResult) -> str:
    console = Console(file=io.StringIO(), width=200)
    report.print_case(console, made, CONTENDERS, run_of(made).verdicts().get(made.case.name))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_case_is_printed_with_its_ratio_and_its_failures() -> None:
    text = printed(filled())
    (own,) = [line for line in text.splitlines() if line.startswith(" sfloop")]
    assert "9.01 µs" in own
    assert own.rstrip().endswith("0.43")
    assert "failed: it <b>burst</b> [red]" in text
    assert "quiet: 3 interruptions/s" in text


def test_a_case_that_was_not_run_is_printed_with_its_reason() -> None:
    made = result("udp-veth")
    made.skipped = "needs root"
    assert "udp-veth: not run: needs root" in printed(made)


def test_a_missed_bar_is_shown_missed() -> None:
    made = filled()
    outcomes = bars.judge_all({made.case.name: made}, {made.case.name: True})
    console = Console(file=io.StringIO(), width=200)
    console.print(report.bars_table(outcomes, {made.case.name: made}))
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert "0.43 × uvloop" in text
    assert "met, but too noisy to judge" in text
    assert "≤ 0.45 × uvloop, a peer" in text
    assert report.summary(outcomes) == (
        "2 bars by C on this machine or by a fixed figure: 2 not measured; "
        "2 that depend on a peer's figure: 2 met; 2 of all in cases too noisy to judge"
    )


def test_the_record_has_every_round_and_the_page_escapes() -> None:
    made = filled()
    skipped = result("udp-veth")
    skipped.skipped = "needs <root>"
    run = run_of(made, skipped)
    outcomes = bars.judge_all(run.results, {})
    written = json.loads(json.dumps(record.document(run, outcomes, [], "2026-11-23T20:00:00+00:00")))
    rounds = written["cases"]["tcp-protocol-1k"]["contenders"]["sfloop"]["rounds"]
    assert [each["p50"] for each in rounds] == made.values("sfloop", "p50")
    merged = made.histogram("sfloop")
    assert merged is not None
    assert [
        tuple(pair) for pair in written["cases"]["tcp-protocol-1k"]["contenders"]["sfloop"]["histogram"]
    ] == merged.buckets()
    assert merged.count == 6
    assert written["cases"]["udp-veth"]["skipped"] == "needs <root>"
    html = page.render(run, outcomes, [], "today")
    assert "it &lt;b&gt;burst&lt;/b&gt;" in html
    assert "needs &lt;root&gt;" in html
    assert html.count("<svg") == 1


def test_the_percentile_line_ends_at_the_rarest() -> None:
    tail, latency = plots.percentile_line(Histogram.from_values([100] * 90 + [200] * 9 + [300]))
    assert tail == [1.0, 10.0, 100.0]
    assert latency == [100.0, 200.0, 300.0]


def test_a_picture_for_every_kind_of_case() -> None:
    names = [contender.name for contender in CONTENDERS]
    rates = result(
        "call-soon-chain", sfloop=[{"per_second": 3e6}] * 2, uvloop=[{"per_second": 1e6}, {"per_second": 2e6}]
    )
    for made in (filled(), rates):
        figure = plots.picture(made, names)
        assert figure is not None
        text = plots.svg(figure)
        assert text.startswith("<svg")
        assert text.rstrip().endswith("</svg>")
    assert plots.picture(result("udp-veth"), names) is None
