"""How options take effect: the CPU that a thread is pinned to, and the stack and driver that are chosen."""

from __future__ import annotations

import errno
import gc
import os
import re
import threading
import warnings
import weakref
from typing import Any

import pytest

import sfloop
from sfloop.backends import select_stack
from sfloop.options import affinity
from sfloop.options import options as config
from sfloop.options.options import Options, pin_thread

pytestmark = pytest.mark.usefixtures("no_options_in_the_environment")


# ---- pinning ----


def test_pin_thread_and_back() -> None:
    outcome: dict[str, Any] = {}

    def pinned() -> None:
        before = os.sched_getaffinity(0)
        cpu = max(before)
        outcome["returned"] = pin_thread(cpu) == before
        outcome["alone"] = os.sched_getaffinity(0) == {cpu}
        os.sched_setaffinity(0, before)

    thread = threading.Thread(target=pinned)
    thread.start()
    thread.join()
    assert outcome == {"returned": True, "alone": True}


def test_a_pinned_thread_may_move_to_another_of_the_process_cpus() -> None:
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) < 2:
        pytest.skip("one CPU is all that this process may use")
    ended: list[set[int]] = []

    def moves() -> None:
        pin_thread(cpus[0])
        pin_thread(cpus[1])
        ended.append(os.sched_getaffinity(0))

    thread = threading.Thread(target=moves)
    thread.start()
    thread.join()
    assert ended == [{cpus[1]}]


def test_pinning_outside_the_affinity_mask(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(affinity, "_STARTING_AFFINITY", frozenset({0}))
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})
    with pytest.raises(ValueError, match=r"^cpu=1: this process may run on CPU 0 only"):
        pin_thread(1)


# ---- the choice of a stack ----


def test_auto_takes_the_kernel_stack_and_says_why() -> None:
    choice = select_stack(Options())
    assert choice.name == "kernel"
    assert not choice.fell_back
    assert set(choice.reasons) == {"tcpdirect", "tcpip", "kernel"}
    assert all(choice.reasons.values())


def test_kernel_by_name() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        choice = select_stack(Options(stack="kernel", fallback="error", interface="lo"))
    assert choice.name == "kernel"
    assert not choice.fell_back


@pytest.mark.parametrize(
    ("options", "stack", "why"),
    [
        ({"stack": "tcpdirect"}, "tcpdirect", "libonload_zf.so.1 is missing"),
        ({"stack": "tcpip"}, "tcpip", "over ef_vi: not built.*over packet: "),
        ({"driver": "dpdk"}, "tcpip", "not built in this version"),
        ({"driver": "af_xdp"}, "tcpip", "no interface was named|this process lacks CAP_"),
    ],
)
def test_fallback(options: dict[str, Any], stack: str, why: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        choice = select_stack(Options(**options))
    assert choice.name == "kernel"
    assert choice.fell_back
    assert re.search(why, choice.reasons[stack])
    wanted = next(iter(options.values()))
    with pytest.warns(RuntimeWarning, match=f"'{wanted}' cannot be used: ({why}).*kernel stack"):
        assert select_stack(Options(**options, fallback="warn")).name == "kernel"
    with pytest.raises(OSError, match=rf"'{wanted}' cannot be used: ({why}).*available here are 'kernel', 'tcpip'"):
        select_stack(Options(**options, fallback="error"))


def test_an_opener_that_fails_is_the_reason() -> None:
    def refuse(stack: str, driver: str | None, interface: str | None) -> None:
        raise OSError(errno.EBUSY, f"{stack} over {driver} is busy")

    options = Options(stack="tcpip", driver="shm", interface="feed@127.77.0.1")
    assert select_stack(options, refuse).reasons["tcpip"].endswith("tcpip over shm is busy")
    with pytest.raises(OSError, match="tcpip over shm is busy") as raised:
        select_stack(Options(driver="shm", interface="feed@127.77.0.1", fallback="error"), refuse)
    assert raised.value.errno == errno.EBUSY


@pytest.mark.parametrize("interface", [None, "feed", "@127.77.0.1"])
def test_a_wire_needs_a_name_and_an_address(interface: Any) -> None:
    with pytest.raises(ValueError, match=r"interface="):
        select_stack(Options(driver="shm", interface=interface))


@pytest.mark.parametrize("interface", ["feed@", "feed@example.org", "feed@1.2.3", "feed@::1"])
def test_the_address_of_a_wire(interface: str) -> None:
    with pytest.raises(ValueError, match=r"interface='feed@.*127\.77\.0\.1"):
        select_stack(Options(driver="shm", interface=interface))


def test_a_wire_is_of_the_shm_driver() -> None:
    with pytest.raises(ValueError, match="driver='shm'"):
        Options(driver="af_xdp", interface="feed@127.77.0.1")


@pytest.mark.parametrize("fallback", ["kernel", "warn", "error"])
def test_an_interface_that_does_not_exist_is_never_overlooked(fallback: Any) -> None:
    with pytest.raises(OSError, match=r"'lo0': no such device; this machine has .*'lo'.*; did you mean 'lo'\?"):
        select_stack(Options(interface="lo0", fallback=fallback))


def test_backends_lists_every_name_once() -> None:
    listed = sfloop.backends()
    stacks = [backend.name for backend in listed if backend.kind == "stack"]
    drivers = [backend.name for backend in listed if backend.kind == "driver"]
    assert ("auto", *stacks) == config.STACKS
    assert tuple(drivers) == config.DRIVERS
    engines = [backend.name for backend in listed if backend.kind == "tls"]
    assert engines == ["native", "memory-bio", "asyncio"]
    available = {backend.name for backend in listed if backend.available and backend.kind != "tls"}
    assert {"kernel", "tcpip", "shm"} <= available
    assert available.isdisjoint({"tcpdirect", "onload", "ef_vi", "dpdk"})
    assert all(backend.reason and backend.description for backend in listed)


def test_the_choice_keeps_nothing_alive() -> None:
    """No exception of a refused backend stays alive, because its frames would hold the opener, and the opener the
    loop."""

    class Opener:
        def __call__(self, stack: str, driver: str | None, interface: str | None) -> None:
            raise OSError(errno.ENODEV, "not here")

    gc.collect()
    gc.disable()
    try:
        opener = Opener()
        gone = weakref.ref(opener)
        select_stack(Options(interface="lo"), opener)
        del opener
        assert gone() is None
    finally:
        gc.enable()
