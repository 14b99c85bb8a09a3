"""The command line: its lists, its refusals, and a small run from end to end."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from sfloop import bench
from sfloop.bench import build, cli, cpus
from sfloop.bench.cases import CASES
from sfloop.bench.errors import BenchError


def errors_of(argv: list[str], capsys: pytest.CaptureFixture[str], status: int = 2) -> str:
    assert bench.main(argv) == status
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    return captured.err


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["--rounds", "0"], "--rounds is 0; 1 to 1000 is allowed"),
        (["--rounds", "many"], "argument --rounds: invalid int value: 'many'"),
        (["--seconds", "0"], "--seconds is 0; 0.01 to 3600 is allowed"),
        (["--seconds", "nan"], "--seconds is nan; 0.01 to 3600 is allowed"),
        (["--cases", "tcp"], "--cases: there is no case 'tcp'; the cases are tcp-protocol-64, "),
        (["--cases", ","], '--cases is ","; give names with commas between them'),
        (["--loops", "nosuchloop"], '--loops: the loop "nosuchloop" cannot be imported'),
        (["--loops", ""], '--loops is ""; give names with commas between them'),
        (["--cpus", "0"], '--cpus is "0"; give two CPU numbers, such as "0,1"'),
        (["--cpus", "0,0"], "--cpus is 0,0; give two different CPUs"),
        (["--cpus", "0,9999"], "CPUs of those allowed to this process"),
        (["--json", "/nonexistent/x.json"], "is not a writable directory"),
        (["--html", "/"], "which is a directory; name a file"),
        (["--nonsense"], "unrecognized arguments: --nonsense"),
    ],
)
def test_wrong_arguments(argv: list[str], expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert expected in errors_of(argv, capsys)


def test_help_and_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert bench.main(["--help"]) == 0
    assert "--quick" in capsys.readouterr().out
    assert bench.main(["--list"]) == 0
    listed = capsys.readouterr().out
    for case in CASES:
        assert case.name in listed
    for contender in ("uvloop", "asyncio", "c-spin", "c-block"):
        assert re.search(rf"^  {contender} +\S", listed, re.MULTILINE)


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(cli, "NEEDED", {"nosuchpackage": "the tables"})
    error = errors_of([], capsys, status=1)
    assert "nosuchpackage (for the tables)" in error
    assert "pip install 'sfloop[bench]'" in error


def test_one_cpu_is_not_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: {3})
    with pytest.raises(BenchError, match="may run on CPU 3 only; allow two"):
        cpus.choose()


def test_the_load_gets_another_core(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: {2, 3, 4})
    monkeypatch.setattr(cpus, "_siblings", lambda cpu: {2, 3} if cpu in (2, 3) else {4, 5})
    assert cpus.choose() == cpus.CpuPair(2, 4)
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: {2, 3})
    assert cpus.choose() == cpus.CpuPair(2, 3, siblings=True)


def test_no_compiler(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("CC", "nosuchcompiler")
    with pytest.raises(BenchError, match='"nosuchcompiler" was not found: install one'):
        build.programs()


def test_a_cache_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(BenchError, match="set XDG_CACHE_HOME to another directory"):
        build.programs()


def test_sources_that_do_not_compile(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    sources = tmp_path / "c"
    sources.mkdir()
    (sources / "gap.c").write_text("int gap;\n")
    (sources / "main.c").write_text("int main(void) { return nonsense; }\n")
    monkeypatch.setattr(build, "SOURCES", sources)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(BenchError, match="nonsense"):
        build.programs()
    assert list((tmp_path / "sfloop").iterdir()) == []


def test_programs_are_compiled_once_for_each_state_of_the_sources(
    programs: build.Programs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build, "FLAGS", (*build.FLAGS, "-Werror"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(programs.sfbench.parents[2]))
    before = programs.sfbench.stat().st_mtime_ns
    assert build.programs() == programs
    assert programs.sfbench.stat().st_mtime_ns == before
    monkeypatch.setattr(build, "FLAGS", (*build.FLAGS, "-O1"))
    assert build._fingerprint(build._compiler()) not in str(programs.sfbench)


RUN = ["--rounds", "2", "--seconds", "0.2"]
SMOKE_CASES = ["tcp-protocol-1k", "udp-loopback", "call-soon-chain", "sleep-500us"]


@pytest.fixture(scope="module")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> tuple[int, dict[str, object], str]:
    """The status, JSON and page of a small run."""
    directory = tmp_path_factory.mktemp("bench")
    files = ["--json", str(directory / "run.json"), "--html", str(directory / "run.html")]
    loops = "sfloop,uvloop,asyncio,c-spin"
    status = bench.main(["--cases", ",".join(SMOKE_CASES), "--loops", loops, *RUN, *files])
    return status, json.loads((directory / "run.json").read_text()), (directory / "run.html").read_text()


@pytest.mark.timeout(180)
def test_a_small_run_measures_plausible_figures(smoke: tuple[int, dict, str]) -> None:  # type: ignore[type-arg]
    status, run, _ = smoke
    assert status == 0
    assert run["schema"] == 1
    assert list(run["cases"]) == SMOKE_CASES
    assert not [case["failures"] for case in run["cases"].values() if case["failures"]]
    for name in ("tcp-protocol-1k", "udp-loopback"):
        contenders = run["cases"][name]["contenders"]
        assert set(contenders) == {"sfloop", "uvloop", "asyncio", "c-spin"}
        for figures in contenders.values():
            assert len(figures["rounds"]) == 2
            for values in figures["rounds"]:
                # A round trip over loopback takes two system calls on each side, and less than a second.
                assert 1_000 < values["p50"] <= values["p99"] <= values["max"] < 1e9
            answered = sum(count for _, count in figures["histogram"])
            assert answered == pytest.approx(sum(v["per_second"] for v in figures["rounds"]) * 0.2, rel=0.2)
    assert set(run["cases"]["call-soon-chain"]["contenders"]) == {"sfloop", "uvloop", "asyncio"}
    sleeping = run["cases"]["sleep-500us"]["contenders"]
    assert [values["early"] for values in sleeping["asyncio"]["rounds"]] == [0, 0]
    # libuv rounds half a millisecond to zero (peers.md), and the bench has to see it.
    assert all(values["early"] > 0 for values in sleeping["uvloop"]["rounds"])


@pytest.mark.timeout(180)
def test_a_small_run_judges_its_bars(smoke: tuple[int, dict, str]) -> None:  # type: ignore[type-arg]
    _, run, _ = smoke
    judged = {(outcome["bar"]["case"], outcome["bar"]["metric"], outcome["bar"]["against"]) for outcome in run["bars"]}
    assert judged == {
        ("tcp-protocol-1k", "p50", "uvloop"),
        ("tcp-protocol-1k", "p99", "uvloop"),
        ("tcp-protocol-1k", "p50", "c-spin"),
        ("tcp-protocol-1k", "p50", "c-spin-recv"),
        ("udp-loopback", "p50", "uvloop"),
        ("udp-loopback", "p50", "c-spin-recv"),
        ("call-soon-chain", "per_second", "best peer"),
        ("sleep-500us", "p50", "nothing"),
        ("sleep-500us", "early", "nothing"),
    }
    for outcome in run["bars"]:
        left_out = outcome["bar"]["against"] == "c-spin-recv"
        assert outcome["verdict"] in (("not measured",) if left_out else ("met", "missed"))
        assert outcome["by_peer"] == (outcome["bar"]["against"] in ("uvloop", "best peer"))


@pytest.mark.timeout(180)
def test_the_page_needs_nothing_else(smoke: tuple[int, dict, str]) -> None:  # type: ignore[type-arg]
    _, run, page = smoke
    assert page.count("<svg") == len(SMOKE_CASES)
    # Names of namespaces are not addresses to load from.
    loaded = re.findall(r"(?:src|href)=\"(?!#)([^\"]*)\"", page)
    assert loaded == []
    for text in ("c-spin", "99.9 %", "met", "RTT p50"):
        assert text in page
    ids = set(re.findall(r"href=\"#([^\"]+)\"", page))
    assert {outcome["bar"]["case"] for outcome in run["bars"]} <= ids
