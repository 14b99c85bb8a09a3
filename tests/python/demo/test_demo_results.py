"""The demo's treatment of results: verification, merging, sentences, tables, page."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from sfloop.common.histogram import HIGHEST_NS, Histogram
from sfloop.demo import page, terminal
from sfloop.demo.client_program import CLIENT, command, locate_client
from sfloop.demo.columns import AF_XDP, COLUMNS, SHM, UVLOOP_VETH
from sfloop.demo.comparison import microseconds, sentences
from sfloop.demo.plot import percentile_curve, percentile_figure, svg
from sfloop.demo.rounds import Placement, RoundResult
from sfloop.demo.summary import TICK, WIRE, LoopSummary, summarize
from sfloop.demo.verify import verify, verify_bypass

EXCHANGE: dict[str, Any] = {
    "messages": 30, "messages_by_type": {"A": 20, "D": 10}, "digests": {"ZVZZT": "aa" * 32}, "messages_lost": 3,
    "messages_lost_unplanned": 0, "orders_expected": 2, "orders_missing": 0, "orders_untimed": 1, "problems": [],
    "unicast_because": None, "tick_to_trade": Histogram.from_values([40_000]).to_text(),
    "lateness": Histogram.from_values([5_000]).to_text(), "packets_sent": 100, "requests": 5, "frames": None,
}  # fmt: skip
CLIENT_RESULT: dict[str, Any] = {
    "loop": "asyncio.unix_events._UnixSelectorEventLoop", "messages": 30, "messages_by_type": {"A": 20, "D": 10},
    "digests": {"ZVZZT": "aa" * 32}, "recovered": 3, "gaps": 2, "orders_executed": 2, "seconds": 2.0, "cpu": 0.25,
    "negative_latencies": 0, "wire_to_callback": Histogram.from_values([10_000]).to_text(),
}  # fmt: skip


def test_verify_accepts_what_is_right() -> None:
    assert verify("asyncio", EXCHANGE, CLIENT_RESULT) == []


@pytest.mark.parametrize(
    ("side", "change", "problem"),
    [
        ("client", {"digests": {"ZVZZT": "ab" + "aa" * 31}}, "the client's final book of ZVZZT is wrong"),
        ("client", {"digests": {}}, "the client's final book of ZVZZT is wrong: digest empty"),
        ("client", {"digests": {"ZVZZT": "aa" * 32, "ZAZZT": "bb"}}, "the client's final book of ZAZZT is wrong"),
        ("client", {"messages": 29}, "30 messages were sent, the client saw 29"),
        ("client", {"messages_by_type": {"A": 20, "X": 10}}, "10 messages of type D were sent, the client saw 0"),
        ("client", {"recovered": 2}, "3 messages were lost on purpose, and only 2 recovered"),
        ("client", {"orders_executed": 1}, "2 orders must be executed, the client saw 1"),
        ("client", {"loop": "uvloop.Loop"}, "the client ran on uvloop.Loop instead of asyncio"),
        ("exchange", {"orders_missing": 1}, "1 of 2 orders that the feed should have triggered never came"),
        ("exchange", {"problems": ["smoke"]}, "exchange: smoke"),
    ],
)
def test_verify_names_what_is_wrong(side: str, change: dict[str, Any], problem: str) -> None:
    exchange, client = copy.deepcopy(EXCHANGE), copy.deepcopy(CLIENT_RESULT)
    (client if side == "client" else exchange).update(change)
    assert any(problem in found for found in verify("asyncio", exchange, client))


def test_market_data_must_go_over_the_wire() -> None:
    def by_wire(sent: int, received: int) -> list[str]:
        frames = {"sent": sent, "received": received}
        return verify_bypass(SHM, {**EXCHANGE, "frames": frames}, CLIENT_RESULT, 0)

    assert by_wire(100, 5) == []
    assert by_wire(99, 4) == [
        "the exchange sent 100 packets, and only 99 frames went over the wire",
        "the exchange received 5 requests, and only 4 frames went over the wire",
    ]


def test_market_data_must_go_by_the_driver() -> None:
    assert verify_bypass(AF_XDP, EXCHANGE, CLIENT_RESULT, 2) == []
    (problem,) = verify_bypass(AF_XDP, EXCHANGE, CLIENT_RESULT, 3)
    assert problem == "3 of 100 packets reached the client through the kernel's sockets"
    assert verify_bypass(UVLOOP_VETH, EXCHANGE, CLIENT_RESULT, 100) == []


def summary(loop: str, wire: list[list[int]], tick: list[list[int]] | None = None) -> LoopSummary:
    """Return a loop's summary with rounds of these latencies, in ns."""
    results = []
    for number, values in enumerate(wire):
        client = {**CLIENT_RESULT, "wire_to_callback": Histogram.from_values(values).to_text()}
        ticks = tick[number] if tick else [40_000]
        exchange = {**EXCHANGE, "tick_to_trade": Histogram.from_values(ticks).to_text()}
        results.append(RoundResult(loop, number + 1, exchange, client))
    return summarize(loop, results)


def test_histograms_are_merged_without_loss() -> None:
    merged = summary("asyncio", [[1_000] * 90, [100_000] * 10]).latencies[WIRE]
    assert merged.count == 100
    p50, p90, p99, p999, maximum = merged.columns
    assert [p50, p90] == pytest.approx([1_000] * 2, rel=1e-3)
    assert [p99, p999, maximum] == pytest.approx([100_000] * 3, rel=1e-3)
    assert list(merged.medians) == pytest.approx([1_000, 100_000], rel=1e-3)
    assert merged.median == pytest.approx(50_500, rel=1e-2)


def test_values_outside_the_range_count_at_its_ends() -> None:
    values = Histogram.from_values([-5, 0, 10**15])
    assert values.count == 3
    assert values.maximum == pytest.approx(HIGHEST_NS, rel=1e-3)


def test_text_that_is_no_histogram() -> None:
    with pytest.raises(ValueError, match="not an HdrHistogram in base64"):
        Histogram.from_text("rubbish")


def test_sentences_tell_faster_slower_and_neither() -> None:
    fast, slow = [[10_000], [11_000], [12_000]], [[30_000], [33_000], [36_000]]
    asyncio, uvloop = summary("asyncio", slow), summary("uvloop", fast)
    (wire, _) = sentences([asyncio, uvloop, summary("sfloop", [[5_000], [5_500], [6_000]])])
    assert wire == (
        "Wire-to-callback, median: sfloop takes 5.5 µs, 2.0 times faster than uvloop's 11.0 µs "
        "and 6.0 times faster than asyncio's 33.0 µs."
    )
    (wire, _) = sentences([asyncio, uvloop, summary("sfloop", [[22_000], [23_000], [22_000]])])
    assert "2.0 times slower than uvloop's 11.0 µs and 1.5 times faster than asyncio's" in wire
    (wire, _) = sentences([uvloop, summary("sfloop", [[11_500], [9_000], [10_000]])])
    assert "not clearly apart from uvloop's 11.0 µs (the rounds overlap)" in wire
    (wire, _) = sentences([summary("uvloop", [[30_000]]), summary("sfloop", [[10_000]])])
    assert wire.endswith("3.0 times faster than uvloop's 30.0 µs. (One round cannot tell a difference from noise.)")
    assert sentences([uvloop]) == []


def test_every_column_of_sfloop_is_compared_with_its_like() -> None:
    values = {"asyncio": 90, "uvloop": 60, "sfloop": 30, "sfloop shm": 10, "uvloop veth": 64, "sfloop af_xdp": 16}
    shown = [summary(name, [[us * 1000 + i] for i in (0, 1)]) for name, us in values.items()]
    assert sentences(shown)[:3] == [
        "Wire-to-callback, median: sfloop takes 30.0 µs, 2.0 times faster than uvloop's 60.0 µs and "
        "3.0 times faster than asyncio's 90.0 µs.",
        "Wire-to-callback, median: sfloop shm takes 10.0 µs, 3.0 times faster than sfloop's 30.0 µs and "
        "6.0 times faster than uvloop's 60.0 µs.",
        "Wire-to-callback, median: sfloop af_xdp takes 16.0 µs, 4.0 times faster than uvloop veth's 64.0 µs.",
    ]
    assert sentences([shown[3]]) == []


def test_without_a_trigger_there_is_no_sentence_and_no_figure_about_trading() -> None:
    summaries = [summary(loop, [[10_000], [11_000]], [[], []]) for loop in ("asyncio", "uvloop")]
    assert len(sentences(summaries)) == 1
    assert terminal.latency_cells(summaries[0], TICK) == ["–"] * len(terminal.LATENCY_HEADINGS)
    assert "<svg" in page.render(summaries, [], "", [])


def test_microseconds() -> None:
    assert [microseconds(ns) for ns in (0, 950, 12_345, 99_940, 123_456, 12_345_678)] == [
        "0.0", "0.9", "12.3", "99.9", "123", "12,346",
    ]  # fmt: skip


def test_tables_fit_a_terminal_of_80_columns() -> None:
    values = [[1_234_567] * 60 + [123_456_789] * 10, [9_876_543] * 3]
    summaries = [summary(loop, values, values) for loop in (column.name for column in COLUMNS)]
    console = Console(width=80, record=True, force_terminal=False)
    for name in (WIRE, TICK):
        console.print(terminal.latency_table(name, summaries))
    console.print(terminal.count_table(summaries))
    text = console.export_text()
    assert "…" not in text
    assert all(heading in text for heading in (*terminal.LATENCY_HEADINGS, *terminal.COUNT_HEADINGS))


def test_notes_say_what_is_out_of_the_ordinary() -> None:
    result = summary("uvloop", [[1_000]])
    result.rounds[0].exchange.update(messages_lost_unplanned=4, unicast_because="multicast is off")
    result.rounds[0].client["negative_latencies"] = 2
    result.rounds[0].exchange["lateness"] = Histogram.from_values([4_000_000]).to_text()
    text = "\n".join(terminal.notes([result]))
    for words in (
        "4 messages were lost in addition to those lost on purpose",
        "2 messages arrived before",
        "1 orders answer",
        "multicast is off",
        "One in a hundred packets left the simulator more than 4,00",
    ):
        assert words in text


def test_notes_say_what_networks_there_were() -> None:
    everything = terminal.notes([summary(column.name, [[1_000]]) for column in COLUMNS])
    assert everything[0].startswith("sfloop shm: market data, retransmissions and orders over a shared-memory wire")
    assert everything[1].startswith("uvloop veth, sfloop af_xdp: two network namespaces joined by a veth pair")
    assert "Tick-to-trade includes" in everything[0]
    assert "the tcpip stack carries market data and orders" in everything[1]
    for names in (["sfloop"], []):
        assert "wire" not in "".join(terminal.notes([summary(name, [[1_000]]) for name in ["uvloop", *names]]))


def test_percentile_curve_rises_to_the_maximum() -> None:
    latency = summary("asyncio", [list(range(1_000, 101_000, 100))]).latencies[WIRE]
    xs, ys = percentile_curve(latency)
    assert xs == sorted(xs)
    assert ys == sorted(ys)
    assert (xs[0], xs[-1]) == (1, 1000)
    assert ys[-1] == pytest.approx(100.9, rel=1e-2)
    half = min(range(len(xs)), key=lambda index: abs(xs[index] - 2))
    assert ys[half] == pytest.approx(51, rel=0.05)


def test_page_is_complete_in_itself() -> None:
    summaries = [summary(column.name, [[10_000, 20_000], [12_000]]) for column in COLUMNS]
    text = page.render(summaries, [("CPU", "a <b> & c")], "the setting", ["An outcome."], ["dpdk is left out: <why>"])
    assert text.count("<svg") == text.count("</svg>") == 3
    assert "a &lt;b&gt; &amp; c" in text
    for part in (
        "the setting",
        "An outcome.",
        "Wire-to-callback",
        "Tick-to-trade",
        "final book",
        "dpdk is left out: &lt;why&gt;",
    ):
        assert part in text
    assert "<!--" not in text.replace("<!-- ", "")
    for outside in ("src=", "@import", "url(http", "<link", "<script"):
        assert outside not in text


def test_figures_do_not_share_ids() -> None:
    latency = [summary("asyncio", [[10_000, 20_000]])]
    ids = []
    for name in (WIRE, TICK):
        text = svg(percentile_figure(name, latency), name)
        ids.append({part.split('"')[0] for part in text.split('clipPath id="')[1:]})
    assert ids[0]
    assert not ids[0] & ids[1]


def test_placement() -> None:
    assert Placement.of({3, 0, 2}) == Placement(exchange=3, client=0)
    assert not Placement.of({0, 1}).shared
    assert Placement.of({5}).shared


def test_client_is_found_and_started_on_each_loop() -> None:
    client = locate_client()
    assert client.name == CLIENT
    assert (client.parent / "market_data" / "order_book.py").is_file()
    assert command("asyncio", client, ["--x"])[1:] == [str(client), "--x"]
    assert command("uvloop", client, ["--x"])[1].endswith("uvloop_run.py")
    assert command("sfloop", client, ["--x"], ("--stack", "kernel"))[1:] == [
        "-m", "sfloop", "run", "--stack", "kernel", str(client), "--x",
    ]  # fmt: skip


def test_client_does_not_know_sfloop() -> None:
    client = locate_client()
    for path in (client, *(client.parent / "market_data").glob("*.py")):
        code = [line for line in path.read_text().splitlines() if "python -m sfloop.demo.exchange" not in line]
        assert "sfloop" not in "\n".join(code), path.name
        assert "uvloop" not in "\n".join(code), path.name


def test_json_round_trip_of_a_summary(tmp_path: Path) -> None:
    document = json.loads(json.dumps(summary("asyncio", [[1_000], [2_000]]).to_json()))
    assert document["wire_to_callback"]["count"] == 2
    assert document["wire_to_callback"]["p50_by_round"] == pytest.approx([1_000, 2_000], rel=1e-3)
    assert Histogram.from_text(document["tick_to_trade"]["histogram"]).count == 2
