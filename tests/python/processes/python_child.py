"""How the tests of subprocesses start a Python."""

from __future__ import annotations

import asyncio
import sys

PIPE = asyncio.subprocess.PIPE


def python(body: str) -> tuple[str, str, str]:
    return sys.executable, "-c", body
