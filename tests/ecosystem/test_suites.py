"""The list of suites, the kept results and the page, and messages for a machine without a network."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conformance.forkserver.suite import SuiteError
from third_party import debian
from third_party.sdist import LOCAL_COPIES, Archive

from ecosystem import __main__ as command
from ecosystem import environment, page, results
from ecosystem.suite import Suite, load

SUITES = load()


@pytest.fixture(params=SUITES.values(), ids=list(SUITES))
def suite(request: pytest.FixtureRequest) -> Suite:
    assert isinstance(request.param, Suite)
    return request.param


def test_every_requirement_is_pinned(suite: Suite) -> None:
    assert all(re.match(r"[\w.-]+(\[[\w,-]+\])?==[\w.]+", need) for need in suite.needs)


def test_the_project_is_installed_in_the_version_of_its_tests(suite: Suite) -> None:
    own = [re.sub(r"\[.*\]", "", need).partition("==") for need in suite.needs]
    assert (suite.source.name, "==", suite.source.version) in own


def test_every_expression_can_be_compiled(suite: Suite) -> None:
    for expression in (*suite.left_out, *suite.white_box):
        re.compile(expression)


def test_every_probe_exists(suite: Suite) -> None:
    assert not suite.probe or importlib.util.find_spec(f"ecosystem.probes.{suite.probe}")


def test_one_environment_has_one_version_of_a_package() -> None:
    versions: dict[tuple[str, str], set[str]] = {}
    for each in SUITES.values():
        for need in each.needs:
            name, _, version = re.sub(r"\[.*\]", "", need).partition("==")
            versions.setdefault((each.environment, name.lower()), set()).add(version)
    assert {key: found for key, found in versions.items() if len(found) > 1} == {}


def test_the_page_is_that_of_the_results() -> None:
    kept = results.read(command.KEPT)
    assert command.PAGE.read_text() == page.render(kept), "run: python tests/ecosystem --page"


def test_the_kept_results_are_those_of_the_pinned_versions_and_good() -> None:
    for name, result in results.read(command.KEPT).items():
        assert result["version"] == SUITES[name].source.version, f"run: make ecosystem ARGS='--suite {name}'"
        assert not (result["only_on_sfloop"] or result["stale"] or result["broken"])


def test_the_table_has_the_reason_of_each_failure() -> None:
    side = {"passed": 1, "failed": 1, "skipped": 0, "seconds": 20.0, "cpu": 1.0}
    result = {
        "version": "1",
        "asyncio": side,
        "sfloop": {**side, "seconds": 30.0},
        "broken": "",
        "on_both": ["b"],
        "busy": False,
    }
    result |= {"only_on_sfloop": {"a": "wrong"}, "white_box": {"c": "reads"}, "stale": ["d"], "only_on_asyncio": []}
    text = results.table({"sample": result}, {"other": "no network"})
    assert "sample: FAILED only on sfloop: a: wrong" in text
    assert "white-box test: c: reads" in text
    assert "no failed test matches the white-box expression 'd'" in text
    assert "took 1.50 times as long" in text
    assert "other: did not run: no network" in text


def test_an_unknown_suite_is_refused() -> None:
    run = subprocess.run(
        [sys.executable, str(Path(command.__file__).parent), "--suite", "nosuch"], stderr=subprocess.PIPE, text=True
    )
    assert run.returncode == 2
    assert "There is no suite nosuch. The suites are: " in run.stderr


def test_without_a_network_the_message_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(SuiteError, match=r"could not be taken from PyPI(?s:.*)put sample-1.tar.gz \(sha256 abc\)"):
        Archive("sample", "1", "abc").path()
    with pytest.raises(SuiteError, match="could not be installed(?s:.*)The suites need PyPI"):
        environment.prepared(tmp_path / "venv", ["no-package-of-this-name==1"])


def test_a_debian_archive_that_cannot_be_downloaded_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(debian, "_SOURCES", "deb-src [trusted=yes] file:/nowhere sid main\n")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv(LOCAL_COPIES, raising=False)
    with pytest.raises(SuiteError, match=r"could not be taken from Debian(?s:.*)python-sample_1.orig.tar.gz"):
        Archive("sample", "1", "abc", debian="python-sample").path()


def test_an_installation_copies_only_the_files_of_the_package() -> None:
    plan = {
        "targets": {"/b/core.so": {"destination": "{py_platlib}/sfloop/core.so"}, "/b/x": {"destination": "{bindir}/x"}}
    }
    assert list(environment.installed_files(plan)) == [("/b/core.so", "sfloop/core.so")]
