"""Links of the documentation: each has a target, and the check finds those that have none."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
CHECKER = ROOT / "tools" / "check_links.py"


def check(root: Path) -> tuple[int, list[str]]:
    done = subprocess.run([sys.executable, CHECKER, root], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    return done.returncode, done.stdout.splitlines()


def test_every_link_of_the_repository_leads_somewhere() -> None:
    assert check(ROOT) == (0, [])


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[a](gone.md)", "there is no such file"),
        ("![a picture](images/gone.svg)", "there is no such file"),
        ("[a](other.md#gone)", "other.md has no heading '#gone'"),
        ("[a](#gone)", "page.md has no heading '#gone'"),
        ("[a](../outside.md)", "leads out of the repository"),
        ("[a](/page.md)", "begins with '/'"),
        ("[name]: gone.md", "there is no such file"),
        ('<img src="gone.png">', "there is no such file"),
    ],
)
def test_link_that_leads_nowhere(tmp_path: Path, text: str, why: str) -> None:
    (tmp_path / "page.md").write_text(f"# A page\n\n{text}\n")
    (tmp_path / "other.md").write_text("# Other\n")
    status, (line,) = check(tmp_path)
    assert status == 1
    assert line.startswith("page.md:3: ") and why in line


def test_links_that_are_right_or_none(tmp_path: Path) -> None:
    (tmp_path / "other.md").write_text("# Other\n\n## What `x` is, and is not: 2\n\n## Twice\n\n## Twice\n")
    (tmp_path / "page.md").write_text(
        "[a](other.md) [b](other.md#what-x-is-and-is-not-2) [c](other.md#twice-1) [d](https://example.org/gone.md)\n"
        "`[code](gone.md)` is no link\n\n```\n[neither](gone.md)\n```\n"
    )
    assert check(tmp_path) == (0, [])
