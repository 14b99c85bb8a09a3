"""`make bench`: its choice of a Python, and the peers it installs."""

from __future__ import annotations

import os
import runpy
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
FIND_PYTHON = ROOT / "tools" / "find_python.sh"


def interpreter(path: Path, version: tuple[int, int]) -> None:
    """Write a program that answers find_python.sh's questions as a Python of this version would."""
    path.parent.mkdir(parents=True)
    path.write_text(
        f"""#!/bin/sh
case "$2" in
    *sys.executable*) echo "{path}" ;;
    *version_info*) exit {0 if (3, 10) <= version < (3, 15) else 1} ;;
esac
"""
    )
    path.chmod(0o755)


@pytest.mark.parametrize(
    ("versions", "chosen"),
    [(("3.10.13", "3.11.7", "3.12.1", "3.13.0"), "3.13.0"), (("3.9.18", "3.10.13"), "3.10.13")],
)
def test_the_newest_version_is_taken(tmp_path: Path, versions: tuple[str, ...], chosen: str) -> None:
    for version in versions:
        first, second, _ = map(int, version.split("."))
        interpreter(tmp_path / "versions" / version / "bin" / "python3", (first, second))
    bare = tmp_path / "path"
    bare.mkdir()
    for program in ("cc", "sh"):
        (bare / program).symlink_to(subprocess.check_output(["sh", "-c", f"command -v {program}"], text=True).strip())
    environment = {**os.environ, "PYENV_ROOT": str(tmp_path), "PATH": str(bare)}
    done = subprocess.run([FIND_PYTHON, "--newest"], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(tmp_path / "versions" / chosen / "bin" / "python3")


@pytest.mark.parametrize(
    ("errors", "expected"),
    [
        ("WARNING: x\nERROR: No matching distribution found for zuvloop\n", "PyPI has no wheel of it for CPython 3."),
        ("ERROR: first\nERROR: the disk is full\n", "pip could not install it (the disk is full)"),
        ("", "pip could not install it"),
    ],
)
def test_why_a_peer_was_not_installed(errors: str, expected: str) -> None:
    reason_of: Callable[[str], str] = runpy.run_path(str(ROOT / "tools" / "bench_peers.py"))["reason_of"]
    assert reason_of(errors).startswith(expected)
