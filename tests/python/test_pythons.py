"""The versions of Python that sfloop is tested on: every place names the same ones, and a newer one causes a
warning."""

from __future__ import annotations

import re
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from sfloop.pythons import NEWEST, OLDEST, warn_if_untested

ROOT = Path(__file__).resolve().parents[2]
VERSIONS = [f"3.{minor}" for minor in range(OLDEST[1], NEWEST[1] + 1)]


def numbers(text: str) -> list[str]:
    return re.findall(r"3\.\d+", text)


def test_every_place_names_the_same_versions() -> None:
    pyproject = (ROOT / "pyproject.toml").read_text()
    assert re.findall(r"Programming Language :: Python :: (3\.\d+)", pyproject) == VERSIONS
    assert f'requires-python = ">={VERSIONS[0]}"' in pyproject, "a newer one is not refused"
    (nox,) = re.findall(r"^PYTHONS = .*$", (ROOT / "noxfile.py").read_text(), re.MULTILINE)
    assert numbers(nox) == VERSIONS
    finder = (ROOT / "tools/find_python.sh").read_text()
    (candidates,) = re.findall(r"^CANDIDATES=.*$", finder, re.MULTILINE)
    assert sorted(numbers(candidates)) == VERSIONS
    assert f"\nNEWEST={NEWEST[1]} " in finder
    assert f"needs Python {VERSIONS[0]} to {VERSIONS[-1]}" in (ROOT / "README.md").read_text()


def test_no_warning_on_a_tested_version() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_if_untested(OLDEST)
        warn_if_untested(NEWEST)


def test_the_warning_names_the_version() -> None:
    with pytest.warns(RuntimeWarning, match=rf"is tested on CPython 3\.10 to 3\.{NEWEST[1]}, but this is 3\.99\. "):
        warn_if_untested((3, 99))


def test_a_program_on_a_newer_version_is_warned_once() -> None:
    code = """
import sys, warnings
warnings.simplefilter("always")
import sfloop.pythons
sfloop.pythons.NEWEST = (3, 9)
for _ in range(3):
    sfloop.new_event_loop().close()
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False, cwd=ROOT / "tests"
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("RuntimeWarning: sfloop is tested on CPython") == 1, done.stderr
