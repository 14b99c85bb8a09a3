"""Tasks, task factories, eager tasks, async generators."""

from __future__ import annotations

import asyncio
import functools
import gc
import sys
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from harness.loops import close, drain, new_loop
from harness.observed import Contexts, Run


def test_tasks_interleave_at_awaits(run: Run) -> None:
    seen: list[str] = []

    async def worker(name: str) -> None:
        for i in range(3):
            seen.append(f"{name}{i}")
            await asyncio.sleep(0)

    async def main() -> None:
        await asyncio.gather(worker("a"), worker("b"))

    run(main())
    assert seen == ["a0", "b0", "a1", "b1", "a2", "b2"]


def test_cancellation(run: Run) -> None:
    seen: list[str] = []

    async def worker() -> None:
        try:
            await asyncio.sleep(1000)
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    async def main() -> None:
        task = asyncio.ensure_future(worker())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert task.cancelled()

    run(main())
    assert seen == ["cancelled"]


def test_many_tasks(run: Run) -> None:
    async def worker(i: int) -> int:
        await asyncio.sleep(0.001 * (i % 7))
        return i

    async def main() -> int:
        return sum(await asyncio.gather(*(worker(i) for i in range(3000))))

    assert run(main()) == sum(range(3000))


def test_task_factory(loop: asyncio.AbstractEventLoop) -> None:
    made: list[Any] = []

    def factory(loop: asyncio.AbstractEventLoop, coro: Any, **kwargs: Any) -> asyncio.Task[Any]:
        task: asyncio.Task[Any] = asyncio.Task(coro, loop=loop, **kwargs)
        made.append(coro.__name__)
        return task

    async def named() -> int:
        return 3

    assert loop.get_task_factory() is None
    loop.set_task_factory(factory)
    assert loop.get_task_factory() is factory
    assert loop.run_until_complete(named()) == 3
    assert made == ["named"]
    loop.set_task_factory(None)
    with pytest.raises(TypeError, match="task factory must be a callable or None"):
        loop.set_task_factory("no")  # type: ignore[arg-type]


def test_task_names(run: Run) -> None:
    async def main() -> str:
        task = asyncio.get_running_loop().create_task(asyncio.sleep(0), name="by name")
        await task
        return task.get_name()

    assert run(main()) == "by name"


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks are new in Python 3.12")
def test_eager_tasks(loop: asyncio.AbstractEventLoop) -> None:
    seen: list[str] = []

    async def immediate() -> str:
        seen.append("eager")
        return "done"

    async def later() -> str:
        seen.append("started")
        await asyncio.sleep(0.001)
        seen.append("resumed")
        return "later"

    async def main() -> None:
        first = asyncio.create_task(immediate())
        assert first.done() and seen == ["eager"]
        second = asyncio.create_task(later())
        assert not second.done() and seen == ["eager", "started"]
        assert await second == "later"

    loop.set_task_factory(asyncio.eager_task_factory)
    loop.run_until_complete(main())
    assert seen == ["eager", "started", "resumed"]


@pytest.mark.skipif(sys.version_info < (3, 11), reason="asyncio.TaskGroup and asyncio.timeout are new in Python 3.11")
def test_task_groups_and_timeouts(run: Run) -> None:
    async def main() -> None:
        with pytest.raises(BaseException) as raised:
            async with asyncio.TaskGroup() as group:
                group.create_task(asyncio.sleep(1000))
                group.create_task(failing())
        assert "ZeroDivisionError" in repr(raised.value)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.005):
                await asyncio.sleep(1000)

    async def failing() -> None:
        raise ZeroDivisionError

    run(main())


def test_futures_call_back_in_order(loop: asyncio.AbstractEventLoop) -> None:
    seen: list[int] = []
    future = loop.create_future()
    for i in range(5):
        future.add_done_callback(functools.partial(lambda i, _: seen.append(i), i))
    loop.call_soon(future.set_result, None)
    drain(loop)
    assert seen == list(range(5))
    assert future.get_loop() is loop


def test_an_abandoned_async_generator_is_closed(loop: asyncio.AbstractEventLoop) -> None:
    seen: list[str] = []

    async def generate() -> AsyncGenerator[int, None]:
        try:
            yield 1
            yield 2
        finally:
            await asyncio.sleep(0)
            seen.append("closed")

    async def main() -> None:
        async for _ in generate():
            break
        gc.collect()
        await asyncio.sleep(0.001)

    loop.run_until_complete(main())
    assert seen == ["closed"]


def test_shutdown_asyncgens(loop_kind: str, contexts: Contexts) -> None:
    loop = new_loop(loop_kind)
    loop.set_exception_handler(lambda _, context: contexts.append(context))
    seen: list[str] = []

    async def generate(fail: bool) -> AsyncGenerator[int, None]:
        try:
            yield 1
        finally:
            seen.append("closed")
            if fail:
                raise ZeroDivisionError

    generators = [generate(False), generate(False), generate(True)]

    async def main() -> None:
        for generator in generators:
            await generator.__anext__()

    loop.run_until_complete(main())
    loop.run_until_complete(loop.shutdown_asyncgens())
    assert seen == ["closed"] * 3
    assert isinstance(contexts.take("an error occurred during closing of asynchronous")["exception"], ZeroDivisionError)
    close(loop)


def test_asyncgen_hooks_are_restored(loop: asyncio.AbstractEventLoop) -> None:
    before = sys.get_asyncgen_hooks()
    loop.run_until_complete(asyncio.sleep(0))
    assert sys.get_asyncgen_hooks() == before
    loop.call_soon(lambda: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        loop.run_forever()
    assert sys.get_asyncgen_hooks() == before


def test_queues_locks_events(run: Run) -> None:
    async def main() -> list[int]:
        queue: asyncio.Queue[int] = asyncio.Queue(3)
        lock, event = asyncio.Lock(), asyncio.Event()
        seen: list[int] = []

        async def consume() -> None:
            await event.wait()
            for _ in range(100):
                async with lock:
                    seen.append(await queue.get())

        async def produce() -> None:
            event.set()
            for i in range(100):
                await queue.put(i)

        await asyncio.gather(consume(), produce())
        return seen

    assert run(main()) == list(range(100))
