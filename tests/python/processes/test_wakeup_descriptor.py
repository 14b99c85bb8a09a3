"""Signals while other code owns the wake-up descriptor, has removed it, or has filled it."""

from __future__ import annotations

import asyncio
import os
import signal
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from harness import programs
from harness.loops import new_loop, until
from harness.observed import Run

InThread = Callable[[Callable[[], Any]], threading.Thread]


def inside(work: Callable[[asyncio.AbstractEventLoop], None], kind: str = "asyncio") -> None:
    """Run a new loop within a callback of the running one, as libraries do."""
    outer = asyncio._get_running_loop()
    asyncio._set_running_loop(None)
    try:
        inner = new_loop(kind)
        work(inner)
        inner.close()
    finally:
        asyncio._set_running_loop(outer)


def handle_a_signal(inner: asyncio.AbstractEventLoop) -> None:
    inner.add_signal_handler(signal.SIGUSR2, inner.stop)
    os.kill(os.getpid(), signal.SIGUSR2)
    inner.run_forever()


def take_away(kind: str) -> None:
    signal.set_wakeup_fd(-1)


def nested_asyncio(kind: str) -> None:
    inside(handle_a_signal)


def nested_same_kind(kind: str) -> None:
    inside(handle_a_signal, kind)


def another_librarys(kind: str) -> None:
    r, w = os.pipe()
    os.set_blocking(w, False)
    signal.set_wakeup_fd(w)


WAYS = [take_away, nested_asyncio, nested_same_kind, another_librarys]


@pytest.fixture
def no_descriptors_left(loop_kind: str) -> Iterator[None]:
    """Close a pipe's end that a test has set as the wake-up descriptor."""
    yield
    fd = signal.set_wakeup_fd(-1)
    if fd >= 0:
        os.close(fd)
        os.close(fd - 1)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("spin", ["never", "always", "200"])
@pytest.mark.sfloop_only("it is about spinning; asyncio misses a signal that comes just before it sleeps")
def test_a_waiting_loop_sees_a_signal_at_once(
    loop_kind: str, no_descriptors_left: None, in_thread: InThread, way: Callable[[str], None], spin: str
) -> None:
    """Python's handler of a plain signal, unknown to the loop, runs within a millisecond."""
    loop: Any = new_loop(loop_kind, spin=spin)
    sent: list[float] = []
    took: list[float] = []

    def kill() -> None:
        time.sleep(0.003)
        sent.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGUSR1)

    def handler(number: int, frame: Any) -> None:
        took.append(time.monotonic() - sent[-1])
        loop.stop()

    previous = signal.signal(signal.SIGUSR1, handler)
    try:
        for round_number in range(15):
            if round_number == 0 or way is not another_librarys:
                loop.call_soon(way, loop_kind)
            loop.call_soon(in_thread, kill)
            loop.run_forever()
    finally:
        signal.signal(signal.SIGUSR1, previous)
        loop.close()
    assert statistics.quantiles(took, n=4)[0] < 0.002, took  # the machine may be busy
    assert max(took) < 1


CTRL_C = """
def take_away():
    signal.set_wakeup_fd(-1)
def another_librarys():
    r, w = os.pipe()
    os.set_blocking(w, False)
    signal.set_wakeup_fd(w)
async def main():
    dict(take_away=take_away, another_librarys=another_librarys)[sys.argv[2]]()
    print("ready", flush=True)
    await asyncio.get_running_loop().create_future()
loop = new_loop(kind)
try:
    loop.run_until_complete(main())
except KeyboardInterrupt:
    print("KeyboardInterrupt", loop.is_running(), flush=True)
"""


@pytest.mark.parametrize("way", ["take_away", "another_librarys"])
@pytest.mark.parametrize("spin", ["never", "always", "adaptive"])
def test_ctrl_c(loop_kind: str, way: str, spin: str) -> None:
    program = programs.start(loop_kind, CTRL_C, way, SFLOOP_SPIN=spin)
    assert program.stdout is not None
    assert program.stdout.readline() == "ready\n", programs.finish(program)
    time.sleep(0.1)
    program.send_signal(signal.SIGINT)
    assert programs.finish(program)[0] == "KeyboardInterrupt False\n"


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.sfloop_only("asyncio loses the numbers of signals with the descriptor")
def test_handlers_are_called(
    loop_kind: str, loop: asyncio.AbstractEventLoop, run: Run, no_descriptors_left: None, way: Callable[[str], None]
) -> None:
    async def main() -> None:
        seen: list[int] = []
        loop.add_signal_handler(signal.SIGUSR1, seen.append, 1)
        way(loop_kind)
        for _ in range(3):
            os.kill(os.getpid(), signal.SIGUSR1)
            await until(lambda: bool(seen))
            await asyncio.sleep(0.002)
            assert seen == [1], "once for each signal"
            seen.clear()
        loop.remove_signal_handler(signal.SIGUSR1)

    run(main())


def test_each_signal_of_a_few_is_counted(loop: asyncio.AbstractEventLoop, run: Run) -> None:
    async def main() -> None:
        seen: list[int] = []
        loop.add_signal_handler(signal.SIGUSR1, seen.append, 1)
        loop.add_signal_handler(signal.SIGUSR2, seen.append, 2)
        for _ in range(5):
            signal.raise_signal(signal.SIGUSR1)
            signal.raise_signal(signal.SIGUSR2)
        await until(lambda: len(seen) >= 10)
        await asyncio.sleep(0.002)
        assert sorted(seen) == [1] * 5 + [2] * 5
        for number in (signal.SIGUSR1, signal.SIGUSR2):
            loop.remove_signal_handler(number)

    run(main())


@pytest.mark.sfloop_only("asyncio loses the number of a signal that finds the descriptor full, and prints an error")
def test_a_signal_after_a_flood(loop: asyncio.AbstractEventLoop, run: Run, capfd: Any) -> None:
    async def main() -> None:
        seen: list[str] = []
        loop.add_signal_handler(signal.SIGUSR1, seen.append, "flood")
        loop.add_signal_handler(signal.SIGTERM, seen.append, "last")
        for _ in range(1000):
            signal.raise_signal(signal.SIGUSR1)
        signal.raise_signal(signal.SIGTERM)
        await until(lambda: "last" in seen)
        await asyncio.sleep(0.002)
        assert seen.count("last") == 1
        assert 1 <= seen.count("flood") <= 1001
        for number in (signal.SIGUSR1, signal.SIGTERM):
            loop.remove_signal_handler(number)

    run(main())
    assert capfd.readouterr().err == ""


def test_a_loop_in_another_thread_has_its_handlers_called(loop_kind: str) -> None:
    seen: list[int] = []
    loop = new_loop(loop_kind)

    def handler() -> None:
        seen.append(threading.get_ident())
        loop.stop()

    loop.add_signal_handler(signal.SIGUSR1, handler)
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGUSR1)
    thread.join(10)
    assert not thread.is_alive()
    assert seen == [thread.ident]
    loop.close()


@pytest.mark.sfloop_only("asyncio resets the signal and takes the descriptor away")
@pytest.mark.parametrize("first_closed", ["inner", "outer"])
def test_two_loops_with_a_handler_for_one_signal(loop_kind: str, first_closed: str) -> None:
    """The newest handler is in force. When it is removed, the previous one is."""
    seen: list[str] = []

    def handler(name: str) -> None:
        seen.append(name)
        loops[name].stop()

    loops = {name: new_loop(loop_kind) for name in ("outer", "inner")}
    for name, loop in loops.items():
        loop.add_signal_handler(signal.SIGUSR1, handler, name)
    signal.raise_signal(signal.SIGUSR1)
    loops["inner"].run_forever()
    loops.pop(first_closed).close()
    signal.raise_signal(signal.SIGUSR1)
    ((left, loop),) = loops.items()
    loop.run_forever()
    loop.close()
    assert seen == ["inner", left]
    assert signal.getsignal(signal.SIGUSR1) == signal.SIG_DFL
    assert signal.set_wakeup_fd(-1) == -1


@pytest.mark.sfloop_only("asyncio sets its descriptor only with a handler")
def test_the_descriptor_of_a_closed_loop_is_not_put_back(loop_kind: str) -> None:
    """Its number may by now be a file of the program, and a signal must not write to that."""
    first, second = new_loop(loop_kind), new_loop(loop_kind)
    first.add_signal_handler(signal.SIGUSR1, print)
    second.call_soon(first.close)
    second.call_soon(second.stop)
    second.run_forever()
    second.close()
    assert signal.set_wakeup_fd(-1) == -1


def test_a_handler_that_is_removed_during_the_run_leaves_no_descriptor(loop_kind: str) -> None:
    loop = new_loop(loop_kind)
    loop.add_signal_handler(signal.SIGUSR1, print)
    loop.call_soon(loop.remove_signal_handler, signal.SIGUSR1)
    loop.call_soon(loop.stop)
    loop.run_forever()
    loop.close()
    assert signal.set_wakeup_fd(-1) == -1


@pytest.mark.sfloop_only("asyncio takes every descriptor away with its last handler")
def test_another_librarys_descriptor_stays(loop: asyncio.AbstractEventLoop, run: Run) -> None:
    r, w = os.pipe()
    os.set_blocking(w, False)
    os.set_blocking(r, False)

    async def main() -> None:
        seen: list[int] = []
        loop.add_signal_handler(signal.SIGUSR1, seen.append, 1)
        signal.set_wakeup_fd(w)
        signal.raise_signal(signal.SIGUSR1)
        await until(lambda: bool(seen))
        assert os.read(r, 10) == bytes([signal.SIGUSR1])
        loop.remove_signal_handler(signal.SIGUSR1)

    run(main())
    assert signal.set_wakeup_fd(-1) == w
    os.close(r)
    os.close(w)


IGNORED = """
import subprocess
code = '''
import asyncio, os, signal, sys
async def main():
    loop = asyncio.get_running_loop()
    print("ignored", signal.getsignal(signal.SIGINT) == signal.SIG_IGN)
    os.kill(os.getpid(), signal.SIGINT)
    await asyncio.sleep(0.01)
    asked = asyncio.Event()
    loop.add_signal_handler(signal.SIGINT, asked.set)
    os.kill(os.getpid(), signal.SIGINT)
    await asked.wait()
    print("handled")
    loop.remove_signal_handler(signal.SIGINT)
    try:
        os.kill(os.getpid(), signal.SIGINT)
        await asyncio.sleep(1)
    except KeyboardInterrupt:
        print("interrupted")
if sys.argv[1] == "asyncio":
    from asyncio import run
else:
    from sfloop import run
run(main())
'''
signal.signal(signal.SIGINT, signal.SIG_IGN)
print(subprocess.run([sys.executable, "-c", code, kind], stdout=subprocess.PIPE, text=True).stdout)
"""


def test_a_program_whose_ctrl_c_is_ignored(loop_kind: str) -> None:
    """SIGINT stays ignored, as under nohup or in a script's background, until the program asks for it."""
    assert programs.run(loop_kind, IGNORED).split("\n")[:3] == ["ignored True", "handled", "interrupted"]
