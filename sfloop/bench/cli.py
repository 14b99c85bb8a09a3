"""The command ``sfloop bench``."""

from __future__ import annotations

import argparse
import datetime
import importlib.util
import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sfloop.bench.errors import BenchError

if TYPE_CHECKING:
    from rich.console import Console

    from sfloop.bench.bars import Outcome
    from sfloop.bench.builds import Build
    from sfloop.bench.compare import Comparison
    from sfloop.bench.loops import Contender
    from sfloop.bench.model import Case
    from sfloop.bench.rounds import Run

ROUNDS, SECONDS, WARMUP = 5, 0.2, 0.1
QUICK_ROUNDS, QUICK_SECONDS = 3, 0.15
#: Two builds are compared by an interval, which narrows with more rounds. Its level needs at least six rounds.
COMPARED_ROUNDS, COMPARED_QUICK_ROUNDS = 15, 7

FAILED, SLOWER, INTERRUPTED = 1, 3, 130

#: Package → its purpose.
NEEDED = {"rich": "the tables", "hdrh": "the latency histograms"}
NEEDED_FOR_HTML = {"matplotlib": "the plots of --html"}


def parser() -> argparse.ArgumentParser:
    """The options of ``sfloop bench``."""
    options = argparse.ArgumentParser(
        prog="sfloop bench",
        description="Measure sfloop side by side with the other installed event loops and with servers in C.",
    )
    options.add_argument("--list", action="store_true", help="list the cases and the loops; measure nothing")
    options.add_argument("--cases", metavar="A,B", help="only these cases (default: all)")
    options.add_argument(
        "--loops",
        metavar="A,B",
        help="only these: loops, modules of loops, LOOP+aiofastnet, c-spin, c-spin-recv, c-block, c-af_xdp "
        "(default: all installed)",
    )
    options.add_argument(
        "--against",
        type=Path,
        metavar="VENV",
        help="compare with another build of sfloop, in this virtual environment: the ratio of each figure, with its "
        "interval (without --loops: the two builds alone)",
    )
    options.add_argument(
        "--fail-slower",
        action="store_true",
        help=f"with --against: exit with status {SLOWER} if this build is slower in a figure",
    )
    options.add_argument(
        "--rounds",
        type=int,
        metavar="N",
        help=f"rounds of each case (default: {ROUNDS}; with --against: {COMPARED_ROUNDS})",
    )
    options.add_argument(
        "--seconds",
        type=float,
        metavar="S",
        help=f"seconds of one measurement, after {WARMUP} s of warm-up (default: {SECONDS})",
    )
    options.add_argument(
        "--quick",
        action="store_true",
        help=f"{QUICK_ROUNDS} rounds of {QUICK_SECONDS} s (with --against: {COMPARED_QUICK_ROUNDS}): a first look",
    )
    options.add_argument(
        "--cpus", metavar="A,B", help="CPU of the server and CPU of the load (default: the first two cores)"
    )
    options.add_argument("--json", type=Path, metavar="FILE", help="write every figure of every round to FILE")
    options.add_argument(
        "--html", type=Path, metavar="FILE", help="write a page with tables and percentile plots to FILE"
    )
    return options


def _require(packages: dict[str, str]) -> None:
    missing = [f"{name} (for {what})" for name, what in packages.items() if importlib.util.find_spec(name) is None]
    if missing:
        raise BenchError(f"not installed: {', '.join(missing)}; run pip install 'sfloop[bench]'")


def _check_output(option: str, path: Path | None) -> None:
    """Check the path of an output file before the measurement, which takes minutes."""
    if path is None:
        return
    directory = path.parent
    if path.is_dir():
        raise BenchError(f'{option} is "{path}", which is a directory; name a file')
    if not directory.is_dir() or not os.access(directory, os.W_OK):
        raise BenchError(f'{option} is "{path}", but "{directory}" is not a writable directory; name one that is')


def _names(option: str, text: str) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise BenchError(f'{option} is "{text}"; give names with commas between them; --list shows them')
    return names


def _contenders(options: argparse.Namespace) -> tuple[list[Contender], dict[str, str]]:
    from sfloop.bench import builds, loops

    if options.fail_slower and options.against is None:
        raise BenchError("--fail-slower needs --against; name the build to compare with")
    if options.against is None and options.loops is None:
        usable, missing = loops.installed()
        return [*usable, *loops.references()], missing
    try:
        contenders = loops.chosen([loops.OWN] if options.loops is None else _names("--loops", options.loops))
    except loops.LoopNotUsable as error:
        raise BenchError(f"--loops: {error}") from error
    if options.against is not None:
        own = next((place for place, contender in enumerate(contenders) if contender.name == loops.OWN), None)
        if own is None:
            raise BenchError(f"--loops leaves out {loops.OWN}, which --against compares with another build; add it")
        # Place it next to this build, so that little time passes between the two.
        contenders.insert(own + 1, loops.other_build(builds.find(options.against)))
    return contenders, {}


def _cases(options: argparse.Namespace) -> list[Case]:
    from sfloop.bench import cases

    if options.cases is None:
        return list(cases.CASES)
    try:
        return cases.find(_names("--cases", options.cases))
    except BenchError as error:
        raise BenchError(f"--cases: {error}") from error


def _run(options: argparse.Namespace, contenders: list[Contender]) -> Run:
    from sfloop.bench import build, cpus
    from sfloop.bench.rig import Settings
    from sfloop.bench.rounds import Run

    usual, quick = (ROUNDS, QUICK_ROUNDS) if options.against is None else (COMPARED_ROUNDS, COMPARED_QUICK_ROUNDS)
    rounds = options.rounds if options.rounds is not None else quick if options.quick else usual
    seconds = options.seconds if options.seconds is not None else QUICK_SECONDS if options.quick else SECONDS
    if not 1 <= rounds <= 1000:
        raise BenchError(f"--rounds is {rounds}; 1 to 1000 is allowed")
    if not 0.01 <= seconds <= 3600:
        raise BenchError(f"--seconds is {seconds:g}; 0.01 to 3600 is allowed")
    pair = cpus.choose(options.cpus)
    return Run(Settings(build.programs(), pair, rounds, seconds, WARMUP), contenders)


def _list(console: Console, missing: dict[str, str], contenders: Sequence[Contender], cases: Sequence[Case]) -> None:
    from sfloop.bench.loops import C_SERVERS

    console.print("Cases:")
    for case in cases:
        reason = case.unavailable()
        console.print(
            f"  {case.name:22} {case.title}" + (f" (cannot run: {reason})" if reason else ""), highlight=False
        )
    console.print("Contenders:")
    for contender in contenders:
        console.print(
            f"  {contender.name:22} {contender.version or C_SERVERS.get(contender.name, '')}", highlight=False
        )
    for name, reason in missing.items():
        console.print(f"  {name:22} left out: {reason}", highlight=False)


def _introduce(console: Console, build: Build) -> None:
    import sfloop
    from sfloop.bench.builds import commit_of

    here = Path(sfloop.__file__ or "").parent
    own = commit_of(here)
    console.print(
        f"sfloop is {here}{f' ({own})' if own else ''}; "
        f"against is {build.package}{f' ({build.commit})' if build.commit else ''}, run by {build.python}",
        highlight=False,
        soft_wrap=True,
    )
    if build.other_python:
        console.print(f"[bold yellow]{build.other_python}: the ratios include the difference between the Pythons.[/]")


def _header(console: Console, run: Run, cases: Sequence[Case], missing: dict[str, str]) -> None:
    from sfloop.bench.cpus import machine
    from sfloop.bench.rounds import estimate

    facts, settings = machine(), run.settings
    virtual = "virtual machine, " if facts["virtual"] else ""
    console.print(
        f"{facts['cpu']}, {facts['cpus']} CPUs, {virtual}Linux {facts['kernel']}, {facts['python']}", highlight=False
    )
    names = ", ".join(f"{c.name} {c.version}".strip() for c in run.contenders)
    console.print(names, highlight=False, soft_wrap=True)
    for name, reason in missing.items():
        console.print(f"Without {name}: {reason}", highlight=False, soft_wrap=True)
    for contender in run.contenders:
        if contender.build is not None:
            _introduce(console, contender.build)
    minutes = estimate(cases, run.contenders, settings) / 60
    console.print(
        f"{len(cases)} cases, {settings.rounds} rounds of {settings.seconds:g} s, about {minutes:.1f} minutes; "
        f"server on CPU {settings.cpus.server}, load on CPU {settings.cpus.load}\n",
        highlight=False,
    )
    if settings.cpus.siblings:
        console.print("[bold yellow]Both CPUs are threads of one core and slow each other down.[/]\n")


def _measure(console: Console, run: Run, cases: Sequence[Case]) -> None:
    """Run the cases and print each result. Progress is printed between measurements only."""
    from sfloop.bench import report
    from sfloop.bench.rounds import rounds_of, run_case

    def progress(case: Case, turn: int, contender: Contender) -> None:
        if console.is_terminal:
            text = f"{case.name}: round {turn + 1} of {rounds_of(case, run.settings)}, {contender.name}"
            console.print(f"{text:<78}", end="\r", highlight=False)

    for case in cases:
        result = run_case(case, run.contenders, run.settings, progress)
        if console.is_terminal:
            console.print(" " * 78, end="\r")
        run.results[case.name] = result
        report.print_case(console, result, run.contenders, run.verdicts().get(case.name))


def _finish(console: Console, run: Run, options: argparse.Namespace, started: str) -> list[Comparison]:
    from sfloop.bench import bars, compare, page, record, report
    from sfloop.bench.loops import OWN

    outcomes: list[Outcome] = []
    noisy = {name: verdict.noisy for name, verdict in run.verdicts().items()}
    # Two builds without other contenders have no rival for the bars.
    alone = options.against is not None and options.loops is None
    if not alone and any(contender.name == OWN for contender in run.contenders):
        outcomes = bars.judge_all(run.results, noisy)
    comparisons = compare.compare_all(run.results, noisy)
    if outcomes:
        console.print(report.bars_table(outcomes, run.results))
        console.print(report.summary(outcomes), highlight=False)
    if options.against is not None:
        console.print(report.builds_table(comparisons, run.results))
        console.print(report.builds_summary(comparisons), highlight=False, soft_wrap=True)
    if options.json is not None:
        record.write(options.json, run, outcomes, comparisons, started)
        console.print(f"Figures: {options.json}", highlight=False, soft_wrap=True)
    if options.html is not None:
        page.write(options.html, run, outcomes, comparisons, started)
        console.print(f"Page: {options.html}", highlight=False, soft_wrap=True)
    return comparisons


def _status_of_builds(console: Console, comparisons: Sequence[Comparison]) -> int:
    """The exit status of --fail-slower. A comparison that compared nothing is a failure."""
    from sfloop.bench import compare

    if compare.slower(comparisons):
        return SLOWER
    if all(each.verdict == "not compared" for each in comparisons if each.judged):
        console.print("--fail-slower: no figure was compared", highlight=False)
        return FAILED
    return 0


def bench(options: argparse.Namespace) -> int:
    _require(NEEDED | (NEEDED_FOR_HTML if options.html is not None else {}))
    from rich.console import Console

    from sfloop.bench.loops import OWN

    # Without a terminal, a table may be as wide as it needs.
    console = Console()
    if not console.is_terminal:
        console = Console(width=200)
    cases = _cases(options)
    contenders, missing = _contenders(options)
    if options.list:
        _list(console, missing, contenders, cases)
        return 0
    _check_output("--json", options.json)
    _check_output("--html", options.html)
    run = _run(options, contenders)
    _header(console, run, cases, missing)
    started, begin = datetime.datetime.now().astimezone().isoformat(timespec="seconds"), time.monotonic()
    status = 0
    # On SIGTERM the bench still stops its servers, removes its namespaces and shows its results.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        _measure(console, run, cases)
    except KeyboardInterrupt:
        console.print("\nInterrupted. These are the results so far.")
        status = INTERRUPTED
    finally:
        # Show the results in every case, even after an error.
        comparisons = _finish(console, run, options, started)
    console.print(f"{(time.monotonic() - begin) / 60:.1f} minutes", highlight=False)
    failed = any(OWN in result.failures for result in run.results.values())
    status = status or (FAILED if failed else 0)
    return status or (_status_of_builds(console, comparisons) if options.fail_slower else 0)
