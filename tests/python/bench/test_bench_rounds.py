"""Cases, contenders and rounds."""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Callable
from pathlib import Path

import pytest
from bench_results import QUIET

from sfloop.bench import loops, netns, rounds
from sfloop.bench.build import Programs
from sfloop.bench.cases import CASES, find, idle, syscalls
from sfloop.bench.cpus import CpuPair
from sfloop.bench.errors import BenchError, ContenderFailed
from sfloop.bench.loops import Contender
from sfloop.bench.model import Case, Metric, Sample
from sfloop.bench.rig import Rig, Settings

A, B, C = (Contender(name, "1", is_loop=True) for name in "ABC")
SPIN = Contender("c-spin", "", is_loop=False)
SETTINGS = Settings(Programs(Path("sfbench"), Path("gap")), CpuPair(0, 1), rounds=4, seconds=0.4, warmup=0.1)


def case(measure: Callable[[Rig, Contender], Sample], **fields: object) -> Case:
    made = Case("made", "made up", (Metric("p50", "p50", "ns", "lower"),), measure)
    return dataclasses.replace(made, **fields)  # type: ignore[arg-type]


def test_case_names_are_unique_and_findable() -> None:
    names = [each.name for each in CASES]
    assert len(set(names)) == len(names)
    assert find(names) == list(CASES)
    assert find(["udp-flood", "tls-1k", "udp-flood"]) == find(["udp-flood", "tls-1k"])


def test_an_unknown_case_is_named_with_those_that_exist() -> None:
    with pytest.raises(BenchError, match="there is no case 'nonsense'; the cases are tcp-protocol-64, "):
        find(["tls-1k", "nonsense"])


def test_every_contender_is_first_in_one_round() -> None:
    order = [[each.name for each in rounds.rotated([A, B, C], turn)] for turn in range(4)]
    assert order == [list("ABC"), list("BCA"), list("CAB"), list("ABC")]


def test_rounds_are_run_in_rotating_order() -> None:
    seen = []

    def measure(rig: Rig, contender: Contender) -> Sample:
        seen.append(contender.name)
        return Sample({"p50": float(len(seen))}, QUIET)

    result = rounds.run_case(case(measure), [A, B, SPIN], SETTINGS, lambda *_: None)
    assert seen == ["A", "B", "B", "A", "A", "B", "B", "A"]
    assert result.values("A", "p50") == [1.0, 4.0, 5.0, 8.0]
    spread = result.spread("A", "p50")
    assert spread is not None
    assert (spread.median, spread.low, spread.high) == (4.5, 1.0, 8.0)
    assert not result.values("c-spin", "p50")


def test_c_servers_take_part_where_they_exist() -> None:
    made = case(lambda rig, contender: Sample({"p50": 1.0}, QUIET), references=("c-spin",), most_rounds=1)
    result = rounds.run_case(made, [A, SPIN], SETTINGS, lambda *_: None)
    assert {name: len(samples) for name, samples in result.samples.items()} == {"A": 1, "c-spin": 1}


def test_loops_with_other_transports_take_part_where_there_are_transports() -> None:
    both = [Contender(name, "", is_loop=True) for name in ("uvloop", "uvloop+aiofastnet", "sfloop+aiofastnet")]

    def names(made: Case) -> list[str]:
        return [contender.name for contender in rounds.taking_part(made, both)]

    streams, tls, sockets, datagrams, bypass = find(
        ["tcp-streams-1k", "tls-1k", "tcp-sock-1k", "udp-loopback", "tcp-af_xdp-64"]
    )
    assert names(streams) == names(tls) == ["uvloop", "uvloop+aiofastnet", "sfloop+aiofastnet"]
    assert names(sockets) == names(datagrams) == ["uvloop"]
    # aiofastnet's transports are on the kernel's sockets.
    assert names(bypass) == ["uvloop", "uvloop+aiofastnet"]


def test_a_contender_that_fails_is_left_out_and_remembered() -> None:
    tried = []

    def measure(rig: Rig, contender: Contender) -> Sample:
        tried.append(contender.name)
        if contender is B:
            raise ContenderFailed("it answered nonsense")
        return Sample({"p50": 1.0}, QUIET)

    result = rounds.run_case(case(measure), [A, B], SETTINGS, lambda *_: None)
    assert result.failures == {"B": "it answered nonsense"}
    assert tried.count("B") == 1
    assert len(result.samples["A"]) == 4


def test_a_case_that_cannot_run_says_why() -> None:
    def never(rig: Rig, contender: Contender) -> Sample:
        raise AssertionError("must not be measured")

    result = rounds.run_case(case(never, unavailable=lambda: "no luck today"), [A], SETTINGS, lambda *_: None)
    assert result.skipped == "no luck today"
    assert not result.samples


def test_the_whole_bench_takes_less_than_18_minutes() -> None:
    from sfloop.bench import cli

    settings = dataclasses.replace(SETTINGS, rounds=cli.ROUNDS, seconds=cli.SECONDS, warmup=cli.WARMUP)
    contenders = [Contender(name, "", is_loop=True) for name in loops.KNOWN if name not in ("zuvloop", "rsloop")]
    assert 60 < rounds.estimate(CASES, [*contenders, *loops.references()], settings) < 1080


def test_reasons_say_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert "apt-get install strace" in (syscalls.unavailable() or "")
    assert "apt-get install iproute2" in (netns.unavailable() or "")
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert "needs root" in (netns.unavailable() or "")
    monkeypatch.setattr("resource.getrlimit", lambda which: (1024, 4096))
    assert "ulimit -Hn" in (idle.unavailable() or "")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    reasons = {each.name: each.unavailable() for each in find(["tls-1k", "ws-picows", "http-aiohttp", "http-uvicorn"])}
    for name, package in {
        "tls-1k": "trustme",
        "ws-picows": "picows",
        "http-aiohttp": "aiohttp",
        "http-uvicorn": "uvicorn",
    }.items():
        assert f"pip install {package}" in (reasons[name] or "")


def test_loops_are_found_with_their_versions() -> None:
    usable, missing = loops.installed()
    found = {contender.name: contender.version for contender in usable}
    assert found["asyncio"].startswith("3.")
    assert found["uvloop"].count(".") == 2
    assert "sfloop" in found, missing
    assert set(found) | set(missing) == set(loops.KNOWN)


def test_the_reason_why_a_peer_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find_spec = importlib.util.find_spec
    gone = ("zuvloop", "rloop", "aiofastnet")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name in gone else find_spec(name))
    reasons = tmp_path / "reasons"
    reasons.write_text('{"zuvloop": "there is no wheel"}')
    monkeypatch.setenv(loops.MISSING_PEERS, str(reasons))
    _, missing = loops.installed()
    assert missing["zuvloop"] == "not installed: there is no wheel; it needs CPython 3.14 or newer"
    assert missing["rloop"] == "not installed: pip install rloop"
    assert missing["uvloop+aiofastnet"] == "aiofastnet is not installed: pip install aiofastnet"
    reasons.unlink()
    assert loops.installed()[1]["zuvloop"] == "not installed: it needs CPython 3.14 or newer"


def test_an_unknown_add_on_is_refused() -> None:
    with pytest.raises(loops.LoopNotUsable, match=r'use "asyncio\+aiofastnet"'):
        loops.loop_factory("asyncio+nosuchaddon")


def test_any_module_with_a_loop_can_be_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "myloop.py").write_text("from asyncio import new_event_loop\n")
    (tmp_path / "mypolicy.py").write_text("from asyncio import SelectorEventLoop as Loop\n")
    (tmp_path / "noloop.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    contenders = loops.chosen(["myloop", "c-block", "mypolicy", "myloop"])
    assert [each.name for each in contenders] == ["myloop", "c-block", "mypolicy"]
    assert [each.is_loop for each in contenders] == [True, False, True]
    loops.loop_factory("mypolicy")().close()
    with pytest.raises(loops.LoopNotUsable, match="it has none of new_event_loop, EventLoopPolicy and Loop"):
        loops.chosen(["noloop"])
    with pytest.raises(loops.LoopNotUsable, match="pip install nosuchloop"):
        loops.chosen(["nosuchloop"])


TRACE = """\
4711 epoll_wait(4, [{events=EPOLLIN, data={u32=7, u64=7}}], 256, 0) = 1
4711 recvfrom(7, "abc) = 5"..., 262144, 0, NULL, NULL) = 64
4711 sendto(7, "abc"..., 64, MSG_NOSIGNAL, NULL, 0) = 64
4711 epoll_pwait(4, [], 256, 0, NULL, 8) = 0
4711 recvfrom(7, 0x7f00, 262144, 0, NULL, NULL) = -1 EAGAIN (Resource temporarily unavailable)
4712 futex(0x7f, FUTEX_WAIT_PRIVATE, 0, NULL <unfinished ...>
4711 epoll_wait(4,  <unfinished ...>
4712 <... futex resumed>) = 0
4711 <... epoll_wait resumed>[{events=EPOLLIN, data={u32=7, u64=7}}], 256, 0) = 1
4711 mmap(NULL, 266240, PROT_READ|PROT_WRITE, MAP_PRIVATE|MAP_ANONYMOUS, -1, 0) = 0x7f1122334455
4711 --- SIGCHLD {si_signo=SIGCHLD} ---
strace: Process 4711 detached
"""


def test_calls_are_counted_by_kind() -> None:
    counts = syscalls.parse(TRACE.splitlines())
    assert counts == {"poll": 2, "empty": 1, "recv": 2, "send": 1, "other": 2}
