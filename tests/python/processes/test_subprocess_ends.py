"""The end of a subprocess: signals, statuses, several waiters, and pipes that a grandchild holds."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import signal
import subprocess
import sys
from typing import Any

import pytest
from harness.loops import turns, until
from harness.observed import Run
from python_child import PIPE, python


@pytest.mark.parametrize(
    ("method", "number"), [("kill", signal.SIGKILL), ("terminate", signal.SIGTERM), ("send_signal", signal.SIGINT)]
)
def test_signals(run: Run, method: str, number: signal.Signals) -> None:
    async def main() -> None:
        process = await asyncio.create_subprocess_exec("sleep", "100")
        if method == "send_signal":
            process.send_signal(number)
        else:
            getattr(process, method)()
        assert await process.wait() == -number
        assert process.returncode == -number
        with pytest.raises(ProcessLookupError):
            process.kill()

    run(main())


def wait_for_end(pid: int) -> None:
    """Wait for a child process while the loop does not run. A thread of asyncio's may reap it meanwhile."""
    with contextlib.suppress(ChildProcessError):
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)


@pytest.mark.sfloop_only("older releases of asyncio lose the exit status, or signal a number that is free")
@pytest.mark.parametrize("method", ["kill", "terminate", "send_signal"])
def test_a_process_that_has_ended_gets_no_signal_and_keeps_its_status(
    run: Run, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    reaped: set[int] = set()
    stale: list[int] = []
    waitpid, kill = os.waitpid, os.kill

    def noting_waitpid(pid: int, options: int) -> tuple[int, int]:
        result = waitpid(pid, options)
        reaped.update(result[:1])
        return result

    def noting_kill(pid: int, number: int) -> None:
        if pid in reaped:
            stale.append(pid)
        else:
            kill(pid, number)

    monkeypatch.setattr(os, "waitpid", noting_waitpid)
    monkeypatch.setattr(os, "kill", noting_kill)

    async def main() -> None:
        for _ in range(5):
            process = await asyncio.create_subprocess_exec("sh", "-c", "exit 3")
            wait_for_end(process.pid)
            while process.returncode is None:
                if method == "send_signal":
                    process.send_signal(signal.SIGUSR1)
                else:
                    getattr(process, method)()
                await asyncio.sleep(0)
            assert await process.wait() == 3

    run(main())
    assert stale == []


@pytest.mark.sfloop_only("asyncio reports 255")
def test_the_exit_status_that_popen_was_asked_for(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        transport, _ = await loop.subprocess_exec(asyncio.SubprocessProtocol, "sh", "-c", "exit 3")
        wait_for_end(transport.get_pid())
        transport.get_extra_info("subprocess").poll()
        await until(lambda: transport.get_returncode() is not None)
        assert transport.get_returncode() == 3
        transport.close()
        await turns(3)  # for connection_lost()

    run(main())


@pytest.mark.sfloop_only("asyncio uses no pidfd here")
@pytest.mark.parametrize("error", [errno.ENOSYS, errno.EMFILE])
def test_signals_without_a_pidfd(run: Run, monkeypatch: pytest.MonkeyPatch, error: int) -> None:
    def no_pidfd(pid: int, flags: int = 0) -> int:
        raise OSError(error, os.strerror(error))

    async def main() -> None:
        process = await asyncio.create_subprocess_exec("sleep", "100")
        monkeypatch.setattr(os, "pidfd_open", no_pidfd)
        process.terminate()
        wait_for_end(process.pid)
        process.kill()
        assert await process.wait() == -signal.SIGTERM

    run(main())


def test_many_at_once(run: Run) -> None:
    async def one(i: int) -> int | None:
        process = await asyncio.create_subprocess_shell(f"exit {i}")
        await process.wait()
        return process.returncode

    async def main() -> list[int | None]:
        return list(await asyncio.gather(*(one(i) for i in range(40))))

    assert run(main()) == list(range(40))


def test_a_process_that_ends_at_once(run: Run) -> None:
    async def main() -> None:
        for _ in range(20):
            process = await asyncio.create_subprocess_exec("true", stdout=PIPE)
            assert await process.communicate() == (b"", None)  # type: ignore[comparison-overlap]
            assert process.returncode == 0

    run(main())


def test_several_waiters(run: Run) -> None:
    async def main() -> None:
        process = await asyncio.create_subprocess_shell("sleep 0.05; exit 4")
        assert await asyncio.gather(*(process.wait() for _ in range(5))) == [4] * 5
        assert await process.wait() == 4

    run(main())


def test_cancelling_wait_leaves_the_process(run: Run) -> None:
    async def main() -> None:
        process = await asyncio.create_subprocess_exec("sleep", "100")
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(process.wait(), 0.02)
        assert process.returncode is None
        process.kill()
        assert await process.wait() == -signal.SIGKILL

    run(main())


def test_a_child_left_running_is_killed_with_its_transport(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> int:
        transport, _ = await loop.subprocess_exec(asyncio.SubprocessProtocol, "sleep", "100")
        transport.close()
        await asyncio.sleep(0.05)
        return transport.get_pid()

    pid = loop.run_until_complete(main())
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
        subprocess.run(["sleep", "0.2"], check=True)
        os.kill(pid, 0)


GRANDCHILD = "sleep 60 & echo $!; exit 3"


def end(pid: bytes) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(int(pid), signal.SIGKILL)


@pytest.mark.sfloop_only("asyncio waits for the grandchild from Python 3.11 to 3.14")
def test_wait_ends_with_the_process_though_a_grandchild_has_its_pipes(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        for ways in ({"stdout": PIPE}, {"stdin": PIPE, "stdout": PIPE, "stderr": PIPE}):
            process = await asyncio.create_subprocess_shell(GRANDCHILD, **ways)  # type: ignore[arg-type]
            assert process.stdout is not None
            grandchild = await process.stdout.readline()
            began = loop.time()
            assert await asyncio.gather(*(process.wait() for _ in range(3))) == [3] * 3
            assert await process.wait() == 3
            assert loop.time() - began < 5
            end(grandchild)
            assert await process.stdout.read() == b""

    run(main())


def test_communicate_reads_what_a_grandchild_writes(run: Run) -> None:
    async def main() -> None:
        process = await asyncio.create_subprocess_shell("(sleep 0.2; echo late) & echo early", stdout=PIPE)
        assert await process.communicate() == (b"early\nlate\n", None)  # type: ignore[comparison-overlap]
        assert process.returncode == 0

    run(main())


@pytest.mark.sfloop_only("asyncio waits for pipes that nobody reads from Python 3.11 to 3.14")
def test_wait_ends_with_the_process_though_nobody_reads_its_output(run: Run) -> None:
    async def main() -> None:
        process = await asyncio.create_subprocess_exec(*python("print('x' * 150_000)"), stdout=PIPE)
        assert await process.wait() == 0
        assert process.stdout is not None
        assert len(await process.stdout.read()) == 150_001

    run(main())


@pytest.mark.skipif(sys.version_info < (3, 11), reason="asyncio's own process wakes wait() at once")
def test_nothing_is_left_to_be_called_after_wait(loop: asyncio.AbstractEventLoop) -> None:
    """When the pipes end with the process, connection_lost() comes before wait() returns."""

    async def main() -> Any:
        process = await asyncio.create_subprocess_shell(
            "sleep 0.1; echo o; echo e >&2", stdin=PIPE, stdout=PIPE, stderr=PIPE
        )
        assert await process.wait() == 0
        return process._transport  # type: ignore[attr-defined]

    assert loop.run_until_complete(main())._loop is None


@pytest.mark.sfloop_only("asyncio hangs, or leaves pipes open")
@pytest.mark.parametrize("after", range(6))
def test_creation_is_cancelled(run: Run, after: int) -> None:
    async def main() -> None:
        before = len(os.listdir("/proc/self/fd"))
        creating = asyncio.ensure_future(
            asyncio.create_subprocess_exec("sleep", "60", stdin=PIPE, stdout=PIPE, stderr=PIPE)
        )
        others = asyncio.all_tasks()
        await turns(after)
        for task in asyncio.all_tasks() - others | {creating}:  # asyncio.run() cancels its inner task as well
            task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await creating
        await until(lambda: len(os.listdir("/proc/self/fd")) <= before)

    run(main())
