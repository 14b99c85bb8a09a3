"""Opening the af_xdp driver: the privileges it needs, and the errors that name a missing one."""

from __future__ import annotations

import errno
import resource
import socket
from collections.abc import Callable

import pytest
from af_xdp_flow import FLOW, SEES_PORTS, echoes
from harness.capabilities import BPF, IPC_LOCK, NET_ADMIN, NET_RAW, PERFMON, SYS_ADMIN, SYS_RESOURCE, withhold
from harness.link import FAR, INTERFACE, NEAR, Link
from tool import Opener, OpenError, Programs, Tool

NOBODY = 65534


# ---- privileges and other reasons not to open ----


def test_it_goes_on_without_privileges(driver_tool: Programs, link: Link, peer: socket.socket) -> None:
    tool = Tool(driver_tool("af_xdp"), link.near, "af_xdp", before=lambda: None)
    try:
        tool.do(f"user {NOBODY}")
        tool.do(f"add {FLOW}")
        for number in range(200):
            assert echoes(peer, bytes([number]))
        assert tool.numbers("caps")["flags"] == SEES_PORTS
        tool.do(f"del {FLOW}")
        tool.close()
    finally:
        tool.process.kill()
        tool.process.wait()


def without_bpf() -> None:
    withhold(NET_ADMIN, SYS_ADMIN, PERFMON, BPF)


def without_raw() -> None:
    withhold(NET_RAW)


def little_memory() -> None:
    resource.setrlimit(resource.RLIMIT_MEMLOCK, (65536, 65536))
    withhold(IPC_LOCK, SYS_RESOURCE)


def memory_to_raise() -> None:
    resource.setrlimit(resource.RLIMIT_MEMLOCK, (65536, resource.getrlimit(resource.RLIMIT_MEMLOCK)[1]))
    withhold(IPC_LOCK, SYS_RESOURCE)


def some_memory() -> None:
    resource.setrlimit(resource.RLIMIT_MEMLOCK, (4 << 20, 4 << 20))
    withhold(IPC_LOCK, SYS_RESOURCE)


def open_in(driver_tool: Programs, link: Link, before: Callable[[], None], *arguments: str) -> Tool:
    """Start the process inside the namespace, because `ip netns exec` needs the capabilities that are to be missing."""
    with link.near.entered():
        return Tool(driver_tool("af_xdp"), link.near, "af_xdp", *arguments, before=before, inside=True)


@pytest.mark.parametrize(
    ("before", "number", "words"),
    [
        (without_bpf, errno.EPERM, "CAP_BPF and CAP_NET_ADMIN"),
        (without_raw, errno.EPERM, "CAP_NET_RAW"),
        (little_memory, errno.ENOBUFS, "RLIMIT_MEMLOCK"),
    ],
)
def test_what_is_missing_is_named(
    driver_tool: Programs, link: Link, before: Callable[[], None], number: int, words: str
) -> None:
    with pytest.raises(OpenError) as caught:
        open_in(driver_tool, link, before)
    assert caught.value.errno == number
    assert words in caught.value.message


def test_a_ring_is_as_large_as_the_limit_on_memory_allows(driver_tool: Programs, link: Link) -> None:
    tool = open_in(driver_tool, link, some_memory)
    assert "of 1024 (no more by RLIMIT_MEMLOCK) + 1024 frames" in tool.mode
    tool.close()
    with pytest.raises(OpenError) as caught:  # this size and no other
        open_in(driver_tool, link, some_memory, "--rx-frames", "2048")
    assert caught.value.errno == errno.ENOBUFS
    assert "RLIMIT_MEMLOCK" in caught.value.message


def test_the_limit_on_memory_is_raised_where_that_is_allowed(driver_tool: Programs, link: Link) -> None:
    open_in(driver_tool, link, memory_to_raise).close()


@pytest.mark.parametrize(
    ("interface", "arguments", "number", "words"),
    [
        ("nowhere0", [], errno.ENODEV, "no interface 'nowhere0'"),
        ("a-name-that-is-much-too-long", [], errno.ENODEV, "no interface"),
        (INTERFACE, ["--mode", "fast"], errno.EINVAL, "auto, zerocopy, native, skb"),
        (INTERFACE, ["--mode", "zerocopy"], errno.EOPNOTSUPP, "zerocopy mode"),
        (INTERFACE, ["--queue", "7"], errno.EINVAL, "queue 7"),
        (INTERFACE, ["--frame-size", "1000"], errno.EINVAL, "2048 and 4096"),
        (INTERFACE, ["--rx-frames", "100000"], errno.EINVAL, "at most 65536"),
        ("lo", [], errno.EMEDIUMTYPE, "loopback device"),
    ],
)
def test_what_was_asked_for_cannot_be_had(
    open_driver: Opener, interface: str, arguments: list[str], number: int, words: str
) -> None:
    with pytest.raises(OpenError) as caught:
        open_driver("af_xdp", *arguments, interface=interface)
    assert caught.value.errno == number
    assert words in caught.value.message
    assert len(caught.value.message) < 255


def test_an_interface_that_is_down(open_driver: Opener, link: Link) -> None:
    link.near.set_link("down")
    with pytest.raises(OpenError) as caught:
        open_driver("af_xdp")
    assert caught.value.errno == errno.ENETDOWN
    assert f"ip link set {INTERFACE} up" in caught.value.message


def test_auto_takes_what_there_is(open_driver: Opener, link: Link) -> None:
    for name in ("vx0", "vx1"):
        tunnel = ("id", name[2:], "local", NEAR, "remote", FAR, "dstport", "4789")
        link.near.ip("link", "add", name, "up", "type", "vxlan", *tunnel)
    assert open_driver("af_xdp").mode.startswith("native, copy")
    assert open_driver("af_xdp", interface="vx0").mode.startswith("skb, copy")
    with pytest.raises(OpenError) as caught:
        open_driver("af_xdp", "--mode", "native", interface="vx1")
    assert caught.value.errno == errno.EOPNOTSUPP
    assert "no XDP program in native mode" in caught.value.message
