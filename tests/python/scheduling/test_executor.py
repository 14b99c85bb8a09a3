"""run_in_executor, name resolution, shutdown of the default executor."""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import socket
import threading
import time

import pytest
from harness import programs
from harness.loops import new_loop
from harness.observed import Run


def test_results_and_exceptions(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        name = await loop.run_in_executor(None, lambda: threading.current_thread().name)
        assert name != threading.current_thread().name
        assert await loop.run_in_executor(None, divmod, 7, 3) == (2, 1)
        with pytest.raises(ZeroDivisionError):
            await loop.run_in_executor(None, divmod, 1, 0)

    run(main())


def test_the_loop_runs_on_while_threads_work(run: Run) -> None:
    async def main() -> int:
        loop = asyncio.get_running_loop()
        turns = 0
        future = loop.run_in_executor(None, time.sleep, 0.1)
        while not future.done():
            await asyncio.sleep(0.001)
            turns += 1
        return turns

    assert run(main()) >= 10


def test_many_calls(run: Run) -> None:
    async def main() -> int:
        loop = asyncio.get_running_loop()
        return sum(await asyncio.gather(*(loop.run_in_executor(None, int, i) for i in range(500))))

    assert run(main()) == sum(range(500))


def test_an_executor_of_the_programs_own(run: Run) -> None:
    async def main() -> str:
        with concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="own") as pool:
            return await asyncio.get_running_loop().run_in_executor(pool, lambda: threading.current_thread().name)

    assert run(main()).startswith("own")


def test_the_default_executor_can_be_set(loop: asyncio.AbstractEventLoop) -> None:
    pool = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="default")
    loop.set_default_executor(pool)
    name = loop.run_until_complete(loop.run_in_executor(None, lambda: threading.current_thread().name))
    assert name.startswith("default")


def test_only_thread_pools_can_be_the_default(loop: asyncio.AbstractEventLoop) -> None:
    with pytest.raises((TypeError, DeprecationWarning), match="ThreadPoolExecutor"):
        import warnings

        with warnings.catch_warnings():
            warnings.simplefilter("error")  # a DeprecationWarning before Python 3.11
            loop.set_default_executor("not an executor")  # type: ignore[arg-type]


def test_shutdown_waits_for_the_threads(loop_kind: str) -> None:
    loop = new_loop(loop_kind)
    seen: list[str] = []

    def work() -> None:
        time.sleep(0.05)
        seen.append("ran")

    async def main() -> None:
        loop.run_in_executor(None, work)
        await loop.shutdown_default_executor()
        assert seen == ["ran"]
        with pytest.raises(RuntimeError, match="Executor shutdown has been called"):
            loop.run_in_executor(None, print)

    loop.run_until_complete(main())
    loop.close()


def test_closing_while_a_thread_works(loop_kind: str) -> None:
    """The thread's result reaches a closed loop: it is dropped, without a traceback from the thread."""
    loop = new_loop(loop_kind)
    done = threading.Event()
    future = loop.run_in_executor(None, done.wait, 5)
    loop.run_until_complete(asyncio.sleep(0.01))
    loop.close()
    done.set()
    time.sleep(0.02)
    assert not future.done()


def test_cancelling_the_future(run: Run) -> None:
    async def main() -> None:
        release = threading.Event()
        future = asyncio.get_running_loop().run_in_executor(None, release.wait, 5)
        await asyncio.sleep(0.005)
        future.cancel()
        with pytest.raises(asyncio.CancelledError):
            await future
        release.set()

    run(main())


def test_to_thread_keeps_the_context(run: Run) -> None:
    import contextvars

    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")

    async def main() -> str:
        variable.set("mine")
        return await asyncio.to_thread(variable.get)

    assert run(main()) == "mine"


def test_getaddrinfo_and_getnameinfo(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        for host in ("127.0.0.1", "localhost"):
            assert ("127.0.0.1", 80) in [
                info[4] for info in await loop.getaddrinfo(host, 80, family=socket.AF_INET, type=socket.SOCK_STREAM)
            ]
        assert await loop.getnameinfo(("127.0.0.1", 80), socket.NI_NUMERICHOST | socket.NI_NUMERICSERV) == (
            "127.0.0.1",
            "80",
        )
        with pytest.raises(socket.gaierror):
            await loop.getaddrinfo("not a host name", 80)

    run(main())


@pytest.mark.skipif(os.geteuid() != 0, reason="SCHED_FIFO needs CAP_SYS_NICE")
def test_a_spinning_loop_lets_its_executor_run_on_its_cpu(loop_kind: str) -> None:
    """The scheduler never interrupts a SCHED_FIFO thread for one of equal priority, so the loop has to yield."""
    programs.run(
        loop_kind,
        """
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
        loop = new_loop(kind)

        async def main():
            before = time.process_time()
            for _ in range(3):
                await loop.run_in_executor(None, lambda: None)
            await loop.shutdown_default_executor()
            spun = time.process_time() - before
            assert spun < 0.3, spun

        loop.run_until_complete(main())
        close(loop)
        """,
    )
