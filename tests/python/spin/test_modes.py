"""The spin modes: every loop works in each of them, and loop.stats() counts its spinning and sleeping."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from harness import loops
from harness.recording import Echo, Recorder

import sfloop

pytestmark = pytest.mark.sfloop_only("asyncio does not spin")

InThread = Callable[[Callable[[], Any]], threading.Thread]
MODES = ("never", "always", "adaptive", 1, 20, 5000.0)


@pytest.fixture(params=MODES, ids=str)
def spin(request: pytest.FixtureRequest) -> str | float:
    """Each kind of spin."""
    mode: str | float = request.param
    return mode


@pytest.fixture
def spinning(loop_kind: str, spin: str | float) -> Iterator[sfloop.Loop]:
    """A loop of this mode."""
    loop = sfloop.new_event_loop(spin=spin)
    yield loop
    loops.close(loop)


def idle(loop: asyncio.AbstractEventLoop, in_thread: InThread, seconds: float) -> None:
    """Run the loop without work and without a timer."""
    in_thread(lambda: (time.sleep(seconds), loop.call_soon_threadsafe(loop.stop)))
    loop.run_forever()


def test_the_mode_is_kept(spinning: sfloop.Loop, spin: str | float) -> None:
    assert spinning.options.spin == spin
    assert spinning.describe()["options"]["spin"] == spin


def test_a_new_loop_has_counted_nothing(spinning: sfloop.Loop) -> None:
    stats = spinning.stats()
    for name in ("turns", "empty_turns", "sleeps", "wakeups", "wakeups_without_syscall", "contentions"):
        assert stats[name] == 0, name
    kernel = stats["stacks"]["kernel"]
    assert (kernel["rx_bytes"], kernel["tx_bytes"], kernel["events"]) == (0, 0, 0)


def test_idling(spinning: sfloop.Loop, spin: str | float, in_thread: InThread) -> None:
    idle(spinning, in_thread, 0.05)
    stats = spinning.stats()
    assert 0 <= stats["empty_turns"] <= stats["turns"]
    if spin == "always":
        assert stats["sleeps"] == stats["wakeups"] == 0
        assert stats["wakeups_without_syscall"] == 1
    if spin in ("always", "adaptive"):
        assert stats["empty_turns"] > 10, "it spun"
    if spin == "never":
        assert stats["sleeps"] >= 1
        assert stats["wakeups_without_syscall"] == 0
        assert stats["turns"] < 50, "it did not spin"
    if isinstance(spin, (int, float)):
        assert stats["sleeps"] >= 1, "50 ms are more than it spins"
    if spin != "adaptive":
        assert stats["contentions"] == 0
    assert stats["wakeups"] + stats["wakeups_without_syscall"] == 1


def test_the_number_is_microseconds(loop_kind: str, in_thread: InThread) -> None:
    """A long spin sees the wake-up in memory; a short one has fallen asleep before it."""
    for spin, spun in ((30_000_000, True), (1, False)):
        loop = sfloop.new_event_loop(spin=spin)
        idle(loop, in_thread, 0.05)
        stats = loop.stats()
        assert (stats["sleeps"] == 0) is spun
        assert (stats["wakeups"] == 0) is spun
        loops.close(loop)


def test_timers_are_never_early(spinning: sfloop.Loop) -> None:
    early: list[float] = []

    def check(due: float) -> None:
        if spinning.time() < due:
            early.append(due - spinning.time())

    async def main() -> None:
        for i in range(60):
            due = spinning.time() + (i % 7) * 0.0003
            spinning.call_at(due, check, due)
            await asyncio.sleep(i % 5 * 0.0002)
        await asyncio.sleep(0.005)

    spinning.run_until_complete(main())
    assert early == []


def test_tcp(spinning: sfloop.Loop) -> None:
    size = 50_000

    async def main() -> None:
        server = await spinning.create_server(Echo, "127.0.0.1", 0)
        _, client = await spinning.create_connection(Recorder, *server.sockets[0].getsockname())
        for i in range(20):
            client.data.clear()
            client.transport.write(bytes([i]) * size)
            await loops.until(lambda: len(client.data) >= size)
            assert client.data == bytes([i]) * size
        client.transport.close()
        await client.lost
        server.close()
        await server.wait_closed()

    spinning.run_until_complete(main())
    kernel = spinning.stats()["stacks"]["kernel"]
    assert kernel["rx_bytes"] == kernel["tx_bytes"] == 2 * 20 * size, "each byte is sent and received twice"
    assert kernel["rx_messages"] >= 40
    assert kernel["tx_messages"] >= 40
    assert kernel["events"] > 0


def test_a_wait_for_a_watched_descriptor(spinning: sfloop.Loop, in_thread: InThread) -> None:
    ours, theirs = socket.socketpair()
    got: list[bytes] = []

    def readable() -> None:
        got.append(ours.recv(10))
        if len(got) == 20:
            spinning.stop()

    def write() -> None:
        for i in range(20):
            theirs.send(bytes([i]))
            while len(got) <= i:
                time.sleep(0.0003)

    spinning.add_reader(ours, readable)
    in_thread(write)
    spinning.run_forever()
    spinning.remove_reader(ours)
    ours.close()
    theirs.close()
    assert got == [bytes([i]) for i in range(20)]


def test_a_loop_that_is_never_idle_polls(spinning: sfloop.Loop) -> None:
    """Callbacks that schedule the next one do not delay I/O and timers."""
    ours, theirs = socket.socketpair()
    seen: set[str] = set()
    turns = 0

    def again() -> None:
        nonlocal turns
        turns += 1
        if len(seen) < 2 and turns < 1_000_000:
            spinning.call_soon(again)
        else:
            spinning.stop()

    spinning.add_reader(ours, lambda: (ours.recv(1), seen.add("reader")))
    spinning.call_later(0.001, seen.add, "timer")
    spinning.call_soon(again)
    theirs.send(b"x")
    spinning.run_forever()
    spinning.remove_reader(ours)
    ours.close()
    theirs.close()
    assert seen == {"reader", "timer"}


def test_running_again_and_again(spinning: sfloop.Loop) -> None:
    turns = [spinning.stats()["turns"]]
    for i in range(50):
        assert spinning.run_until_complete(asyncio.sleep(0.0001 * (i % 3), i)) == i
        turns.append(spinning.stats()["turns"])
    assert turns == sorted(set(turns)), "each run counts further"


def test_two_loops_in_two_threads(spinning: sfloop.Loop, spin: str | float, in_thread: InThread) -> None:
    other = sfloop.new_event_loop(spin=spin)
    in_thread(other.run_forever)

    async def there(i: int) -> int:
        await asyncio.sleep(0.0002)
        return i

    async def main() -> list[int]:
        return [await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(there(i), other)) for i in range(50)]

    try:
        assert spinning.run_until_complete(main()) == list(range(50))
    finally:
        other.call_soon_threadsafe(other.stop)
        while other.is_running():
            time.sleep(0.001)
        loops.close(other)


def test_stats_of_a_closed_loop_are_empty(spinning: sfloop.Loop) -> None:
    spinning.run_until_complete(asyncio.sleep(0))
    spinning.close()
    assert spinning.stats() == {}


def test_handles_that_wait_are_counted(spinning: sfloop.Loop) -> None:
    handles = [spinning.call_soon(int) for _ in range(3)]
    timers = [spinning.call_later(100, int) for _ in range(5)]
    stats = spinning.stats()
    assert (stats["ready"], stats["timers"]) == (3, 5)
    for handle in [*handles, *timers]:
        handle.cancel()


@pytest.mark.parametrize("bad", ["sometimes", "", 0, -1, float("nan"), float("inf"), 1e12, "-5", "0"])
def test_a_spin_that_does_not_exist(loop_kind: str, bad: Any) -> None:
    with pytest.raises(
        ValueError, match="spin=.*(adaptive.*always.*never|microseconds.*from .* to .*always)"
    ) as raised:
        sfloop.new_event_loop(spin=bad)
    assert repr(bad) in str(raised.value) or str(bad) in str(raised.value)


@pytest.mark.parametrize("bad", [None, True, b"always", ["never"]])
def test_a_spin_of_the_wrong_type(loop_kind: str, bad: Any) -> None:
    with pytest.raises(TypeError, match="spin="):
        sfloop.new_event_loop(spin=bad)


def test_the_environment(loop_kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SFLOOP_SPIN", "never")
    for given, expected in (({}, "never"), ({"spin": "always"}, "always"), ({"spin": 7}, 7)):
        loop = sfloop.new_event_loop(**given)  # type: ignore[arg-type]
        assert loop.options.spin == expected
        loop.close()
    monkeypatch.setenv("SFLOOP_SPIN", "seldom")
    with pytest.raises(ValueError, match="SFLOOP_SPIN='seldom'"):
        sfloop.new_event_loop()
