"""Dask's scheduler and two workers on the loop under test, and in processes of their own."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from dask import bag
from distributed import Client, Scheduler, Worker

logging.getLogger("distributed").setLevel(logging.ERROR)
LIMIT = 60  # seconds


def _loop() -> str:
    return type(asyncio.get_running_loop()).__module__.partition(".")[0]


@asynccontextmanager
async def _here() -> AsyncIterator[Client]:
    """A scheduler, two workers and a client on this loop."""
    local = {"host": "127.0.0.1", "dashboard": False}
    async with AsyncExitStack() as stack:
        scheduler = await stack.enter_async_context(Scheduler(dashboard_address=None, port=0, **local))
        for _ in range(2):
            await stack.enter_async_context(Worker(scheduler.address, nthreads=1, **local))
        yield await stack.enter_async_context(Client(scheduler.address, asynchronous=True))


async def _started(stack: AsyncExitStack, *arguments: str) -> asyncio.subprocess.Process:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", *arguments, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
    )

    async def end() -> None:
        process.terminate()
        await process.communicate()

    stack.push_async_callback(end)
    return process


@asynccontextmanager
async def _elsewhere() -> AsyncIterator[Client]:
    """A client on this loop. Dask's own programs run the scheduler and two workers."""
    async with AsyncExitStack() as stack:
        local = ("--host", "127.0.0.1", "--no-dashboard")
        scheduler = await _started(stack, "distributed.cli.dask_scheduler", *local, "--port", "0")
        assert scheduler.stderr is not None
        address = None
        while address is None:
            line = (await scheduler.stderr.readline()).decode()
            assert line, "the scheduler ended"
            address = re.search(r"Scheduler at:\s+(tcp://\S+)", line)
        for _ in range(2):
            await _started(stack, "distributed.cli.dask_worker", address[1], *local, "--no-nanny", "--nthreads", "1")
        client = await stack.enter_async_context(Client(address[1], asynchronous=True))
        await client.wait_for_workers(2)
        yield client


@pytest.fixture(params=[_here, _elsewhere], ids=["here", "elsewhere"])
def cluster(request: pytest.FixtureRequest):  # type: ignore[no-untyped-def]
    return request.param


def _run(cluster, use) -> None:  # type: ignore[no-untyped-def]
    async def main() -> None:
        async with cluster() as client:
            await use(client)

    asyncio.run(asyncio.wait_for(main(), LIMIT))


def test_the_loop_is_the_one_under_test(cluster) -> None:  # type: ignore[no-untyped-def]
    async def use(client: Client) -> None:
        async def loop_of_a_worker() -> str:
            return type(asyncio.get_running_loop()).__module__.partition(".")[0]

        async def loop_of_the_scheduler() -> str:
            return type(asyncio.get_running_loop()).__module__.partition(".")[0]

        workers = await client.run(loop_of_a_worker)
        assert len(workers) == 2
        everywhere = {_loop(), await client.run_on_scheduler(loop_of_the_scheduler), *workers.values()}
        assert everywhere == {os.environ["SFLOOP_TEST_LOOP"]}

    _run(cluster, use)


def test_many_tasks(cluster) -> None:  # type: ignore[no-untyped-def]
    async def use(client: Client) -> None:
        squares = client.map(lambda number: number * number, range(1000))
        assert await client.submit(sum, squares) == sum(number * number for number in range(1000))

    _run(cluster, use)


def test_a_computation_that_exchanges_data_between_the_workers(cluster) -> None:  # type: ignore[no-untyped-def]
    async def use(client: Client) -> None:
        numbers = bag.from_sequence(range(20_000), npartitions=20)
        counts = numbers.map(lambda number: number % 7).frequencies()
        assert dict(await client.compute(counts)) == {rest: len(range(rest, 20_000, 7)) for rest in range(7)}
        groups = numbers.groupby(lambda number: number % 5).map(lambda group: (group[0], sum(group[1])))
        assert dict(await client.compute(groups)) == {rest: sum(range(rest, 20_000, 5)) for rest in range(5)}

    _run(cluster, use)


def test_large_results(cluster) -> None:  # type: ignore[no-untyped-def]
    async def use(client: Client) -> None:
        size = 20_000_000
        (sent,) = await client.scatter([bytes(size)])
        assert len(await client.submit(lambda data: data + data, sent)) == 2 * size

    _run(cluster, use)


def test_an_error_in_a_task(cluster) -> None:  # type: ignore[no-untyped-def]
    async def use(client: Client) -> None:
        with pytest.raises(ZeroDivisionError):
            await client.submit(lambda: 1 // 0)

    _run(cluster, use)
