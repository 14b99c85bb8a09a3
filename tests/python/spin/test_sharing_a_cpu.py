"""Two spinning loops on one CPU: neither starves, and adaptive ones notice each other."""

from __future__ import annotations

import os
import subprocess

import pytest
from harness import programs

pytestmark = pytest.mark.sfloop_only("asyncio does not spin")

LOOP = """
import sfloop
spin, seconds, cpu = sys.argv[2], float(sys.argv[3]), int(sys.argv[4])
os.sched_setaffinity(0, {cpu})
loop = sfloop.new_event_loop(spin=spin)
ticks = 0
end = 0.0

def tick():
    global ticks
    ticks += 1
    if time.monotonic() > end:
        loop.stop()
    else:
        loop.call_later(0.002, tick)

print("ready", flush=True)
sys.stdin.readline()
end = time.monotonic() + seconds
loop.call_soon(tick)
loop.run_forever()
stats = loop.stats()
loop.close()
print(ticks, stats["sleeps"], stats["contentions"], time.process_time(), flush=True)
"""


class Outcome:
    """The counts of one program of LOOP."""

    def __init__(self, line: str) -> None:
        ticks, sleeps, contentions, cpu = line.split()
        self.ticks, self.sleeps, self.contentions, self.cpu = int(ticks), int(sleeps), int(contentions), float(cpu)


def together(*spins: str, seconds: float = 0.7) -> list[Outcome]:
    """Run a loop of each mode, each in its own process, all on one CPU at the same time."""
    cpu = str(max(os.sched_getaffinity(0)))
    running: list[subprocess.Popen[str]] = [programs.start("sfloop", LOOP, spin, str(seconds), cpu) for spin in spins]
    for process in running:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n", process.communicate()
    for process in running:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    outcomes = []
    for process in running:
        out, err = programs.finish(process)
        assert process.returncode == 0, err
        outcomes.append(Outcome(out))
    return outcomes


@pytest.mark.parametrize("spin", ["always", "adaptive", "never", "20"])
def test_both_make_progress(loop_kind: str, spin: str) -> None:
    first, second = together(spin, spin)
    for outcome in (first, second):
        # About 300 would fit. Two spinning loops get slices of some milliseconds each.
        assert outcome.ticks >= 10, vars(outcome)


def test_adaptive_loops_notice_and_sleep(loop_kind: str) -> None:
    outcomes = together("adaptive", "adaptive", seconds=1.0)
    assert any(outcome.contentions for outcome in outcomes), [vars(outcome) for outcome in outcomes]
    assert any(outcome.sleeps for outcome in outcomes), [vars(outcome) for outcome in outcomes]


def test_an_adaptive_loop_makes_way_for_one_that_always_spins(loop_kind: str) -> None:
    adaptive, always = together("adaptive", "always", seconds=1.0)
    assert adaptive.contentions >= 1, vars(adaptive)
    assert adaptive.sleeps >= 1, vars(adaptive)
    assert adaptive.ticks >= 10, vars(adaptive)
    assert always.sleeps == 0
    assert always.cpu > adaptive.cpu, (vars(always), vars(adaptive))


def test_loops_of_one_process_that_are_more_than_its_cpus(loop_kind: str) -> None:
    """Adaptive loops of one process count each other instead of measuring."""
    out = programs.run(
        "sfloop",
        """
        import sfloop
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
        counts = []

        def body():
            loop = sfloop.new_event_loop(spin="adaptive")
            loop.call_later(0.6, loop.stop)
            loop.run_forever()
            counts.append((loop.stats()["contentions"], loop.stats()["sleeps"]))
            loop.close()

        threads = [threading.Thread(target=body) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        print(all(contentions and sleeps for contentions, sleeps in counts), counts)
        """,
    )
    assert out.startswith("True "), out
