"""The rounds: each contender runs once in each, in an order that rotates from round to round."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from sfloop.bench import noise
from sfloop.bench.errors import ContenderFailed
from sfloop.bench.loops import OWN, REFERENCES, Contender
from sfloop.bench.model import Case, CaseResult
from sfloop.bench.noise import Verdict
from sfloop.bench.rig import Rig, Settings

#: Called before each measurement with case, round (from 0), contender.
Progress = Callable[[Case, int, Contender], None]


@dataclass
class Run:
    """All results of a run of the bench so far."""

    settings: Settings
    contenders: list[Contender]
    results: dict[str, CaseResult] = field(default_factory=dict)

    def verdicts(self) -> dict[str, Verdict]:
        """Case → whether the machine was quiet enough, for measured cases that depend on the machine's speed."""
        return {
            name: judge_noise(result)
            for name, result in self.results.items()
            if result.samples and any(metric.timed for metric in result.case.metrics)
        }


def rotated(contenders: Sequence[Contender], turn: int) -> list[Contender]:
    """The contenders in the order of a round. Each is first in one round, second in another, and so on."""
    start = turn % len(contenders) if contenders else 0
    return [*contenders[start:], *contenders[:start]]


def taking_part(case: Case, contenders: Sequence[Contender]) -> list[Contender]:
    """The contenders that a case can measure: those that it names, or else all loops, and its C servers."""
    return [contender for contender in contenders if _takes_part(case, contender)]


def _takes_part(case: Case, contender: Contender) -> bool:
    if case.only is not None:
        return contender.loop in case.only
    if contender.is_loop:
        return case.streams or not contender.is_combined
    return contender.name in case.references


def rounds_of(case: Case, settings: Settings) -> int:
    """The number of a case's rounds."""
    return min(settings.rounds, case.most_rounds)


def estimate(cases: Sequence[Case], contenders: Sequence[Contender], settings: Settings) -> float:
    """The approximate duration of a run in seconds."""
    total = 0.0
    for case in cases:
        once = case.fixed_seconds + case.scaled_seconds * (settings.seconds + settings.warmup)
        total += once * rounds_of(case, settings) * len(taking_part(case, contenders))
    return total


def judge_noise(result: CaseResult) -> Verdict:
    """Judge noise by all measurements, and by the rounds of a reference other than sfloop."""
    disturbances = [sample.disturbance for samples in result.samples.values() for sample in samples]
    key = result.case.metrics[0].key
    for reference in (*REFERENCES, "uvloop", "asyncio"):
        rounds = result.values(reference, key)
        if rounds:
            return noise.judge(disturbances, reference, rounds)
    # Another build of sfloop, if there is no better reference.
    others = [name for name in result.samples if name != OWN]
    reference = others[0] if others else OWN
    return noise.judge(disturbances, reference, result.values(reference, key))


def run_case(case: Case, contenders: Sequence[Contender], settings: Settings, progress: Progress) -> CaseResult:
    """Measure one case. A contender that fails once is left out from then on, and its failure is kept."""
    result = CaseResult(case)
    result.skipped = case.unavailable()
    if result.skipped is not None:
        return result
    with case.place() as place:
        rig = Rig(settings, place)
        for turn in range(rounds_of(case, settings)):
            for contender in rotated(taking_part(case, contenders), turn):
                if contender.name in result.failures:
                    continue
                progress(case, turn, contender)
                try:
                    sample = case.measure(rig, contender)
                except ContenderFailed as failure:
                    result.failures[contender.name] = str(failure)
                else:
                    result.samples.setdefault(contender.name, []).append(sample)
    return result
