"""``sfloop demo``: runs one market-data client on several event loops in turn, and compares the latencies."""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import json
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from sfloop import backends
from sfloop.testing import netns

from .client_program import locate_client
from .columns import AF_XDP, COLUMNS, Column, choose, leave_out, named, probe_af_xdp, why_no_driver
from .comparison import microseconds, sentences
from .exchange import probability
from .machine import describe
from .rounds import Placement, RoundFailedError, RoundResult, Settings, child_environment, run_round
from .summary import TICK, WIRE, LoopSummary, summarize
from .summary import latency as latency_of

if TYPE_CHECKING:
    from rich.console import Console

REQUIREMENTS = {"rich": "rich", "hdrh": "hdrhistogram", "matplotlib": "matplotlib"}
"""Imports of the demo beyond the standard library: module → name on PyPI."""


def positive(kind: type[int] | type[float], text: str) -> float:
    """A number greater than zero, for argparse."""
    try:
        value = kind(text)
    except ValueError:
        value = kind(0)
    if not 0 < value < 1e6:
        what = "whole number" if kind is int else "number"
        raise argparse.ArgumentTypeError(f"{text!r} is not a {what} greater than zero")
    return value


def columns(text: str) -> list[Column]:
    """Columns from the command line, separated by commas."""
    options = [option.strip() for option in text.split(",")]
    found = [column for option in options if (column := named(option)) is not None]
    if len(found) < len(options) or len(set(found)) < len(found):
        allowed = ", ".join(column.option for column in COLUMNS)
        raise argparse.ArgumentTypeError(f"{text!r}: name some of {allowed}, each once, separated by commas")
    return found


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="sfloop demo",
        description="Run an unmodified asyncio market-data client on several event loops in turn, against an exchange "
        "simulator, and show the latencies side by side. Needs no privileges; "
        "as root it adds AF_XDP on a veth pair.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--loops", type=columns, metavar="LIST", help=f"default: {','.join(c.option for c in COLUMNS)}")
    add("--rounds", type=lambda t: int(positive(int, t)), default=5, help="rounds of each loop (default: %(default)s)")
    add("--seconds", type=lambda t: positive(float, t), default=1.6, help="length of a round (default: %(default)s)")
    add("--seed", type=int, default=1, help="seed of order flow, schedule and losses (default: %(default)s)")
    add("--loss", type=probability, default=0.005, help="probability of losing a packet (default: %(default)s)")
    add(
        "--request-loss", type=probability, default=0.1, metavar="LOSS",
        help="probability of ignoring a retransmission request (default: %(default)s)",
    )  # fmt: skip
    add(
        "--itch",
        type=Path,
        metavar="FILE",
        help="send a Nasdaq ITCH 5.0 BinaryFILE (or .gz) instead of synthetic data",
    )
    add("--html", type=Path, default=Path("sfloop-demo.html"), metavar="PATH", help="the page (default: %(default)s)")
    add("--json", type=Path, metavar="PATH", help="write all figures to this file as JSON, histograms included")
    add(
        "--stack", choices=["auto", *(backend.name for backend in backends() if backend.kind == "stack")],
        help="tcpip: add sfloop's tcpip stack, over shared memory and, as root, over AF_XDP (the default unless "
        "--loops is given); another stack: run sfloop on it, without those columns",
    )  # fmt: skip
    add("--client", type=Path, metavar="FILE", help="run another client program with the same arguments")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``sfloop demo``. Returns 0 if every round succeeded, 1 if one failed, 2 for a wrong command line."""
    arguments = _arguments(argv)
    missing = [package for module, package in REQUIREMENTS.items() if importlib.util.find_spec(module) is None]
    if missing:
        print(
            f"sfloop demo needs {', '.join(missing)}: install with `{sys.executable} -m pip install "
            f"{' '.join(missing)}`, or sfloop with its extra: `pip install 'sfloop[demo]'`",
            file=sys.stderr,
        )
        return 1
    from rich.console import Console

    console = Console(highlight=False)
    try:
        settings = _settings(arguments)
    except OSError as error:
        print(f"sfloop demo: {error}", file=sys.stderr)
        return 2
    with ExitStack() as cleanup:
        rig = _Rig(choose(arguments.loops, arguments.stack), cleanup)
        for line in rig.left_out:
            console.print(line, markup=False, soft_wrap=True)
        if not rig.columns:
            print("sfloop demo: none of the columns can run here", file=sys.stderr)
            return 1
        return _demo(console, arguments, dataclasses.replace(settings, veth=rig.veth), rig)


def _settings(arguments: argparse.Namespace) -> Settings:
    recording: Path | None = arguments.itch
    if recording is not None:
        recording = recording.resolve()
        recording.open("rb").close()
    for path in filter(None, (arguments.html, arguments.json)):
        if not path.resolve().parent.is_dir():
            raise FileNotFoundError(f"{path}: the directory {path.resolve().parent} does not exist")
    client: Path = arguments.client.resolve() if arguments.client else locate_client()
    client.open("rb").close()
    return Settings(
        client=client,
        seconds=arguments.seconds,
        warm_up=min(0.5, arguments.seconds / 2),
        loss=arguments.loss,
        request_loss=arguments.request_loss,
        recording=recording,
        placement=Placement.of(os.sched_getaffinity(0)),
        stack=arguments.stack,
    )


class _Rig:
    """The columns that can run here, and the veth pair for those that need it."""

    def __init__(self, asked: list[Column], cleanup: ExitStack) -> None:
        self._cleanup = cleanup
        self._no_veth: str | None = None
        self.veth: netns.VethPair | None = None
        self.drivers: dict[str, Any] = {}
        """Column → the driver's description."""
        if any(column.network == "veth" for column in asked):
            self._no_veth = (why_no_driver("af_xdp") if AF_XDP in asked else None) or self._make_veth()
        self.columns, self.left_out = leave_out(asked, self._why_not)

    def _make_veth(self) -> str | None:
        """Make the pair. Returns the reason if it cannot be made."""
        reason = netns.unavailable()
        if reason is None:
            self._cleanup.enter_context(_ended_properly())
            try:
                self.veth = self._cleanup.enter_context(netns.veth_pair("sf-demo"))
            except netns.NamespaceError as error:
                reason = str(error)
        return reason

    def _why_not(self, column: Column) -> str | None:
        if column.loop == "uvloop" and importlib.util.find_spec("uvloop") is None:
            return "uvloop is not installed; `pip install uvloop` adds it to the comparison"
        if column.network == "veth" and self.veth is None:
            return self._no_veth
        if column == AF_XDP and self.veth is not None:
            answer = probe_af_xdp(self.veth.load_prefix, child_environment())
            if isinstance(answer, str):
                return answer
            self.drivers[column.name] = answer
        elif column.driver is not None:
            return why_no_driver(column.driver)
        return None


@contextmanager
def _ended_properly() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end the program like Ctrl-C, so that it cleans up."""

    def end(number: int, _: object) -> NoReturn:
        sys.exit(128 + number)

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _demo(console: Console, arguments: argparse.Namespace, settings: Settings, rig: _Rig) -> int:
    shown = rig.columns
    machine = describe(list(dict.fromkeys(column.loop for column in shown)), settings.placement)
    machine += [("Driver", f"{name}: {driver['mode']}") for name, driver in rig.drivers.items() if driver]
    setting = (
        f"{settings.client.name}, {arguments.rounds} round{'s' * (arguments.rounds > 1)} of {settings.seconds:g} s "
        f"on each of {', '.join(column.name for column in shown)}, "
        f"interleaved; seed {arguments.seed}, {settings.loss:.1%} of the packets lost on purpose; "
        + (f"messages of {settings.recording.name}" if settings.recording else "synthetic order flow")
    )
    console.print(f"[bold]sfloop demo[/bold]: {setting}")
    for what, value in machine:
        console.print(f"  [dim]{what:7}[/dim] {value}")
    console.print()
    try:
        results = _rounds(console, arguments.rounds, arguments.seed, settings, shown)
    except RoundFailedError:
        return 1
    summaries = [summarize(column.name, results) for column in shown]
    _report(console, summaries)
    from .page import render

    page = render(summaries, machine, setting, sentences(summaries), rig.left_out)
    arguments.html.write_text(page, encoding="utf-8")
    console.print(f"Plots of the distributions: [bold]{arguments.html.resolve()}[/bold]", soft_wrap=True)
    if arguments.json:
        document = {
            "setting": setting, "machine": dict(machine), "left_out": rig.left_out,
            "loops": [summary.to_json() for summary in summaries],
        }  # fmt: skip
        arguments.json.write_text(json.dumps(document, indent=1))
        console.print(f"All figures: [bold]{arguments.json.resolve()}[/bold]", soft_wrap=True)
    return 0


def _rounds(console: Console, rounds: int, seed: int, settings: Settings, shown: list[Column]) -> list[RoundResult]:
    """Run all rounds. The columns take turns, and each is first in its turn. Raises RoundFailedError."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    results: list[RoundResult] = []
    width = max(len(column.name) for column in shown)
    # Drawing takes CPU time, so draw during a round only if a CPU is free.
    spare = len(os.sched_getaffinity(0)) > 2
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, auto_refresh=spare, refresh_per_second=4, transient=True) as progress:
        task = progress.add_task("", total=rounds * len(shown))
        for number in range(rounds):
            shift = number % len(shown)
            for column in shown[shift:] + shown[:shift]:
                progress.update(task, description=f"round {number + 1}, {column.name}")
                progress.refresh()
                try:
                    result = run_round(column, number + 1, seed + number, settings)
                except RoundFailedError as error:
                    progress.stop()
                    _complain(console, column.name, number + 1, error)
                    raise
                results.append(result)
                progress.console.print(_one_line(result, width), soft_wrap=True)
                progress.advance(task)
    return results


def _one_line(result: RoundResult, width: int) -> str:
    medians = []
    for name, text in ((WIRE, result.client["wire_to_callback"]), (TICK, result.exchange["tick_to_trade"])):
        latency = latency_of([text])
        medians.append(f"{name} {microseconds(latency.median) if latency.count else '–':>5} µs")
    return f"  {result.number} {result.loop:{width}} p50 {', '.join(medians)}, {result.client['gaps']} gaps"


def _complain(console: Console, loop: str, number: int, error: RoundFailedError) -> None:
    console.print(f"[bold red]FAILED[/bold red] in round {number} on {loop}:")
    for problem in error.problems:
        console.print(f"  • {problem}", markup=False, soft_wrap=True)


def _report(console: Console, summaries: list[LoopSummary]) -> None:
    from .terminal import count_table, latency_table, notes

    console.print()
    for name in (WIRE, TICK):
        console.print(latency_table(name, summaries))
    console.print(count_table(summaries))
    for note in notes(summaries):
        console.print(f"[dim]{note}[/dim]")
    console.print()
    for sentence in sentences(summaries):
        console.print(sentence, style="bold")
