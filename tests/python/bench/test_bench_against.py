"""Another build as a contender: ratios, intervals and verdicts, the search for the build, and runs against
stand-ins."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import sysconfig
import textwrap
from pathlib import Path

import pytest
from bench_results import result
from rich.console import Console

from sfloop import bench
from sfloop.bench import builds, cli, compare, loops, page, record, report, rounds
from sfloop.bench.build import Programs
from sfloop.bench.cases import find
from sfloop.bench.cpus import CpuPair
from sfloop.bench.errors import BenchError, ContenderFailed
from sfloop.bench.loops import Contender
from sfloop.bench.model import CaseResult
from sfloop.bench.programs import udp
from sfloop.bench.rig import Rig, Settings, program_command

OWN = Contender("sfloop", "1", is_loop=True)
SETTINGS = Settings(Programs(Path("sfbench"), Path("gap")), CpuPair(0, 1), rounds=2, seconds=0.1, warmup=0.05)


@pytest.mark.parametrize(
    ("count", "rank", "level"),
    [
        (1, 1, 0.0),
        (2, 1, 0.5),
        (5, 1, 0.9375),
        (6, 1, 0.96875),
        (8, 1, 0.9921875),
        (9, 2, 0.9609375),
        (15, 4, 0.96484375),
    ],
)
def test_the_interval_is_that_of_order_statistics(count: int, rank: int, level: float) -> None:
    found = compare.interval([float(value) for value in range(count, 0, -1)])
    assert (found.low, found.high) == (rank, count + 1 - rank)
    assert found.level == pytest.approx(level)


def test_an_outlier_does_not_widen_an_interval_of_nine() -> None:
    found = compare.interval([0.001, *[1.0] * 7, 1000.0])
    assert (found.low, found.high) == (1.0, 1.0)


def two(own: list[float], other: list[float], case: str = "tcp-protocol-64", key: str = "p50") -> CaseResult:
    return result(case, sfloop=[{key: value} for value in own], against=[{key: value} for value in other])


def test_ratios_are_taken_within_a_round() -> None:
    """The machine runs at half its speed in the second round."""
    assert compare.ratios(two([10.0, 20.0, 11.0], [5.0, 10.0, 11.0]), "p50") == [2.0, 2.0, 1.0]


def test_zeros_and_negative_figures() -> None:
    assert compare.ratios(two([0.0, 0.0, 3.0, -2.0, 4.0], [0.0, 3.0, 0.0, 5.0, 8.0]), "p50") == [1.0, 0.5]


def test_a_figure_that_one_round_lacks_leaves_the_others_together() -> None:
    made = two([10.0, 20.0, 30.0], [10.0, 10.0, 10.0])
    del made.samples["sfloop"][1].values["p50"]
    assert compare.ratios(made, "p50") == [1.0, 3.0]


@pytest.mark.parametrize(
    ("own", "lower", "higher"),
    [
        ([1.04] * 7, "slower", "faster"),
        ([1.02] * 7, "same", "same"),
        ([0.95] * 7, "faster", "slower"),
        ([1.02] + [1.5] * 6, "undecided", "undecided"),
        ([1.01, 1.5] * 4, "undecided", "undecided"),
    ],
)
def test_the_whole_interval_has_to_be_beyond_the_tolerance(own: list[float], lower: str, higher: str) -> None:
    latency, rate = two(own, [1.0] * len(own)), two(own, [1.0] * len(own), "call-soon-chain", "per_second")
    assert compare.compare(latency, latency.case.metrics[0]).verdict == lower
    assert compare.compare(rate, rate.case.metrics[0]).verdict == higher


def test_what_cannot_be_compared_says_why() -> None:
    made = two([1.0], [2.0])
    p50, p99 = made.case.metrics[:2]
    once = compare.compare(made, p50)
    assert (once.verdict, once.ratio, once.reason) == ("not compared", 0.5, "one round: no interval")
    assert compare.compare(made, p99).reason == "no figure"
    assert compare.compare(two([1.0] * 3, [0.0] * 3), p50).reason == "one of the two is 0 or negative"
    failed = two([1.0] * 3, [])
    failed.failures["against"] = "it has no such thing"
    assert compare.compare(failed, p50).reason == "against failed: it has no such thing"
    assert compare.compare_case(result("tcp-protocol-64", sfloop=[{"p50": 1.0}])) == []
    skipped = two([1.0], [1.0])
    skipped.skipped = "no luck today"
    assert compare.compare_case(skipped) == []


def slow() -> CaseResult:
    values = [{"p50": 20.0, "p99": 30.0, "p99.9": 90.0, "max": 100.0}] * 7
    return result("tcp-protocol-64", sfloop=values, against=[dict.fromkeys(values[0], 10.0)] * 7)


def test_the_rarest_latencies_are_shown_and_not_judged() -> None:
    comparisons = compare.compare_case(slow())
    assert [each.verdict for each in comparisons] == ["slower"] * 4
    assert [each.metric for each in compare.slower(comparisons)] == ["p50", "p99"]


@pytest.mark.parametrize(("results", "status"), [([slow()], 3), ([two([1.0] * 7, [1.0] * 7)], 0), ([], 1)])
def test_the_status_of_a_comparison(results: list[CaseResult], status: int) -> None:
    comparisons = compare.compare_all({each.case.name: each for each in results}, {})
    assert cli._status_of_builds(Console(file=io.StringIO()), comparisons) == status


def test_the_comparison_is_shown_everywhere() -> None:
    made = slow()
    noisy = compare.compare_case(made, noisy=True)
    console = Console(file=io.StringIO(), width=300)
    other = Contender("against", "0.1 8043b95", is_loop=True)
    report.print_case(console, made, [OWN, other], None)
    console.print(report.builds_table(noisy, {made.case.name: made}))
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert "sfloop ÷ against" in text
    assert text.count("2.000 (2.000 – 2.000)") == 2
    assert "2.000 (2.000 – 2.000) slower" in text
    assert "9.000 (9.000 – 9.000) slower" not in text
    assert "98.4% of 7 rounds" in text
    assert "slower (not judged); the machine was noisy" in text
    assert report.builds_summary(noisy) == "2 figures judged: 2 slower by more than 3% (in tcp-protocol-64)"
    run = rounds.Run(SETTINGS, [OWN, other], {made.case.name: made})
    written = json.loads(json.dumps(record.document(run, [], noisy, "today")))
    assert [each["metric"] for each in written["against"]] == ["p50", "p99", "p99.9", "max"]
    assert written["against"][0]["interval"] == {"low": 2.0, "high": 2.0, "level": 0.984375}
    html = page.render(run, [], noisy, "today")
    assert "The two builds" in html
    assert '<td class="slower">slower; the machine was noisy</td>' in html


# ---- finding a build ----


def test_what_is_wrong_with_a_folder_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def error(folder: Path) -> str:
        assert bench.main(["--against", str(folder)]) == 2
        return capsys.readouterr().err

    (tmp_path / "file").write_text("")
    assert "which does not exist; name a virtual environment" in error(tmp_path / "nothing")
    assert "which is not a folder" in error(tmp_path / "file")
    assert "which has no bin/python" in error(tmp_path)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/python").write_text("no program")
    assert "bin/python cannot be run" in error(tmp_path)
    assert bench.main(["--fail-slower"]) == 2
    assert "--fail-slower needs --against" in capsys.readouterr().err
    assert bench.main(["--against", sys.prefix, "--loops", "asyncio"]) == 2
    assert "--loops leaves out sfloop" in capsys.readouterr().err


def environment(folder: Path, **sources: str) -> Path:
    """Return a virtual environment with a package sfloop of these sources, and with this environment's other
    packages."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    package = folder / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
    lent = package / "lent.pth"  # the .pth files of a .pth folder are not read, so this environment's sfloop stays out
    lent.write_text(sysconfig.get_path("purelib") + "\n")
    for name, source in sources.items():
        path = package / "sfloop" / Path(*name.split("_in_")[::-1]).with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(source))
    return folder


STAND_IN = """
    import asyncio
    __version__ = "0.0.7"
    new_event_loop = asyncio.SelectorEventLoop
"""


def test_an_environment_without_sfloop(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="has no sfloop that works .*No module named 'sfloop'.*make .venv/with-bench"):
        builds.find(environment(tmp_path / "venv"))


def test_an_sfloop_that_makes_no_loop(tmp_path: Path) -> None:
    broken = '__version__ = "1"\ndef new_event_loop(): raise ImportError("no engine")\n'
    with pytest.raises(BenchError, match="has no sfloop that works .ImportError: no engine."):
        builds.find(environment(tmp_path / "venv", __init__=broken))


def test_another_python_is_allowed_and_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = environment(tmp_path / "venv", __init__=STAND_IN)
    found = builds.find(folder)
    assert (found.version, found.commit, found.other_python) == ("0.0.7", "", "")
    assert found.python == str(folder / "bin/python")
    monkeypatch.setattr("sys.version", "3.9.1 (made up)")
    assert builds.find(folder).other_python.endswith("beside 3.9.1")
    monkeypatch.setattr(
        "sys.version", f"{sys.version_info[0]}.{sys.version_info[1]}.{sys.version_info[2]} (of somebody)"
    )
    assert builds.find(folder).other_python.startswith("another build of Python 3.")


def test_the_commit_of_a_checkout() -> None:
    here = Path(__file__).parent
    assert " " not in builds.commit_of(here)
    assert builds.commit_of("/") == ""
    assert builds.commit_of(here / "site-packages") == ""


# ---- measuring ----


def contender(folder: Path) -> Contender:
    return loops.other_build(builds.find(folder))


def test_both_builds_run_the_same_programs(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The other build's own bench is not touched, and PYTHONPATH does not bring this build in."""
    trap = "raise SystemExit('the other build has run its own programs')"
    folder = environment(tmp_path / "venv", __init__=STAND_IN, __init___in_bench=trap, serve_in_bench=trap)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(builds.__file__).parents[2]))
        arguments = ["--cases", "call-soon-chain,udp-loopback", "--rounds", "6", "--seconds", "0.05", "--fail-slower"]
        status = bench.main(["--against", str(folder), *arguments, "--json", str(tmp_path / "run.json")])
    shown = capfd.readouterr().out
    assert status == 0, shown
    run = json.loads((tmp_path / "run.json").read_text())
    assert [each["name"] for each in run["contenders"]] == ["sfloop", "against"]
    assert run["bars"] == []
    (chain,) = [each for each in run["against"] if each["case"] == "call-soon-chain"]
    assert chain["verdict"] == "faster"  # asyncio's own loop stands in for the other build
    assert chain["rounds"] == 6
    assert run["cases"]["udp-loopback"]["failures"] == {
        "against": "the server ended: ImportError: cannot import name 'multicast' from 'sfloop' "
        f"({folder}/lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages/sfloop/__init__.py)"
    }
    (reason,) = {each["reason"] for each in run["against"] if each["case"] == "udp-loopback"}
    assert reason.startswith("against failed: the server ended: ImportError")
    assert f"against is {folder}" in shown


@pytest.mark.timeout(120)
def test_a_build_against_itself_over_shared_memory(tmp_path: Path) -> None:
    """Both ends are of that build, and the order alternates."""
    arguments = ["--cases", "udp-shm,stack-cost", "--rounds", "2", "--seconds", "0.05"]
    status = bench.main(["--against", sys.prefix, *arguments, "--json", str(tmp_path / "run.json")])
    assert status == 0
    run = json.loads((tmp_path / "run.json").read_text())
    assert not run["cases"]["udp-shm"]["failures"]
    compared = {(each["case"], each["metric"]): each["rounds"] for each in run["against"]}
    assert compared["udp-shm", "p50"] == compared["stack-cost", "receive"] == 2


def test_another_build_goes_where_sfloop_goes(tmp_path: Path) -> None:
    other = contender(environment(tmp_path / "venv", __init__=STAND_IN))
    (shm,) = find(["tcp-shm-64"])
    assert rounds.taking_part(shm, [OWN, other, Contender("rloop", "1", is_loop=True)]) == [OWN, other]
    assert rounds.rotated([OWN, other], 1) == [other, OWN]
    command = program_command(other, udp.echo, {})
    assert command[:4] == [str(tmp_path / "venv/bin/python"), str(builds.BOOTSTRAP), "--loop", "sfloop"]
    (simulated,) = find(["udp-ef_vi"])
    with pytest.raises(ContenderFailed, match=r"no simulator of ef_vi's API .*venv\.ef_vi\.so.*make bench"):
        simulated.measure(Rig(SETTINGS), other)
