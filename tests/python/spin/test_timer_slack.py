"""The program's threads and processes do not inherit the timer slack that a sleeping loop sets."""

from __future__ import annotations

import asyncio
import ctypes
import subprocess
import sys
import threading
import time

import pytest

import sfloop

PR_GET_TIMERSLACK = 30
libc = ctypes.CDLL(None, use_errno=True)


def slack() -> int:
    return int(libc.prctl(PR_GET_TIMERSLACK, 0, 0, 0, 0))


@pytest.mark.parametrize("spin", ["adaptive", "never"])
def test_threads_and_processes_have_their_own(spin: str) -> None:
    before = slack()
    seen: list[int] = []

    async def main() -> None:
        for _ in range(5):
            await asyncio.sleep(0.001)
        seen.append(slack())
        thread = threading.Thread(target=lambda: seen.append(slack()))
        thread.start()
        thread.join()
        seen.append(await asyncio.to_thread(slack))
        code = f"import ctypes; print(ctypes.CDLL(None).prctl({PR_GET_TIMERSLACK}, 0, 0, 0, 0))"
        child = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=subprocess.PIPE)
        seen.append(int((await child.communicate())[0]))

    sfloop.run(main(), spin=spin)
    assert seen == [before] * 4 and slack() == before


def test_timers_are_precise_all_the_same() -> None:
    """With the default slack a sleep ends some 50 µs late."""

    async def main() -> float:
        late = []
        loop = asyncio.get_running_loop()
        for _ in range(200):
            due = loop.time() + 0.0005
            await asyncio.sleep(0.0005)
            late.append(loop.time() - due)
        return min(late)

    began = time.monotonic()
    assert sfloop.run(main(), spin="never") < 45e-6
    assert time.monotonic() - began < 10
