"""Python 3.14's introspection of running tasks: call graphs, and `python -m asyncio ps` and `pstree` from outside."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from harness import programs

pytestmark = pytest.mark.skipif(sys.version_info < (3, 14), reason="new in Python 3.14")

PROGRAM = """
async def leaf():
    await asyncio.Event().wait()

async def middle():
    async with asyncio.TaskGroup() as group:
        group.create_task(leaf(), name="leaf-a")
        group.create_task(leaf(), name="leaf-b")

async def main():
    task = asyncio.create_task(middle(), name="middle")
    eager = asyncio.create_task(leaf(), name="eager", eager_start=True)
    await asyncio.sleep(0.01)
    for each in task, eager:
        print(asyncio.format_call_graph(each))
    print(asyncio.format_call_graph())
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    task.cancel()
    eager.cancel()

loop = new_loop(kind)
if sys.argv[2] == "eager":
    loop.set_task_factory(asyncio.eager_task_factory)
try:
    loop.run_until_complete(main())
finally:
    close(loop)
"""


def shown(kind: str, factory: str) -> dict[str, str]:
    """Return the program's output and that of asyncio's commands about it, without the parts that differ in each
    run."""
    process = programs.start(kind, PROGRAM, factory)
    assert process.stdout is not None
    lines = list(iter(process.stdout.readline, "ready\n"))
    found = {"call graphs": "".join(lines)}
    try:
        for command in ("ps", "pstree"):
            done = subprocess.run(
                [sys.executable, "-m", "asyncio", command, str(process.pid)],
                capture_output=True,
                text=True,
                timeout=20,
                check=False,
            )
            assert done.returncode == 0, done.stderr
            found[command] = done.stdout
    finally:
        programs.finish(process)
    numbers = [(r"0x[0-9a-f]+", "0x"), (r"\b\d{2,}\b", "N"), (r"[- ]{2,}", " ")]
    for name, text in found.items():
        for pattern, replacement in numbers:
            text = re.sub(pattern, replacement, text)
        found[name] = text
    return found


@pytest.mark.parametrize("factory", ["plain", "eager"])
def test_tasks_are_shown_as_on_asyncio(factory: str) -> None:
    ours = shown("sfloop", factory)
    for name in ("leaf-a", "leaf-b", "middle", "eager"):
        assert name in ours["ps"] and name in ours["pstree"]
    assert "leaf" in ours["call graphs"] and "TaskGroup" in ours["call graphs"]
    assert ours == shown("asyncio", factory)
