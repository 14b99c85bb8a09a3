"""Handle and TimerHandle objects: types, repr, equality, order, weak references."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import sys
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from harness.loops import drain


def named_callback(*args: object) -> None:
    pass


def test_types(loop: asyncio.AbstractEventLoop) -> None:
    soon = loop.call_soon(named_callback)
    threadsafe = loop.call_soon_threadsafe(named_callback)
    later = loop.call_later(100, named_callback)
    at = loop.call_at(loop.time() + 100, named_callback)
    assert isinstance(soon, asyncio.Handle) and not isinstance(soon, asyncio.TimerHandle)
    assert isinstance(threadsafe, asyncio.Handle) and not isinstance(threadsafe, asyncio.TimerHandle)
    for timer in (later, at):
        assert isinstance(timer, asyncio.TimerHandle) and isinstance(timer, asyncio.Handle)
        timer.cancel()


def test_when_is_the_time_asked_for(loop: asyncio.AbstractEventLoop) -> None:
    when = loop.time() + 12.345678
    timer = loop.call_at(when, named_callback)
    assert timer.when() == when
    timer.cancel()
    assert timer.when() == when
    before = loop.time()
    later = loop.call_later(5, named_callback)
    assert before + 5 <= later.when() <= loop.time() + 5
    later.cancel()


def test_repr_names_the_callback(loop: asyncio.AbstractEventLoop) -> None:
    handle = loop.call_soon(named_callback, 1, "two")
    assert "named_callback" in repr(handle)
    handle.cancel()
    assert "cancelled" in repr(handle)
    timer = loop.call_later(100, named_callback)
    assert "named_callback" in repr(timer) and "when=" in repr(timer)
    timer.cancel()
    assert "cancelled" in repr(timer)


def test_repr_in_debug_mode_says_where_it_was_created(loop: asyncio.AbstractEventLoop) -> None:
    loop.set_debug(True)
    handle = loop.call_soon(named_callback, 1)
    assert "created at" in repr(handle) and "test_handles.py" in repr(handle)
    handle.cancel()
    assert "cancelled" in repr(handle) and "created at" in repr(handle)


def test_handles_equal_only_themselves(loop: asyncio.AbstractEventLoop) -> None:
    one = loop.call_soon(named_callback)
    two = loop.call_soon(named_callback)
    assert one == one and one != two and len({one, two}) == 2
    assert one != object()


def test_timer_handles_compare_by_time(loop: asyncio.AbstractEventLoop) -> None:
    base = loop.time() + 100
    early, late = loop.call_at(base, named_callback), loop.call_at(base + 1, named_callback)
    same = loop.call_at(base, named_callback)
    assert early < late and early <= late and late > early and late >= early
    assert early != late
    assert early == same and early <= same and early >= same
    assert hash(early) == hash(same) == hash(base)
    other = loop.call_at(base, lambda: None)
    assert early != other
    assert early != "a string"
    with pytest.raises(TypeError):
        assert early < 3  # type: ignore[operator]
    for timer in (early, late, same, other):
        timer.cancel()


@pytest.mark.parametrize("method", ["call_soon", "call_soon_threadsafe", "call_later"])
def test_weak_references(loop: asyncio.AbstractEventLoop, method: str) -> None:
    schedule: Callable[[], asyncio.Handle] = {
        "call_soon": lambda: loop.call_soon(named_callback),
        "call_soon_threadsafe": lambda: loop.call_soon_threadsafe(named_callback),
        "call_later": lambda: loop.call_later(0.001, named_callback),
    }[method]
    handle = schedule()
    reference = weakref.ref(handle)
    del handle
    gc.collect()
    assert reference() is not None, "the loop holds the handle until it has run"
    loop.call_later(0.01, loop.stop)
    loop.run_forever()
    gc.collect()
    assert reference() is None


def test_a_cycle_through_a_handle_is_collected(loop: asyncio.AbstractEventLoop) -> None:
    class Owner:
        handle: asyncio.Handle

        def callback(self) -> None:
            pass

    for delay in (None, 0.001):
        owner = Owner()
        if delay is None:
            owner.handle = loop.call_soon(owner.callback)
        else:
            owner.handle = loop.call_later(delay, owner.callback)
        reference = weakref.ref(owner)
        del owner
        loop.call_later(0.01, loop.stop)
        loop.run_forever()
        gc.collect()
        assert reference() is None


def test_a_program_may_make_handles_of_its_own(loop: asyncio.AbstractEventLoop) -> None:
    """Libraries with their own scheduling construct asyncio.Handle and TimerHandle directly."""
    seen: list[str] = []
    handle = asyncio.Handle(seen.append, ("own",), loop)
    loop.call_soon(handle._run)
    drain(loop)
    assert seen == ["own"]
    timer = asyncio.TimerHandle(loop.time() + 1, seen.append, ("own",), loop)
    timer.cancel()
    assert timer.cancelled()


@pytest.mark.skipif(sys.version_info < (3, 12), reason="Handle.get_context is new in Python 3.12")
def test_get_context_of_a_handle(loop: asyncio.AbstractEventLoop) -> None:
    context = contextvars.copy_context()
    handle = loop.call_soon(named_callback, context=context)
    assert handle.get_context() is context
    handle.cancel()


@pytest.mark.parametrize("kind", ["soon", "later", "itself"])
def test_a_long_chain_of_handles_ends(loop: asyncio.AbstractEventLoop, kind: str) -> None:
    """Each handle is the only owner of the previous one. Recursive deallocation overflowed the C stack."""
    handle: asyncio.Handle = loop.call_soon(named_callback)
    for _ in range(300_000):
        if kind == "soon":
            handle = loop.call_soon(handle._run)
        elif kind == "later":
            handle = loop.call_later(9.0, handle._run)
        else:
            handle = loop.call_soon(handle)  # type: ignore[arg-type]
    loop.close()
    del handle


@pytest.mark.parametrize("loops", [None, "deleted"])
def test_cancelling_a_timer_that_has_lost_its_loop(loop: asyncio.AbstractEventLoop, loops: str | None) -> None:
    timer: Any = loop.call_later(1.0, named_callback)
    if loops is None:
        timer._loop = None
    else:
        del timer._loop
    with pytest.raises(AttributeError):
        timer.cancel()


def test_a_handle_has_nothing_of_one_that_is_gone(loop: asyncio.AbstractEventLoop) -> None:
    ran: list[int] = []
    for i in range(3000):  # more than are kept
        old = loop.call_soon(ran.append, -1)
        old.cancel()
        old._repr = "old"  # type: ignore[attr-defined]
        old._source_traceback = ["old"]  # type: ignore[attr-defined]
        del old
        if i % 1000 == 999:
            loop.run_until_complete(asyncio.sleep(0))
    for i in range(3):
        new: Any = loop.call_soon(ran.append, i)
        assert not new.cancelled() and new._repr is None and new._source_traceback is None
        assert "append" in repr(new)
        del new
    loop.run_until_complete(asyncio.sleep(0))
    assert ran == [0, 1, 2]
