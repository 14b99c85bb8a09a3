"""Run the tests of Ctrl-C under a parent that ignores SIGINT: nohup, a script's background, some CI runners."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from harness import programs

IGNORED = (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP)
TESTS = ("test_signals.py::test_ctrl_c", "test_subprocess_ends.py::test_signals")


def test_tests_of_ctrl_c_pass_where_it_is_ignored() -> None:
    def ignore() -> None:
        for number in IGNORED:
            signal.signal(number, signal.SIG_IGN)

    here = Path(__file__).parent
    chosen = [*(str(here / each) for each in TESTS), "--loops", "sfloop"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *chosen],
        preexec_fn=ignore,
        capture_output=True,
        text=True,
        timeout=60,
        env=programs.environment(PYTHONDONTWRITEBYTECODE="1"),
        cwd=os.fspath(programs.TESTS),
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "passed" in done.stdout
