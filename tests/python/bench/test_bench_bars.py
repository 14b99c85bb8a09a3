"""The bars name existing cases, and are judged as they say."""

from __future__ import annotations

import pytest
from bench_results import QUIET, bar, result

from sfloop.bench.bars import BARS, Bar, judge, judge_all
from sfloop.bench.cases import CASES
from sfloop.bench.loops import C_SERVERS, COMBINED
from sfloop.bench.model import CaseResult, Sample, loopback


def test_every_bar_is_about_a_metric_of_a_case() -> None:
    metrics = {case.name: {metric.key for metric in case.metrics} for case in CASES}
    for each in BARS:
        assert each.metric in metrics[each.case], each
    assert {case.name for case in CASES} == {each.case for each in BARS}


def test_a_bar_never_asks_for_the_worse_direction() -> None:
    better = {(case.name, metric.key): metric.better for case in CASES for metric in case.metrics}
    for each in BARS:
        assert each.relation == {"lower": "<=", "higher": ">="}[better[each.case, each.metric]], each


def test_a_latency_bar_is_met_and_missed() -> None:
    ours = bar("tcp-protocol-64", "p50", "uvloop")
    assert ours.limit == 0.45
    peer = [{"p50": 20.0}] * 3
    met = judge(ours, result("tcp-protocol-64", sfloop=[{"p50": 9.0}] * 3, uvloop=peer))
    missed = judge(ours, result("tcp-protocol-64", sfloop=[{"p50": 9.1}] * 3, uvloop=peer))
    assert (met.verdict, met.rival, missed.verdict) == ("met", "uvloop", "missed")
    assert [met.ratio, missed.ratio] == pytest.approx([0.45, 0.455])


def test_a_rate_bar_is_met_and_missed() -> None:
    ours = bar("udp-flood", "per_second", "uvloop")
    peer = [{"per_second": 100.0}]
    assert judge(ours, result("udp-flood", sfloop=[{"per_second": 200.0}], uvloop=peer)).verdict == "met"
    assert judge(ours, result("udp-flood", sfloop=[{"per_second": 199.0}], uvloop=peer)).verdict == "missed"


def test_ratios_are_taken_within_a_round() -> None:
    """The machine runs at half its speed in the second round: ratios of medians would say otherwise."""
    own = [{"p50": 10.0}, {"p50": 20.0}, {"p50": 11.0}]
    peer = [{"p50": 25.0}, {"p50": 50.0}, {"p50": 110.0}]
    outcome = judge(bar("tcp-protocol-64", "p50", "uvloop"), result("tcp-protocol-64", sfloop=own, uvloop=peer))
    assert [outcome.ratio, outcome.low, outcome.high] == pytest.approx([0.4, 0.1, 0.4])
    assert (outcome.own, outcome.other) == (11.0, 50.0)


def test_the_best_peer_is_a_loop_and_the_better_c_server_is_not() -> None:
    rates = {"uvloop": 100.0, "rloop": 370.0, "asyncio": 50.0, "c_spin": 900.0, "c_block": 950.0, "sfloop": 380.0}
    rounds = {name: [{"per_second": rate, "p50": 1.0}] for name, rate in rates.items()}
    chain = judge(bar("call-soon-chain", "per_second", "best peer"), result("call-soon-chain", **rounds))
    assert (chain.rival, chain.verdict) == ("rloop", "met")
    servers = judge(bar("tcp-10-connections", "per_second", "best C server"), result("tcp-10-connections", **rounds))
    assert (servers.rival, servers.verdict) == ("c-block", "missed")


def test_sfloop_with_other_transports_is_no_peer() -> None:
    made = result("call-soon-chain", sfloop=[{"per_second": 1.0}], uvloop=[{"per_second": 1.0}])
    made.samples["sfloop+aiofastnet"] = [Sample({"per_second": 9.0}, QUIET)]
    assert judge(bar("call-soon-chain", "per_second", "best peer"), made).rival == "uvloop"


def test_only_the_bars_that_compare_with_another_loop_depend_on_a_peer() -> None:
    assert {each.against for each in BARS if each.by_peer} == {"uvloop", "best peer", *COMBINED}
    assert not {each.against for each in BARS if not each.by_peer} - {*C_SERVERS, "best C server", "nothing"}


def test_a_case_with_a_c_server_is_judged_by_it() -> None:
    by_c = {each.case for each in BARS if each.against in C_SERVERS or each.against == "best C server"}
    echoes = {case.name for case in CASES if "c-spin" in case.references and case.place is loopback}
    # These cases compare with the C server in their own figures, count calls, or measure something else than its echo.
    others = {"udp-shm", "idle-10k", "own-cost", "syscalls-tcp", "syscalls-udp"}
    # These are compared with other loops, because OpenSSL takes nearly all of their time in C.
    others |= {"tls-64k", "tls-100-connections", "tls-handshakes", "tls-idle"}
    assert echoes - by_c <= {*others, "tcp-tcpdirect", "udp-tcpdirect", "idle-tcpdirect"}


def test_the_best_peer_of_a_time_is_the_lowest() -> None:
    rounds = {name: [{"cpu_ms": value}] for name, value in {"uvloop": 90.0, "rloop": 30.0, "sfloop": 31.0}.items()}
    outcome = judge(bar("timers-100k", "cpu_ms", "best peer"), result("timers-100k", **rounds))
    assert (outcome.rival, outcome.verdict) == ("rloop", "missed")


def test_absolute_bars() -> None:
    late = bar("sleep-500us", "p50", "nothing")
    early = bar("sleep-500us", "early", "nothing")
    good, bad = {"p50": 20_000.0, "early": 0.0}, {"p50": 20_001.0, "early": 1.0}
    for ours in (late, early):
        assert judge(ours, result("sleep-500us", sfloop=[good])).verdict == "met"
        assert judge(ours, result("sleep-500us", sfloop=[bad])).verdict == "missed"


def test_a_failure_of_ours_is_a_missed_bar() -> None:
    failed = CaseResult(result("tls-1k").case, failures={"sfloop": "the echo is wrong"})
    outcome = judge(bar("tls-1k", "p50", "uvloop"), failed)
    assert outcome.verdict == "missed"
    assert outcome.reason == "sfloop failed: the echo is wrong"


def test_what_was_not_measured_is_neither_met_nor_missed() -> None:
    ours = bar("udp-veth", "p50", "uvloop")
    skipped = CaseResult(result("udp-veth").case, skipped="needs root")
    assert (judge(ours, skipped).verdict, judge(ours, skipped).reason) == ("not measured", "needs root")
    alone = judge(ours, result("udp-veth", sfloop=[{"p50": 5.0}]))
    assert (alone.verdict, alone.reason) == ("not measured", "no figure of uvloop")
    assert judge(ours, None).verdict == "not measured"
    assert judge(ours, result("udp-veth", uvloop=[{"p50": 5.0}])).verdict == "not measured"


def test_a_rival_that_measured_nothing_gives_no_ratio() -> None:
    ours = Bar("sleep-500us", "p50", "<=", 1.0, "uvloop")
    outcome = judge(ours, result("sleep-500us", sfloop=[{"p50": 5.0}], uvloop=[{"p50": 0.0}]))
    assert outcome.verdict == "not measured"


def test_noise_is_marked_and_hides_nothing() -> None:
    results = {"udp-flood": result("udp-flood", sfloop=[{"per_second": 1.0}], uvloop=[{"per_second": 1.0}])}
    outcomes = {outcome.bar.against: outcome for outcome in judge_all(results, {"udp-flood": True})}
    assert (outcomes["uvloop"].verdict, outcomes["uvloop"].noisy) == ("missed", True)


def test_what_does_not_depend_on_the_machines_speed_is_never_too_noisy() -> None:
    values = {"times_alone": 1.0, "bytes_per_connection": 1000.0}
    results = {"idle-10k": result("idle-10k", sfloop=[values], uvloop=[values])}
    noisy = {outcome.bar.metric: outcome.noisy for outcome in judge_all(results, {"idle-10k": True})}
    assert noisy == {"times_alone": True, "bytes_per_connection": False}
