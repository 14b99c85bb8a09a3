"""cpu=: the loop's thread is on that CPU while it runs, and no other thread is moved."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from harness import loops, programs

import sfloop

pytestmark = pytest.mark.sfloop_only("asyncio does not pin its thread")

InThread = Callable[[Callable[[], Any]], threading.Thread]
ALL = frozenset(os.sched_getaffinity(0))
CPU = max(ALL)
SHOW = "import os; print(*sorted(os.sched_getaffinity(0)))"


def affinity() -> set[int]:
    """Return the calling thread's affinity."""
    return os.sched_getaffinity(0)


@pytest.fixture
def pinned(loop_kind: str) -> Iterator[sfloop.Loop]:
    """A loop with cpu=CPU. The thread's affinity is as before when the test ends."""
    loop = sfloop.new_event_loop(cpu=CPU)
    yield loop
    loops.close(loop)
    assert affinity() == ALL


def test_pinned_while_it_runs_and_no_longer(pinned: sfloop.Loop) -> None:
    async def main() -> set[int]:
        return affinity()

    assert affinity() == ALL, "making a loop pins nothing"
    for _ in range(3):
        assert pinned.run_until_complete(main()) == {CPU}
        assert affinity() == ALL


def test_restored_when_the_program_raises(pinned: sfloop.Loop) -> None:
    async def fail() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pinned.run_until_complete(fail())
    assert affinity() == ALL


@pytest.mark.skipif(len(ALL) < 2, reason="with one CPU every thread is on it")
def test_a_narrower_affinity_is_given_back(pinned: sfloop.Loop) -> None:
    other = min(ALL)
    os.sched_setaffinity(0, {other})
    try:
        pinned.run_until_complete(asyncio.sleep(0))
        assert affinity() == {other}
    finally:
        os.sched_setaffinity(0, ALL)


@pytest.mark.skipif(len(ALL) < 2, reason="with one CPU every thread is on it")
def test_each_cpu_can_be_chosen(loop_kind: str) -> None:
    async def main() -> set[int]:
        return affinity()

    for cpu in ALL:
        loop = sfloop.new_event_loop(cpu=cpu)
        assert loop.run_until_complete(main()) == {cpu}
        loop.close()


def test_executor_threads_are_not_pinned(pinned: sfloop.Loop) -> None:
    async def main() -> list[set[int]]:
        loop = asyncio.get_running_loop()
        seen = await asyncio.gather(*(loop.run_in_executor(None, affinity) for _ in range(4)))
        seen.append(await asyncio.to_thread(affinity))
        assert affinity() == {CPU}
        return seen

    assert pinned.run_until_complete(main()) == [ALL] * 5


def test_subprocesses_are_not_pinned(pinned: sfloop.Loop) -> None:
    async def main() -> list[str]:
        run_exec = await asyncio.create_subprocess_exec(sys.executable, "-c", SHOW, stdout=asyncio.subprocess.PIPE)
        command = f'"{sys.executable}" -c "{SHOW}"'
        run_shell = await asyncio.create_subprocess_shell(command, stdout=asyncio.subprocess.PIPE)
        outputs = [(await process.communicate())[0].decode().strip() for process in (run_exec, run_shell)]
        assert affinity() == {CPU}
        return outputs

    everywhere = " ".join(map(str, sorted(ALL)))
    asyncio.set_event_loop(pinned)  # before Python 3.12 the child watcher asks for it
    assert pinned.run_until_complete(main()) == [everywhere, everywhere]


def test_preexec_fn_is_still_called(pinned: sfloop.Loop) -> None:
    async def main() -> tuple[bytes, int | None]:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            "import os; print(os.environ.get('X'), os.getpriority(os.PRIO_PROCESS, 0))",
            stdout=asyncio.subprocess.PIPE,
            preexec_fn=lambda: os.nice(3),
        )
        out, _ = await process.communicate()
        return out, process.returncode

    asyncio.set_event_loop(pinned)  # before Python 3.12 the child watcher asks for it
    expected = f"None {min(os.getpriority(os.PRIO_PROCESS, 0) + 3, 19)}\n".encode()
    assert pinned.run_until_complete(main()) == (expected, 0)


def test_a_loop_in_a_thread_pins_that_thread_only(pinned: sfloop.Loop, in_thread: InThread) -> None:
    seen: list[set[int]] = []

    async def main() -> None:
        seen.append(affinity())
        await loops.until(lambda: len(seen) == 2)

    def body() -> None:
        pinned.run_until_complete(main())
        seen.append(affinity())

    thread = in_thread(body)
    while not seen:
        time.sleep(0.001)
    assert affinity() == ALL
    seen.append(affinity())
    thread.join()
    assert seen == [{CPU}, ALL, ALL]


def test_a_thread_started_by_a_pinned_loop_may_have_a_pinned_loop_itself(pinned: sfloop.Loop) -> None:
    """A plain thread inherits the one CPU; a loop made in it must be able to choose another."""
    other = min(ALL)
    seen: list[set[int]] = []

    async def show() -> None:
        seen.append(affinity())

    def body() -> None:
        loop = sfloop.new_event_loop(cpu=other)
        loop.run_until_complete(show())
        loop.close()

    async def main() -> None:
        thread = threading.Thread(target=body)
        thread.start()
        while thread.is_alive():
            await asyncio.sleep(0.001)
        thread.join()

    pinned.run_until_complete(main())
    assert seen == [{other}]


def test_the_environment(loop_kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SFLOOP_CPU", str(CPU))
    loop = sfloop.new_event_loop()
    assert loop.options.cpu == CPU
    loop.close()
    monkeypatch.setenv("SFLOOP_CPU", "first")
    with pytest.raises(ValueError, match="SFLOOP_CPU='first'"):
        sfloop.new_event_loop()


@pytest.mark.parametrize(
    ("bad", "error"), [(-1, ValueError), (100_000, ValueError), ("0", TypeError), (True, TypeError)]
)
def test_a_cpu_that_does_not_exist(loop_kind: str, bad: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match=r"cpu=.*number of a CPU"):
        sfloop.new_event_loop(cpu=bad)


@pytest.mark.skipif(len(ALL) < 2, reason="a process that may run on no CPU cannot be made")
def test_a_cpu_that_this_process_may_not_use(loop_kind: str) -> None:
    """The error comes when the loop runs; the loop can be closed, and the thread keeps its CPUs."""
    out = programs.run(
        "sfloop",
        """
        one, other = sorted(os.sched_getaffinity(0))[:2]
        os.sched_setaffinity(0, {one})
        import sfloop
        loop = sfloop.new_event_loop(cpu=other)
        async def main():
            print("ran")
        coroutine = main()
        try:
            loop.run_until_complete(coroutine)
        except ValueError as error:
            print(f"cpu={other}:" in str(error) and "affinity" in str(error))
        print(os.sched_getaffinity(0) == {one}, loop.is_running())
        coroutine.close()
        loop.close()
        """,
    )
    assert out == "True\nTrue False\n"
