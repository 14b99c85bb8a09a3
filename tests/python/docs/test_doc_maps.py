"""The maps list the files of their folders, the options' page lists all options, and versions agree."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

import sfloop
from sfloop import pythons
from sfloop.doctor.checks import CHECKS
from sfloop.options import tcplimits

ROOT = Path(__file__).parents[3]
DOCS = ROOT / "docs"
FIRST_CELL = re.compile(r"^\| `([\w./-]+)` \|", re.M)


def listed(text: str) -> set[str]:
    return set(FIRST_CELL.findall(text))


def folders(path: Path) -> set[str]:
    return {each.name for each in path.iterdir() if each.is_dir() and not each.name.startswith(("_", "."))}


def test_map_of_the_native_code() -> None:
    native = ROOT / "sfloop" / "native"
    assert listed((native / "README.md").read_text()) == folders(native)


def test_map_of_the_tests() -> None:
    above, below = (ROOT / "tests" / "README.md").read_text().split("## tests/python")
    assert listed(above) == folders(ROOT / "tests")
    assert listed(below) == folders(ROOT / "tests" / "python")


def test_map_of_the_examples() -> None:
    examples = ROOT / "examples"
    there = {each.name for each in examples.iterdir() if each.suffix == ".py"} | folders(examples)
    assert listed((examples / "README.md").read_text()) == there


def test_every_page_is_in_the_index() -> None:
    index = (DOCS / "README.md").read_text()
    for page in DOCS.glob("*.md"):
        assert page.name == "README.md" or f"({page.name})" in index, f"docs/README.md does not list {page.name}"
    decisions = (DOCS / "decisions" / "README.md").read_text()
    for page in (DOCS / "decisions").glob("*.md"):
        assert page.name == "README.md" or f"({page.name})" in decisions, f"decisions/README.md: {page.name}"


@pytest.mark.parametrize("option", [field.name for field in dataclasses.fields(sfloop.Options)])
def test_every_option_is_explained(option: str) -> None:
    text = (DOCS / "configuration.md").read_text()
    assert re.search(rf"^## .*\b{option}\b", text, re.M), f"docs/configuration.md has no section on {option}"
    assert f"`SFLOOP_{option.upper()}`" in text


def test_every_check_of_the_doctor_is_listed() -> None:
    text = (DOCS / "tuning.md").read_text()
    for name in CHECKS:
        assert f"`{name}`" in text, f"docs/tuning.md does not list the check {name}"


def test_variables_that_are_named_exist() -> None:
    known = {f"SFLOOP_{field.name.upper()}" for field in dataclasses.fields(sfloop.Options)}
    code = "\n".join(
        path.read_text()
        for folder in ("sfloop", "tests", "tools")
        for path in (ROOT / folder).rglob("*")
        if path.suffix in (".py", ".c", ".h", ".pyx", ".sh") and "docs" not in path.parts
    )
    for page in [ROOT / "README.md", ROOT / "SECURITY.md", *DOCS.rglob("*.md")]:
        for name in re.findall(r"\bSFLOOP_[A-Z_]*[A-Z]", page.read_text()):
            assert name in known or name in code, f"{page.name} names {name}"


def test_limits_of_tcp_are_those_that_the_option_takes() -> None:
    section = (DOCS / "tcp.md").read_text().split("## Limits and timers")[1].split("\n## ")[0]
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    assert {name for row in rows for name in re.findall(r"`(\w+)`", row)} == set(tcplimits.NAMES)


def test_versions_of_python() -> None:
    oldest, newest = (".".join(map(str, version)) for version in (pythons.OLDEST, pythons.NEWEST))
    assert f"CPython {oldest} to {newest}" in (DOCS / "platforms.md").read_text()
