"""Conditions that make a machine too noisy."""

from __future__ import annotations

import pytest
from bench_results import QUIET, result

from sfloop.bench import noise
from sfloop.bench.noise import CpuTicks, Disturbance, judge, unsteadiness
from sfloop.bench.rounds import judge_noise

STEADY = [10.0, 10.2, 10.1, 9.9, 10.0]


def test_a_quiet_machine() -> None:
    verdict = judge([QUIET] * 5, "c-spin", STEADY)
    assert not verdict.noisy
    assert verdict.text == "quiet: 3 interruptions/s, 0.0% steal, rounds of c-spin 2% apart"


@pytest.mark.parametrize(
    ("disturbances", "rounds", "seen"),
    [
        ([Disturbance(150.0, 0, 100)] * 5, STEADY, "took the clock-holder's CPU away 150 times a second"),
        ([Disturbance(0.0, 5, 100)] * 5, STEADY, "the hypervisor took 5.0% of the CPUs' time"),
        ([QUIET] * 5, [10.0, 13.0, 10.0, 12.5, 9.0], "the rounds of c-spin lie 35% apart"),
        ([QUIET] * 3, [10.0, 10.0, 12.0], "the rounds of c-spin lie 20% apart"),
    ],
)
def test_each_kind_of_noise_is_named(disturbances: list[Disturbance], rounds: list[float], seen: str) -> None:
    verdict = judge(disturbances, "c-spin", rounds)
    assert verdict.noisy
    assert verdict.text.startswith("too noisy to judge: ")
    assert seen in verdict.text


def test_one_disturbed_measurement_of_many_is_not_noise() -> None:
    assert not judge([QUIET] * 4 + [Disturbance(900.0, 0, 100)], "c-spin", STEADY).noisy


def test_the_farthest_of_five_rounds_is_left_out_but_not_the_farthest_of_three() -> None:
    assert unsteadiness([10.0, 10.0, 10.0, 10.0, 50.0]) == 0
    assert unsteadiness([10.0, 10.0, 50.0]) == pytest.approx(4.0)
    assert unsteadiness([10.0, 50.0]) is None


def test_the_limits_are_limits() -> None:
    at_limit = Disturbance(noise.MOST_INTERRUPTIONS, 2, 100)
    assert not judge([at_limit], None, []).noisy
    assert judge([Disturbance(noise.MOST_INTERRUPTIONS + 1, 0, 100)], None, []).noisy


def test_our_own_unsteadiness_is_not_the_machines() -> None:
    wild, steady = [{"p50": value} for value in (5.0, 50.0, 500.0)], [{"p50": 10.0}] * 3
    assert not judge_noise(result("tcp-protocol-64", sfloop=wild, c_spin=steady)).noisy
    assert judge_noise(result("tcp-protocol-64", sfloop=steady, c_spin=wild)).noisy
    assert judge_noise(result("tcp-protocol-64", sfloop=steady, uvloop=wild)).noisy


def test_ticks_are_counted_while_time_passes() -> None:
    import time

    ticks = CpuTicks((0,))
    end = time.monotonic() + 0.1
    while time.monotonic() < end:
        pass
    stolen, total = ticks.since()
    assert 0 <= stolen <= total
    assert 1 <= total < 200
