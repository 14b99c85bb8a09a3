"""Running one suite on both loops."""

from __future__ import annotations

import dataclasses
import os
import re
import resource
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from conformance.forkserver.outcome import Outcome
from conformance.forkserver.suite import SuiteError
from third_party.pytest_process import PytestProcess

from .judging import Side, Verdict, judge, on_one_side
from .suite import Suite

LOOPS = ("asyncio", "sfloop")
#: One worker, so that a suite's tests do not compete for the CPU, and for ports that it gives numbers.
JOBS = 1
#: The words before a command that run it in a network namespace of its own. Needs root.
_ALONE = ("unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh")
#: The folder of our own tests of projects.
_PROGRAMS = Path(__file__).resolve().with_name("programs")

Say = Callable[[str], None]


@dataclasses.dataclass
class Run:
    """A suite's result on both loops."""

    sides: dict[str, Side]
    verdict: Verdict


def run(suite: Suite, python: str, *, quick: bool, say: Say) -> Run:
    """Run the suite on asyncio and on sfloop. A test that fails on one of them only runs there a second time.

    Raises SuiteError if the suite cannot run here.
    """
    with ExitStack() as stack:
        variables = stack.enter_context(suite.service()) if suite.service else {}
        pytest = _process(suite, python, variables=dict(variables), quick=quick)
        stack.callback(pytest.kill)
        outcomes: dict[str, dict[str, Outcome]] = {}
        spent: dict[str, tuple[float, float]] = {}
        for loop in LOOPS:
            outcomes[loop], spent[loop] = _measured(suite, pytest, loop, without=_apart(suite, loop))
            side = Side.of(outcomes[loop], *spent[loop])
            say(f"{suite.name} on {loop}: {side.passed} passed, {side.failed} failed, {side.seconds:.1f} s")
        expected = re.compile("|".join(suite.white_box) or "(?!)")
        if white_box := [test_id for test_id in outcomes["asyncio"] if expected.search(test_id)]:
            outcomes["sfloop"].update((o.test_id, o) for o in pytest.outcomes("sfloop", white_box, jobs=JOBS))
        for loop, other in (LOOPS, LOOPS[::-1]):
            alone = on_one_side(outcomes[loop], outcomes[other])
            if again := [test_id for test_id in alone if not expected.search(test_id)]:
                say(f"{suite.name} on {loop}: {len(again)} failed there only; running them again")
                outcomes[loop].update((o.test_id, o) for o in pytest.outcomes(loop, again, jobs=JOBS))
    sides = {loop: Side.of(outcomes[loop], *spent[loop]) for loop in LOOPS}
    return Run(sides, judge(suite, outcomes["asyncio"], outcomes["sfloop"], whole=not quick))


def _apart(suite: Suite, loop: str) -> tuple[str, ...]:
    """The tests that run in a process of their own on this loop, because they fail, and may leave things open that make
    the next tests fail."""
    return tuple(suite.white_box) if loop == "sfloop" else ()


def _measured(
    suite: Suite, pytest: PytestProcess, loop: str, *, without: tuple[str, ...]
) -> tuple[dict[str, Outcome], tuple[float, float]]:
    most = dataclasses.replace(pytest, excluded="|".join((*suite.left_out, *without)))
    began, cpu = time.monotonic(), _cpu_of_children()
    try:
        outcomes = {outcome.test_id: outcome for outcome in most.outcomes(loop, None, jobs=JOBS)}
    except RuntimeError as error:
        raise SuiteError(f"{suite.name}'s pytest failed on {loop}:\n{error}") from None
    finally:
        most.kill()
    return outcomes, (time.monotonic() - began, _cpu_of_children() - cpu)


def _cpu_of_children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _process(suite: Suite, python: str, *, variables: dict[str, str], quick: bool) -> PytestProcess:
    if suite.alone and os.geteuid() != 0:
        raise SuiteError(f"{suite.name} needs root, because its tests need a network namespace of their own")
    tests = suite.quick if quick else suite.tests
    if suite.programs:
        # The options of the repository's own tests are not for these.
        directory, tests = _PROGRAMS, ("-c", os.devnull, f"--rootdir={_PROGRAMS}", suite.programs)
    else:
        directory = suite.source.unpacked(without=() if suite.keeps_package else (suite.package,))
    limits = ("-p", "xdist", "-p", "timeout", f"--timeout={suite.limit}", "--timeout-method=thread")
    ours = ("-q", "-o", "addopts=", "-p", "outcome_report", "-p", "no:cacheprovider", *limits)
    return PytestProcess(
        directory,
        (*ours, *suite.arguments, *tests),
        plugins=suite.plugins,
        excluded="|".join(suite.left_out),
        environment={**suite.variables, **variables},
        python=python,
        prefix=_ALONE if suite.alone else (),
    )
