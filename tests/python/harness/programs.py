"""Programs in separate processes, because the test's own loop must survive their actions."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

TESTS = Path(__file__).resolve().parent.parent

PREAMBLE = """\
import asyncio, os, signal, socket, sys, threading, time
from harness.loops import new_loop, close, drain, until
kind = sys.argv[1]
"""


def command(kind: str, body: str, *args: str) -> list[str]:
    """The command line of a Python program with `kind`, new_loop and asyncio in its namespace."""
    return [sys.executable, "-X", "faulthandler", "-c", PREAMBLE + textwrap.dedent(body), kind, *args]


def environment(**extra: str) -> dict[str, str]:
    """This process's environment, with a path to the test harness."""
    paths = [str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), **extra}


def start(kind: str, body: str, *args: str, **extra: str) -> subprocess.Popen[str]:
    """Start the program with pipes for stdin, stdout and stderr."""
    return subprocess.Popen(
        command(kind, body, *args),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(**extra),
        cwd=TESTS,  # not the repository's root, because its sfloop folder is not the built one
    )


def finish(process: subprocess.Popen[str], limit: float = 20.0) -> tuple[str, str]:
    """(stdout, stderr) of a program that must end within `limit` seconds."""
    try:
        return process.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        process.send_signal(6)  # SIGABRT: faulthandler prints where it hangs
        out, err = process.communicate(timeout=10)
        raise AssertionError(f"the program hangs\nstdout: {out}\nstderr: {err}") from None


def run(kind: str, body: str, *args: str, limit: float = 20.0, **extra: str) -> str:
    """Run the program to its end, which must be a clean exit, and return its stdout."""
    process = start(kind, body, *args, **extra)
    out, err = finish(process, limit)
    assert process.returncode == 0, f"exit status {process.returncode}\nstdout: {out}\nstderr: {err}"
    return out
