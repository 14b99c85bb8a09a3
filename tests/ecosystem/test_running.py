"""The runner on suites of a few tests that this module writes, in this environment."""

from __future__ import annotations

import dataclasses
import socket
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
from conformance.forkserver.suite import SuiteError
from third_party.sdist import Archive

from ecosystem import running
from ecosystem.suite import Suite
from sfloop.testing import netns

_HEAD = """
import asyncio, os, pathlib

def kind():
    return type(asyncio.new_event_loop()).__module__.split(".")[0]
"""


@dataclasses.dataclass(frozen=True)
class _Folder(Archive):
    """A folder in place of an archive."""

    folder: Path = Path()

    def unpacked(self, *, without: tuple[str, ...] = ()) -> Path:
        return self.folder


def _suite(folder: Path, text: str, **more: object) -> Suite:
    (folder / "test_sample.py").write_text(_HEAD + text)
    source = _Folder("sample", "1", "", folder=folder)
    arguments = {"tests": ("test_sample.py",), "quick": ("test_sample.py",), "arguments": ("-c", "/dev/null"), **more}
    return Suite(name="sample", source=source, needs=(), package="sample", **arguments)  # type: ignore[arg-type]


def _run(suite: Suite, *, quick: bool = False) -> running.Run:
    return running.run(suite, sys.executable, quick=quick, say=print)


def test_each_loop_is_the_one_named(tmp_path: Path) -> None:
    run = _run(_suite(tmp_path, "def test_it():\n    (pathlib.Path(__file__).parent / kind()).touch()\n"))
    assert run.verdict.good
    assert run.sides["sfloop"].passed == run.sides["asyncio"].passed == 1
    assert (tmp_path / "asyncio").exists()
    assert (tmp_path / "sfloop").exists()


def test_a_failure_on_sfloop_only_is_found(tmp_path: Path) -> None:
    run = _run(_suite(tmp_path, "def test_it():\n    assert kind() == 'asyncio'\ndef test_other(): pass\n"), quick=True)
    (failed,) = run.verdict.only_on_sfloop
    assert failed == "test_sample.py::test_it"
    assert run.sides["sfloop"].failed == 1


def test_a_white_box_test_does_not_spoil_the_next_test(tmp_path: Path) -> None:
    text = """
spoilt = []
def test_first():
    if kind() == "sfloop":
        spoilt.append(1)
    assert not spoilt
def test_second():
    assert not spoilt
"""
    run = _run(_suite(tmp_path, text, white_box={"test_first": "a sample"}))
    assert run.verdict.good
    assert run.verdict.white_box == {"test_sample.py::test_first": "a sample"}
    assert run.sides["sfloop"].passed == 1


def test_a_test_that_fails_once_on_one_loop_runs_again(tmp_path: Path) -> None:
    text = """
def test_it():
    seen = pathlib.Path(__file__).parent / "seen"
    if kind() == "sfloop" and not seen.exists():
        seen.touch()
        assert False
"""
    run = _run(_suite(tmp_path, text))
    assert run.verdict.good
    assert run.sides["sfloop"].failed == 0


def test_a_crash_costs_one_test(tmp_path: Path) -> None:
    run = _run(_suite(tmp_path, "def test_it():\n    kind() == 'sfloop' and os.abort()\ndef test_other(): pass\n"))
    assert list(run.verdict.only_on_sfloop) == ["test_sample.py::test_it"]
    assert run.sides["sfloop"].passed == 1


def test_tests_that_are_left_out_run_on_neither_loop(tmp_path: Path) -> None:
    run = _run(
        _suite(tmp_path, "def test_it(): assert False\ndef test_other(): pass\n", left_out={"test_it": "a sample"})
    )
    assert run.verdict.good
    assert run.sides["asyncio"].passed == 1


def test_a_service_gives_its_variables_to_the_tests(tmp_path: Path) -> None:
    stopped = []

    @contextmanager
    def service() -> Iterator[Mapping[str, str]]:
        yield {"SAMPLE_PORT": "1234"}
        stopped.append(True)

    text = "def test_it():\n    assert os.environ['SAMPLE_PORT'] == '1234'\n"
    assert _run(_suite(tmp_path, text, service=service)).verdict.good
    assert stopped


def test_a_suite_that_cannot_be_collected_says_why(tmp_path: Path) -> None:
    with pytest.raises(SuiteError, match="sample's pytest failed on asyncio(?s:.*)nothing_of_this_name"):
        _run(_suite(tmp_path, "import nothing_of_this_name\n"))


def test_a_suite_with_fixed_ports_runs_in_a_network_namespace_of_its_own(tmp_path: Path) -> None:
    text = """
import socket

def test_it():
    assert {name for _, name in socket.if_nameindex()} == {"lo"}
    with socket.create_server(("127.0.0.1", PORT)) as server:
        socket.create_connection(server.getsockname()).close()
"""
    if reason := netns.unavailable():
        with pytest.raises(SuiteError, match="root"):
            _run(_suite(tmp_path, text, alone=True))
        pytest.skip(reason)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert _run(_suite(tmp_path, text.replace("PORT", str(port)), alone=True)).verdict.good


def test_programs_of_ours_run_instead_of_the_archives_tests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    suite = _suite(tmp_path, "def test_it(): assert False\n", arguments=(), programs="trading.py")
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "trading.py").write_text("def test_it(): pass\n")
    monkeypatch.setattr(running, "_PROGRAMS", programs)
    run = _run(suite)
    assert run.verdict.good
    assert run.sides["sfloop"].passed == 1


def test_the_processes_that_tests_start_use_the_loop_under_test(tmp_path: Path) -> None:
    text = """
import subprocess, sys

def test_it():
    program = "import asyncio; print(type(asyncio.new_event_loop()).__module__.split('.')[0])"
    child = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert child.stdout.strip() == kind() == os.environ["SFLOOP_TEST_LOOP"]
"""
    run = _run(_suite(tmp_path, text, plugins=("ecosystem.support.loop_in_children",)))
    assert run.verdict.good
    assert run.sides["sfloop"].passed == 1
