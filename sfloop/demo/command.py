"""``sfloop demo``: the same market-data client on several event loops in turn, with the latencies side by side."""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .client_program import LOOPS, locate_client
from .comparison import microseconds, sentences
from .exchange import probability
from .machine import describe
from .rounds import Placement, RoundFailedError, RoundResult, Settings, run_round
from .summary import TICK, WIRE, LoopSummary, summarize
from .summary import latency as latency_of

if TYPE_CHECKING:
    from rich.console import Console

REQUIREMENTS = {"rich": "rich", "hdrh": "hdrhistogram", "matplotlib": "matplotlib"}
"""What the demo imports beyond the standard library: module and name on PyPI."""


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


def loop_names(text: str) -> list[str]:
    """Loops from the command line, separated by commas."""
    names = [name.strip() for name in text.split(",")]
    unknown = [name for name in names if name not in LOOPS]
    if unknown or len(set(names)) != len(names):
        raise argparse.ArgumentTypeError(f"{text!r}: name some of {', '.join(LOOPS)}, each once, separated by commas")
    return names


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="sfloop demo",
        description="Run an unmodified asyncio market-data client on several event loops in turn, against an exchange "
        "simulator, and show the latencies side by side. Needs no privileges.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--loops", type=loop_names, default=list(LOOPS), metavar="LIST", help=f"default: {','.join(LOOPS)}")
    add("--rounds", type=lambda t: int(positive(int, t)), default=5, help="rounds of each loop (default: %(default)s)")
    add("--seconds", type=lambda t: positive(float, t), default=3.2, help="of each round (default: %(default)s)")
    add("--seed", type=int, default=1, help="of order flow, schedule and losses (default: %(default)s)")
    add("--loss", type=probability, default=0.005, help="probability of losing a packet (default: %(default)s)")
    add(
        "--request-loss", type=probability, default=0.1, metavar="LOSS",
        help="probability of ignoring a retransmission request (default: %(default)s)",
    )  # fmt: skip
    add("--itch", type=Path, metavar="FILE", help="send a Nasdaq ITCH 5.0 BinaryFILE (.gz too), not synthetic messages")
    add("--html", type=Path, default=Path("sfloop-demo.html"), metavar="PATH", help="the page (default: %(default)s)")
    add("--json", type=Path, metavar="PATH", help="write every figure there as JSON, histograms included")
    add("--stack", help="network stack for sfloop, as in `sfloop run --stack`")
    add("--client", type=Path, metavar="FILE", help="run another client program with the same arguments")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """The ``sfloop demo`` command. Returns 0 when every round went well, 1 when one did not, 2 for wrong usage."""
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
    loops = _installed(arguments.loops, console)
    if not loops:
        print("sfloop demo: none of the loops asked for is installed", file=sys.stderr)
        return 1
    return _demo(console, arguments, settings, loops)


def _settings(arguments: argparse.Namespace) -> Settings:
    recording: Path | None = arguments.itch
    if recording is not None:
        recording = recording.resolve()
        recording.open("rb").close()
    for path in filter(None, (arguments.html, arguments.json)):
        if not path.resolve().parent.is_dir():
            raise FileNotFoundError(f"{path}: there is no directory {path.resolve().parent} to write it to")
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


def _installed(loops: list[str], console: Console) -> list[str]:
    if "uvloop" in loops and importlib.util.find_spec("uvloop") is None:
        console.print("uvloop is not installed, and left out; `pip install uvloop` adds it to the comparison.")
        return [loop for loop in loops if loop != "uvloop"]
    return loops


def _demo(console: Console, arguments: argparse.Namespace, settings: Settings, loops: list[str]) -> int:
    machine = describe(loops, settings.placement)
    setting = (
        f"{settings.client.name}, {arguments.rounds} round{'s' * (arguments.rounds > 1)} of {settings.seconds:g} s "
        f"on each of {', '.join(loops)}, "
        f"interleaved; seed {arguments.seed}, {settings.loss:.1%} of the packets lost on purpose; "
        + (f"messages of {settings.recording.name}" if settings.recording else "synthetic order flow")
    )
    console.print(f"[bold]sfloop demo[/bold]: {setting}")
    for what, value in machine:
        console.print(f"  [dim]{what:7}[/dim] {value}")
    console.print()
    try:
        results = _rounds(console, arguments.rounds, arguments.seed, settings, loops)
    except RoundFailedError:
        return 1
    summaries = [summarize(loop, results) for loop in loops]
    _report(console, summaries)
    from .page import render

    arguments.html.write_text(render(summaries, machine, setting, sentences(summaries)), encoding="utf-8")
    console.print(f"The distributions, drawn: [bold]{arguments.html.resolve()}[/bold]", soft_wrap=True)
    if arguments.json:
        document = {
            "setting": setting, "machine": dict(machine), "loops": [summary.to_json() for summary in summaries]
        }  # fmt: skip
        arguments.json.write_text(json.dumps(document, indent=1))
        console.print(f"Every figure: [bold]{arguments.json.resolve()}[/bold]", soft_wrap=True)
    return 0


def _rounds(console: Console, rounds: int, seed: int, settings: Settings, loops: list[str]) -> list[RoundResult]:
    """Run all rounds, the loops taking turns and each being first in its turn. Raises RoundFailedError."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    results: list[RoundResult] = []
    # Drawing takes CPU time: only with a CPU to spare may it happen while a round is running.
    spare = len(os.sched_getaffinity(0)) > 2
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, auto_refresh=spare, refresh_per_second=4, transient=True) as progress:
        task = progress.add_task("", total=rounds * len(loops))
        for number in range(rounds):
            shift = number % len(loops)
            for loop in loops[shift:] + loops[:shift]:
                progress.update(task, description=f"round {number + 1}, {loop}")
                progress.refresh()
                try:
                    result = run_round(loop, number + 1, seed + number, settings)
                except RoundFailedError as error:
                    progress.stop()
                    _complain(console, loop, number + 1, error)
                    raise
                results.append(result)
                progress.console.print(_one_line(result))
                progress.advance(task)
    return results


def _one_line(result: RoundResult) -> str:
    medians = []
    for name, text in ((WIRE, result.client["wire_to_callback"]), (TICK, result.exchange["tick_to_trade"])):
        latency = latency_of([text])
        medians.append(f"{name} {microseconds(latency.median) if latency.count else '–':>6} µs")
    return f"  {result.number} {result.loop:7}  p50 {', '.join(medians)}, {result.client['gaps']} gaps"


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
