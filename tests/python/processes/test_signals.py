"""Signals: add_signal_handler, Ctrl-C, SIGTERM, in a loop that sleeps and in one that spins."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from harness import programs
from harness.loops import new_loop, until
from harness.observed import Contexts, Run

InThread = Callable[[Callable[[], Any]], threading.Thread]


def signal_after(seconds: float) -> None:
    """Send SIGUSR1 to this process."""
    time.sleep(seconds)
    os.kill(os.getpid(), signal.SIGUSR1)


def test_handlers_run_in_the_loop(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        seen: list[Any] = []
        loop.add_signal_handler(signal.SIGUSR1, seen.append, "usr1")
        loop.add_signal_handler(signal.SIGUSR2, lambda: seen.append(asyncio.get_running_loop() is loop))
        os.kill(os.getpid(), signal.SIGUSR1)
        await until(lambda: seen == ["usr1"])
        os.kill(os.getpid(), signal.SIGUSR2)
        await until(lambda: seen == ["usr1", True])
        assert loop.remove_signal_handler(signal.SIGUSR1) is True
        assert loop.remove_signal_handler(signal.SIGUSR1) is False
        assert loop.remove_signal_handler(signal.SIGUSR2) is True
        assert signal.getsignal(signal.SIGUSR1) == signal.SIG_DFL

    run(main())


def test_replacing_a_handler(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        seen: list[str] = []
        loop.add_signal_handler(signal.SIGUSR1, seen.append, "first")
        loop.add_signal_handler(signal.SIGUSR1, seen.append, "second")
        os.kill(os.getpid(), signal.SIGUSR1)
        await until(lambda: bool(seen))
        await asyncio.sleep(0.002)
        assert seen == ["second"]
        loop.remove_signal_handler(signal.SIGUSR1)

    run(main())


@pytest.mark.parametrize("idle", [0.0, 0.02, 0.2])
def test_an_idle_loop_sees_a_signal(loop: asyncio.AbstractEventLoop, in_thread: InThread, idle: float) -> None:
    """No timer is set: only the signal itself can wake the loop."""
    loop.add_signal_handler(signal.SIGUSR1, loop.stop)
    start = time.monotonic()
    in_thread(lambda: signal_after(idle))
    loop.run_forever()
    assert idle <= time.monotonic() - start < idle + 5
    loop.remove_signal_handler(signal.SIGUSR1)


def test_a_plain_signal_handler_runs_while_the_loop_is_idle(
    loop: asyncio.AbstractEventLoop, in_thread: InThread
) -> None:
    """A handler of the signal module, unknown to the loop."""
    seen: list[float] = []

    def handler(signum: int, frame: Any) -> None:
        seen.append(time.monotonic())
        loop.call_soon_threadsafe(loop.stop)

    previous = signal.signal(signal.SIGUSR1, handler)
    try:
        in_thread(lambda: signal_after(0.1))
        start = time.monotonic()
        loop.run_forever()
        assert seen and seen[0] - start < 5
    finally:
        signal.signal(signal.SIGUSR1, previous)


@pytest.mark.sfloop_only("asyncio misses a signal that comes just before it sleeps, unless add_signal_handler was used")
def test_an_exception_of_a_plain_signal_handler_leaves_the_loop(
    loop: asyncio.AbstractEventLoop, in_thread: InThread
) -> None:
    def handler(signum: int, frame: Any) -> None:
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGUSR1, handler)
    try:
        for _ in range(20):
            with pytest.raises(KeyboardInterrupt):
                in_thread(lambda: signal_after(0.005))
                loop.run_forever()
                pytest.fail("run_forever returned")
            assert not loop.is_running()
    finally:
        signal.signal(signal.SIGUSR1, previous)


@pytest.mark.sfloop_only("asyncio prints an error for each signal that finds its wake-up descriptor full")
def test_a_storm_of_signals(loop: asyncio.AbstractEventLoop, in_thread: InThread) -> None:
    seen = 0

    def handle() -> None:
        nonlocal seen
        seen += 1

    loop.add_signal_handler(signal.SIGUSR1, handle)

    def storm() -> None:
        for _ in range(2000):
            os.kill(os.getpid(), signal.SIGUSR1)
        loop.call_soon_threadsafe(loop.call_later, 0.02, loop.stop)

    in_thread(storm)
    loop.run_forever()
    assert 1 <= seen <= 2000
    loop.remove_signal_handler(signal.SIGUSR1)


def test_a_failing_handler_is_reported(run: Run, contexts: Contexts) -> None:
    def fail() -> None:
        raise ZeroDivisionError

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGUSR1, fail)
        os.kill(os.getpid(), signal.SIGUSR1)
        await until(lambda: bool(contexts))
        assert isinstance(contexts.take("Exception in callback")["exception"], ZeroDivisionError)
        loop.remove_signal_handler(signal.SIGUSR1)

    run(main())


def test_wrong_arguments(loop: asyncio.AbstractEventLoop) -> None:
    async def coroutine() -> None:
        pass

    any_loop: Any = loop
    with pytest.raises(TypeError, match="sig must be an int"):
        any_loop.add_signal_handler("SIGUSR1", print)
    with pytest.raises(ValueError, match="invalid signal number"):
        loop.add_signal_handler(1000, print)
    with pytest.raises(RuntimeError, match="cannot be caught"):
        loop.add_signal_handler(signal.SIGKILL, print)
    with pytest.raises(TypeError, match="coroutines cannot be used with add_signal_handler"):
        loop.add_signal_handler(signal.SIGUSR1, coroutine)
    with pytest.raises(ValueError, match="invalid signal number"):
        loop.remove_signal_handler(1000)
    assert loop.remove_signal_handler(signal.SIGUSR1) is False


def test_only_the_main_thread_takes_signals(loop_kind: str, in_thread: InThread) -> None:
    errors: list[Exception] = []

    def body() -> None:
        loop = new_loop(loop_kind)
        try:
            loop.add_signal_handler(signal.SIGUSR1, print)
        except (RuntimeError, ValueError) as exc:
            errors.append(exc)
        loop.run_until_complete(asyncio.sleep(0.001))
        loop.close()

    in_thread(body).join()
    assert len(errors) == 1


def test_handlers_are_removed_on_close(loop_kind: str) -> None:
    loop = new_loop(loop_kind)
    loop.add_signal_handler(signal.SIGUSR1, print)
    assert signal.getsignal(signal.SIGUSR1) != signal.SIG_DFL
    loop.close()
    assert signal.getsignal(signal.SIGUSR1) == signal.SIG_DFL


def test_the_programs_wakeup_descriptor_is_restored(loop_kind: str) -> None:
    r, w = os.pipe()
    os.set_blocking(w, False)
    before = signal.set_wakeup_fd(w)
    try:
        loop = new_loop(loop_kind)
        loop.run_until_complete(asyncio.sleep(0.001))
        loop.close()
        assert signal.set_wakeup_fd(before) == w
    finally:
        signal.set_wakeup_fd(before)
        os.close(r)
        os.close(w)


CTRL_C = """
async def main():
    print("ready", flush=True)
    try:
        await asyncio.sleep(100)
    except asyncio.CancelledError:
        print("main was cancelled", flush=True)
        raise

if kind == "sfloop":
    from sfloop import run
else:
    from asyncio import run
try:
    run(main())
except KeyboardInterrupt:
    print("KeyboardInterrupt", flush=True)
"""


@pytest.mark.parametrize("after", [0.0, 0.15])
def test_ctrl_c(loop_kind: str, after: float) -> None:
    interrupt(programs.start(loop_kind, CTRL_C), after)


@pytest.mark.sfloop_only("it is about spinning")
@pytest.mark.parametrize("spin", ["never", "always", "adaptive", "200"])
@pytest.mark.parametrize("after", [0.0, 0.15])
def test_ctrl_c_by_spin(loop_kind: str, spin: str, after: float) -> None:
    interrupt(programs.start(loop_kind, CTRL_C, SFLOOP_SPIN=spin), after)


def interrupt(program: subprocess.Popen[str], after: float) -> None:
    """Send SIGINT `after` seconds after main has begun."""
    assert program.stdout is not None
    assert program.stdout.readline() == "ready\n", programs.finish(program)
    time.sleep(after)
    start = time.monotonic()
    program.send_signal(signal.SIGINT)
    out, err = programs.finish(program)
    assert time.monotonic() - start < 5
    if after or sys.version_info >= (3, 11):
        assert out == "main was cancelled\nKeyboardInterrupt\n", err
    else:  # it may have been raised in main itself, which has printed and not slept yet
        assert out.endswith("KeyboardInterrupt\n"), err
    assert program.returncode == 0


IN_CALLBACK = """
loop = new_loop(kind)
def busy():
    print("ready", flush=True)
    while True:
        pass
loop.call_soon(busy)
try:
    loop.run_forever()
except KeyboardInterrupt:
    print("KeyboardInterrupt", loop.is_running(), flush=True)
print(loop.run_until_complete(asyncio.sleep(0.001, "goes on")))
loop.close()
"""


def test_ctrl_c_within_a_callback(loop_kind: str) -> None:
    program = programs.start(loop_kind, IN_CALLBACK)
    assert program.stdout is not None
    assert program.stdout.readline() == "ready\n"
    program.send_signal(signal.SIGINT)
    out, err = programs.finish(program)
    assert out == "KeyboardInterrupt False\ngoes on\n", err


TERMINATION = """
async def main():
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stopped.set)
    print("ready", flush=True)
    await stopped.wait()
    print("orderly shutdown", flush=True)
loop = new_loop(kind)
loop.run_until_complete(main())
loop.close()
"""


def test_sigterm(loop_kind: str) -> None:
    program = programs.start(loop_kind, TERMINATION)
    assert program.stdout is not None
    assert program.stdout.readline() == "ready\n"
    time.sleep(0.05)
    program.send_signal(signal.SIGTERM)
    out, err = programs.finish(program)
    assert (out, program.returncode) == ("orderly shutdown\n", 0), err


def test_sigterm_without_handler_ends_the_process(loop_kind: str) -> None:
    program = programs.start(loop_kind, CTRL_C)
    assert program.stdout is not None
    assert program.stdout.readline() == "ready\n"
    program.send_signal(signal.SIGTERM)
    programs.finish(program)
    assert program.returncode == -signal.SIGTERM


STOPPED = """
seen = []
async def main():
    print("ready", flush=True)
    start = time.monotonic()
    while time.monotonic() - start < 0.6:
        await asyncio.sleep(0.01)
        seen.append(1)
loop = new_loop(kind)
loop.run_until_complete(main())
loop.close()
print("ran on", len(seen) > 3)
"""


def test_stop_and_continue(loop_kind: str) -> None:
    """SIGSTOP and SIGCONT interrupt system calls with EINTR."""
    program = programs.start(loop_kind, STOPPED)
    assert program.stdout is not None
    assert program.stdout.readline() == "ready\n"
    for _ in range(3):
        program.send_signal(signal.SIGSTOP)
        time.sleep(0.03)
        program.send_signal(signal.SIGCONT)
        time.sleep(0.03)
    out, err = programs.finish(program)
    assert out == "ran on True\n", err
