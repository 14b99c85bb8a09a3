"""The soak test: wake-ups, timers and I/O against arming and disarming, and connection churn.

    python tests/soak/run.py --seconds 600
    python tests/soak/run.py --quick                  # about 20 s, every spin mode
    python tests/soak/run.py --seconds 60 --mode 5 --seed 12345

The exit status is 1, and the seed is printed, if a callback was missed, early or called twice, if a byte was lost or
changed, or if anything has leaked. The seed decides all choices of a run, but not the timing of threads.
"""

from __future__ import annotations

import argparse
import faulthandler
import gc
import os
import random
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any, TypeVar

import churn
import waking
from watchdog import Failure

from sfloop.options.options import Options
from sfloop.testing import live_objects

T = TypeVar("T")

MODES: tuple[str | float, ...] = ("never", 1, "adaptive", 5, "always", 20)
QUICK = 20.0  # seconds
CHURN_SHARE = 0.3  # of the time


def spin_mode(text: str) -> str | float:
    """Return a spin mode of the command line."""
    try:
        return Options(spin=float(text) if text[:1].isdigit() else text).spin
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def parse(arguments: list[str]) -> argparse.Namespace:
    """Return the command line's options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=120.0, help="how long to run, in all (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=None, help="repeat the run that printed this seed")
    parser.add_argument("--mode", type=spin_mode, action="append", help="this spin mode only (may be repeated)")
    parser.add_argument("--quick", action="store_true", help=f"all modes in about {QUICK:.0f} s")
    options = parser.parse_args(arguments)
    if options.seconds <= 0:
        parser.error(f"--seconds {options.seconds}: must be more than 0")
    return options


class Leaks:
    """Descriptors and native objects that a part left behind."""

    def __init__(self) -> None:
        self.before = self.count()

    @staticmethod
    def count() -> dict[str, int]:
        """Return the present numbers."""
        for _ in range(2):
            gc.collect()
        return {"descriptors": len(os.listdir("/proc/self/fd")), **live_objects()}

    def check(self) -> None:
        """:raises Failure: there are more than before."""
        for _ in range(20):
            now = self.count()
            leaked = {name: n - self.before[name] for name, n in now.items() if n > self.before[name]}
            if not leaked:
                return
            time.sleep(0.05)  # for threads that are ending
        raise Failure(f"leaked: {leaked}")


class Soak:
    """Runs parts, one after the other, up to the first that fails; `failure` is its message."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.failure = ""
        self.unraisable: list[str] = []
        sys.unraisablehook = lambda event: self.unraisable.append(f"{event.exc_value!r} in {event.object!r}")

    def part(self, label: str, limit: float, body: Callable[[], T]) -> T | None:
        """Run one part. After `limit` seconds, end the process with a traceback."""
        faulthandler.dump_traceback_later(limit, exit=True)
        leaks = Leaks()
        try:
            result = body()
            leaks.check()
            if self.unraisable:
                raise Failure("ignored exceptions: " + "; ".join(self.unraisable))
            return result
        except Exception as error:
            text = str(error) if isinstance(error, Failure) else repr(error)
            self.failure = f"{label}: {text}"
            print(f"FAILED {label}: {text}", file=sys.stderr, flush=True)
            if not isinstance(error, Failure):
                sys.excepthook(type(error), error, error.__traceback__)
            return None
        finally:
            self.unraisable.clear()
            faulthandler.cancel_dump_traceback_later()

    def waking(self, spin: str | float, names: tuple[str, ...], seconds: float, seed: str) -> None:
        """Run one set of stressors in one spin mode."""
        label = f"spin={spin} {'+'.join(names)}"
        done = self.part(label, seconds + 60, lambda: waking.run(spin, names, seconds, seed))
        if done is not None:
            answered, stats = done
            counted = {name: stats[name] for name in ("sleeps", "wakeups", "wakeups_without_syscall", "contentions")}
            print(f"{label}: {answered} answered; {counted}", flush=True)

    def churning(self, spin: str | float, seconds: float, seed: str) -> None:
        """Run the connection churn in one spin mode."""
        label = f"spin={spin} churn"
        done: Any = self.part(label, seconds + churn.PATIENCE + 60, lambda: churn.run(spin, seconds, seed))
        if done is not None:
            print(f"{label}: {sum(done.values())} connections; {dict(done)}", flush=True)


def main(arguments: list[str]) -> int:
    """Run the command; return the exit status."""
    options = parse(arguments)
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(1 << 32)
    modes = options.mode or MODES
    total = QUICK if options.quick else options.seconds
    print(f"soak: seed {seed}, {total:.0f} s, spin {', '.join(map(str, modes))}", flush=True)
    warnings.simplefilter("error", ResourceWarning)
    soak = Soak(seed)
    began = time.monotonic()
    generator = random.Random(seed)
    # Rounds last up to two minutes, because a long run must mix the modes.
    rounds = max(1, round(total / 120))
    for number in range(rounds):
        for spin in modes:
            sets = waking.combinations(generator, options.quick)
            share = total / rounds / len(modes)
            for names in sets:
                soak.waking(spin, names, share * (1 - CHURN_SHARE) / len(sets), f"{seed} {number} {spin} {names}")
                if soak.failure:
                    break
            else:
                soak.churning(spin, share * CHURN_SHARE, f"{seed} {number} {spin}")
            if soak.failure:
                print(f"\nsoak FAILED; repeat with --seed {seed}: {soak.failure}", file=sys.stderr)
                return 1
    print(f"soak passed (seed {seed}, {time.monotonic() - began:.0f} s)")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
