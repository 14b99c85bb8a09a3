"""The registries in C, the options, ``sfloop.backends()`` and the pages agree. A stack is opened by its name."""

from __future__ import annotations

import errno
import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import sfloop
from sfloop.backends.opening import WRAPPERS
from sfloop.loop import Loop
from sfloop.native.cores.core import StackLost, registered, stack_options
from sfloop.options import options as config
from sfloop.options import tcplimits

DOCS = Path(__file__).parents[2] / "docs"
#: Names that a user may give although no registry in C has them: a choice, the kernel's sockets under a preloaded
#: library, a driver in a shared object of its own, and one that is not built.
BESIDE = {"stack": {"auto", "onload"}, "driver": {"ef_vi", "dpdk"}}
WIRE = f"registry-{os.getpid()}"


@pytest.mark.parametrize(("kind", "names"), [("stack", config.STACKS), ("driver", config.DRIVERS)])
def test_options_and_backends_have_the_names_of_the_registry(kind: Any, names: tuple[str, ...]) -> None:
    built = registered()[kind]
    assert set(names) == set(built) | BESIDE[kind]
    listed = {backend.name: backend for backend in sfloop.backends() if backend.kind == kind}
    assert set(listed) == set(names) - {"auto"}
    for name, description in built.items():
        assert listed[name].description == description != ""


def test_each_wrapper_has_an_option() -> None:
    assert set(registered()["wrapper"]) == set(WRAPPERS)
    assert set(WRAPPERS.values()) <= set(config.Options.__dataclass_fields__)


def test_each_limit_of_tcp_is_an_option_of_the_stack() -> None:
    assert set(tcplimits.NAMES) <= set(stack_options("tcpip"))
    assert stack_options("kernel") == stack_options("no such stack") == []


def test_times_are_handed_on_in_nanoseconds() -> None:
    given = config.Options(tcp={"time_wait": 0.0010000001, "retries": 3, "congestion": "newreno"}).tcp
    assert tcplimits.in_nanoseconds(given) == {"time_wait": 1_000_001, "retries": 3, "congestion": "newreno"}
    assert tcplimits.in_nanoseconds(None) == {}


def test_the_table_of_stacks_has_all_of_them() -> None:
    text = (DOCS / "stacks.md").read_text().partition("\n| stack, driver |")[2].partition("\n\n")[0]
    named = re.findall(r"^\| `(\w+)`(?: over `(\w+)`)? \|", text, re.M)
    assert {stack for stack, _ in named} == set(config.STACKS) - {"auto"}
    assert {driver for _, driver in named if driver} == set(config.DRIVERS)


@pytest.mark.parametrize(("option", "names"), [("stack", config.STACKS), ("driver", config.DRIVERS)])
def test_the_table_of_options_has_all_of_them(option: str, names: tuple[str, ...]) -> None:
    row = re.search(rf"^\| `{option}` \| ([^|]*)", (DOCS / "configuration.md").read_text(), re.M)
    assert row is not None
    assert set(re.findall(r"`(\w+)`", row[1])) - {"tcpip"} == set(names) - {"tcpip"}


@pytest.fixture
def loop() -> Iterator[Loop]:
    made = Loop(sfloop.Options(stack="kernel"))
    yield made
    made.close()


def driver(number: int = 0) -> Any:
    return "shm", f"{WIRE}-{number}", socket.htonl(0x7F4D0001), [], 64


@pytest.mark.parametrize(
    ("name", "below", "options", "said"),
    [
        ("tcpip", True, {"no_such": 1}, "stack='tcpip': the tcpip stack has no option no_such"),
        ("tcpip", True, {"mss": 65_536}, "the option mss of the tcpip stack must be from 0 to 65535, not 65536"),
        ("tcpip", True, {"mss": -1}, "must be from 0 to 65535, not -1"),
        ("tcpip", True, {"mss": "x"}, "the option mss of the tcpip stack is a number, not x"),
        ("tcpip", True, {"interface": 7}, "the option interface of the tcpip stack is a text, not a number"),
        ("tcpip", True, {"x" * 1000: 7}, "has no option x"),
        ("tcpip", False, {}, "stack='tcpip': the stack needs a frame driver"),
        ("tcpdirect", True, {}, "stack='tcpdirect': the stack has no frame driver"),
        ("tcpdirect", False, {}, "stack='tcpdirect': the tcpdirect stack needs the option zf_stack_free"),
        ("tcpdirect", False, {"zf_stack_free": 0}, "the option zf_stack_free of the tcpdirect stack must be from 1"),
        ("tcpdirect", False, {"overflow": 2}, "the option overflow of the tcpdirect stack must be from 0 to 1, not 2"),
        ("kernel", False, {}, "not built in this version of sfloop"),
        ("dpdk", False, {}, "not built in this version of sfloop"),
    ],
)
def test_a_stack_that_cannot_be_opened_says_why(
    loop: Loop, name: str, below: bool, options: dict[str, int | str], said: str
) -> None:
    with pytest.raises(OSError, match=re.escape(said)) as caught:
        loop._open_stack(name, driver() if below else None, options)
    assert caught.value.errno in (errno.EINVAL, errno.EOPNOTSUPP)
    assert set(loop.stats()["stacks"]) == {"kernel"}


def test_an_option_of_another_type(loop: Loop) -> None:
    with pytest.raises(TypeError, match=r"mss=1\.5: an option of a stack is an int or a str"):
        loop._open_stack("tcpip", driver(), {"mss": 1.5})  # type: ignore[dict-item]
    with pytest.raises(OverflowError):
        loop._open_stack("tcpip", driver(), {"memory": 1 << 64})


def test_a_stack_too_many(loop: Loop) -> None:
    for number in range(8):
        loop._open_stack("tcpip", driver(number), {})
    with pytest.raises(StackLost) as caught:
        loop._open_stack("tcpip", driver(8), {})
    assert caught.value.errno == errno.ENOSPC
    assert list(loop.stats()["stacks"]) == ["kernel", "tcpip"]
