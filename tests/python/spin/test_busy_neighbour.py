"""An adaptive loop shares its CPU with a busy program that runs no loop."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from harness import programs

pytestmark = pytest.mark.sfloop_only("asyncio does not spin")

PROGRAM = """
import json
cpu, seconds, spin = int(sys.argv[2]), float(sys.argv[3]), sys.argv[4]
os.sched_setaffinity(0, {cpu})
import sfloop
loop = sfloop.new_event_loop(spin=spin)
ticks = 0
worst = 0.0
async def main():
    global ticks, worst
    print("ready", flush=True)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        start = time.monotonic()
        await asyncio.sleep(0.01)
        worst = max(worst, time.monotonic() - start)
        ticks += 1
loop.run_until_complete(main())
stats = loop.stats()
cpu_used = time.process_time()
loop.close()
print(json.dumps({"ticks": ticks, "worst": worst, "sleeps": stats["sleeps"], "contentions": stats["contentions"],
                  "cpu": cpu_used}))
"""


def test_an_adaptive_loop_gives_way_to_a_busy_program(loop_kind: str) -> None:
    """The neighbour on the CPU is no loop: adaptive mode must notice it by the CPU time that it does not get."""
    cpu = max(os.sched_getaffinity(0))
    busy = subprocess.Popen(
        [sys.executable, "-c", f"import os\nos.sched_setaffinity(0, {{{cpu}}})\nwhile True: pass"], env=dict(os.environ)
    )
    try:
        process = programs.start("sfloop", PROGRAM, str(cpu), "1.5", "adaptive")
        out, err = programs.finish(process)
    finally:
        busy.kill()
        busy.wait()
    assert process.returncode == 0, err
    result = json.loads(out.splitlines()[-1])
    assert result["sleeps"] > 0 and result["contentions"] > 0 and result["ticks"] > 10
