"""The comparison of outcomes, and what follows from it."""

from __future__ import annotations

from conformance.forkserver.outcome import Outcome, Status
from third_party.sdist import Archive

from ecosystem import calls, carrying
from ecosystem.judging import Side, judge
from ecosystem.suite import Suite


def _suite(**more: object) -> Suite:
    return Suite(name="sample", source=Archive("sample", "1", ""), needs=(), package="sample", **more)  # type: ignore[arg-type]


def _outcomes(**statuses: Status) -> dict[str, Outcome]:
    return {name: Outcome(name, status, "E   ValueError: wrong") for name, status in statuses.items()}


def _many(status: Status, count: int) -> dict[str, Status]:
    return {f"other{number}": status for number in range(count)}


def test_equal_outcomes_are_good() -> None:
    both = _outcomes(a=Status.PASS, b=Status.SKIP)
    assert judge(_suite(), both, both, whole=True).good


def test_a_test_that_fails_only_on_sfloop_has_the_line_of_its_error() -> None:
    verdict = judge(_suite(), _outcomes(a=Status.PASS), _outcomes(a=Status.FAIL), whole=True)
    assert not verdict.good
    assert verdict.only_on_sfloop == {"a": "fail: ValueError: wrong"}


def test_a_test_that_fails_on_both_loops_is_not_a_fault_of_sfloop() -> None:
    both = _outcomes(a=Status.FAIL, **_many(Status.PASS, 99))
    verdict = judge(_suite(), both, both, whole=True)
    assert verdict.good
    assert verdict.on_both == ["a"]


def test_a_test_that_fails_only_on_asyncio_is_told() -> None:
    asyncio = _outcomes(a=Status.CRASH, **_many(Status.PASS, 99))
    verdict = judge(_suite(), asyncio, {**asyncio, **_outcomes(a=Status.PASS)}, whole=True)
    assert verdict.good
    assert verdict.only_on_asyncio == ["a"]


def test_a_test_that_skips_itself_only_on_sfloop_has_failed() -> None:
    verdict = judge(_suite(), _outcomes(a=Status.PASS), _outcomes(a=Status.SKIP), whole=True)
    assert list(verdict.only_on_sfloop) == ["a"]


def test_a_test_that_is_missing_on_sfloop_has_failed() -> None:
    verdict = judge(_suite(), _outcomes(a=Status.PASS, b=Status.PASS), _outcomes(a=Status.PASS), whole=True)
    assert verdict.only_on_sfloop == {"b": "not run on sfloop"}


def test_a_listed_test_is_excused() -> None:
    suite = _suite(white_box={"^a$": "reads loop._ready"})
    verdict = judge(
        suite, _outcomes(a=Status.PASS, ab=Status.PASS), _outcomes(a=Status.FAIL, ab=Status.FAIL), whole=True
    )
    assert verdict.white_box == {"a": "reads loop._ready"}
    assert list(verdict.only_on_sfloop) == ["ab"]


def test_a_listed_test_that_passes_is_stale_if_the_whole_suite_ran() -> None:
    suite = _suite(white_box={"a": "reads loop._ready"})
    both = _outcomes(a=Status.PASS)
    assert judge(suite, both, both, whole=True).stale == ["a"]
    assert judge(suite, both, both, whole=False).good


def test_a_suite_that_fails_on_asyncio_says_nothing() -> None:
    both = _outcomes(**_many(Status.PASS, 10), a=Status.FAIL)
    assert "1 of 11 tests fail on asyncio" in judge(_suite(), both, both, whole=True).broken
    assert "no test" in judge(_suite(), {}, {}, whole=True).broken


def test_a_side_counts_outcomes() -> None:
    outcomes = _outcomes(a=Status.PASS, b=Status.HANG, c=Status.SKIP, d=Status.ERROR)
    assert Side.of(outcomes, 1.26, 0.5) == Side(passed=1, failed=2, skipped=1, seconds=1.3, cpu=0.5)


def test_the_calls_of_a_source() -> None:
    text = """
    await self._loop.create_connection(f); asyncio.get_running_loop().add_reader(fd, f)
    loop.remove_writer(fd); await asyncio.open_connection(h, p); pool.create_connection(); loop.sock_connected()
    """
    assert calls.of_text(text) == {"create_connection", "add_reader", "open_connection"}


def test_the_stack_that_has_both_directions_carried_the_bytes() -> None:
    much = {"rx_bytes": carrying.AMOUNT, "tx_bytes": carrying.AMOUNT}
    none = {"rx_bytes": 0, "tx_bytes": carrying.AMOUNT}
    assert carrying.judged({"kernel": none, "tcpip": much}) == "tcpip"
    assert carrying.judged({"kernel": much, "tcpip": much}) == "kernel and tcpip"
    assert carrying.judged({"kernel": none, "tcpip": none}) == carrying.OWN_TRANSPORT
