"""The packet driver's beginning and end: privileges and errors, and an interface and a process that go away."""

from __future__ import annotations

import errno
import time
from functools import partial

import pytest
from harness.capabilities import BPF, NET_ADMIN, NET_RAW, PERFMON, SYS_ADMIN, withhold
from harness.link import FAR, INTERFACE, NEAR, Link, ip
from packet_flow import DEAD, FLOW, OTHER_PORT, PORT, SEES_PORTS, echoed, flow_frame, wait_for
from tool import Opener, OpenError, Programs, Tool

# ---- the interface and the process go away ----


def test_deleted_interface(link: Link, open_driver: Opener) -> None:
    tool = open_driver("packet", "--flow", FLOW)
    mac = link.far.mac().hex(":")
    with link.far.udp() as made:
        assert echoed(made, b"before") == b"before"
    link.near.ip("link", "del", INTERFACE)
    assert tool.numbers("caps")["flags"] == DEAD | SEES_PORTS
    assert tool.do(f"send {mac} {NEAR}:{PORT} {FAR}:{PORT} 10 100") == "100"
    assert tool.numbers("stats")["tx_errors"] == 100
    assert tool.ask(f"del {FLOW}") == "ok"


@pytest.mark.parametrize("sending", [True, False])
def test_deleted_under_traffic(link: Link, open_driver: Opener, sending: bool) -> None:
    tool = open_driver("packet", "--spin", "--flow", FLOW)
    raw = link.far.raw()
    data = flow_frame(link, b"flood")
    with raw:
        for number in range(3000):
            if number == 1500:
                link.near.ip("link", "del", INTERFACE) if sending else ip("netns", "del", link.far.namespace)
            try:
                raw.send(data)
            except OSError:
                break
    wait_for(lambda: tool.numbers("caps"), "flags", DEAD | SEES_PORTS)


def test_interface_down_and_up(link: Link, open_driver: Opener) -> None:
    tool = open_driver("packet", "--flow", FLOW)
    mac = link.far.mac().hex(":")
    with link.far.udp() as made:
        assert echoed(made, b"before") == b"before"
        link.near.set_link("down")
        assert tool.numbers("caps")["flags"] == SEES_PORTS  # it may come back
        assert tool.do(f"send {mac} {NEAR}:{PORT} {FAR}:{PORT} 10 3") == "3"
        assert tool.numbers("stats")["tx_errors"] == 3
        link.near.set_link("up")
        made.settimeout(0.2)
        for _ in range(20):
            try:
                assert echoed(made, b"after") == b"after"
                return
            except TimeoutError:
                continue
    pytest.fail("the driver does not go on")


@pytest.mark.parametrize("killed", [True, False])
def test_nothing_is_left_behind(link: Link, open_driver: Opener, killed: bool) -> None:
    tool = open_driver("packet", "--flow", FLOW)
    with link.near.udp(PORT) as kernel, link.far.udp() as made:
        assert echoed(made, b"driver") == b"driver"
        if killed:
            tool.kill()
        else:
            tool.close()
        made.sendto(b"kernel", (NEAR, PORT))
        assert kernel.recv(10) == b"kernel"
    again = open_driver("packet", "--flow", FLOW)
    with link.far.udp() as made:
        assert echoed(made, b"again") == b"again"
    assert again.numbers("stats")["rx_frames"] == 1


@pytest.mark.parametrize("event", ["none", "down", "down and up", "deleted"])
def test_sleep_uses_no_processor(link: Link, open_driver: Opener, event: str) -> None:
    tool = open_driver("packet", "--flow", FLOW)
    with link.far.udp() as made:
        assert echoed(made, b"awake") == b"awake"
    if event == "deleted":
        link.near.ip("link", "del", INTERFACE)
    else:
        for state in event.split(" and ") if event != "none" else ():
            link.near.set_link(state)
    tool.numbers("caps")
    before = processor_time(tool.process.pid)
    time.sleep(0.3)
    assert processor_time(tool.process.pid) - before <= 2


def processor_time(pid: int) -> int:
    """Return the processor time of a process so far, in hundredths of a second."""
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return int(fields[11]) + int(fields[12])


# ---- privileges and errors ----


def test_privileges_dropped(link: Link, open_driver: Opener) -> None:
    tool = open_driver("packet", "--flow", FLOW, before=lambda: None)  # the leak check cannot follow a change of user
    tool.do("user 65534")
    tool.do(f"add udp:{NEAR}:{OTHER_PORT}")
    with link.far.udp() as made:
        assert echoed(made, b"first") == b"first"
        made.sendto(b"second", (NEAR, OTHER_PORT))
        assert made.recv(10) == b"second"
    tool.do(f"del {FLOW}")
    with link.near.udp(PORT) as kernel, link.far.udp() as made:
        made.sendto(b"kernel", (NEAR, PORT))
        assert kernel.recv(10) == b"kernel"


def open_without(driver_tool: Programs, link: Link, *missing: int, mode: str = "auto") -> Tool:
    """Start the process inside the namespace, because `ip netns exec` needs CAP_SYS_ADMIN, which includes some
    others."""
    arguments = ("--mode", mode, "--flow", FLOW)
    with link.near.entered():
        before = partial(withhold, SYS_ADMIN, *missing)
        return Tool(driver_tool("packet"), link.near, "packet", *arguments, before=before, inside=True)


@pytest.mark.parametrize(
    ("missing", "named"),
    [
        ((NET_RAW,), "CAP_NET_RAW"),
        ((BPF, PERFMON), "CAP_BPF"),
        ((NET_ADMIN,), "CAP_NET_ADMIN"),
    ],
)
def test_missing_capability(driver_tool: Programs, link: Link, missing: tuple[int, ...], named: str) -> None:
    with pytest.raises(OpenError) as raised:
        open_without(driver_tool, link, *missing)
    assert raised.value.errno == errno.EPERM
    assert named in raised.value.message
    assert "run as root" in raised.value.message


def test_shared_mode_needs_no_rights_over_the_interface(driver_tool: Programs, link: Link) -> None:
    tool = open_without(driver_tool, link, NET_ADMIN, mode="shared")
    with link.near.udp(PORT), link.far.udp() as made:
        assert echoed(made, b"shared") == b"shared"
    tool.close()


@pytest.mark.parametrize(
    ("arguments", "interface", "number", "words"),
    [
        ((), "nothere0", errno.ENODEV, "'nothere0'"),
        ((), "a-name-that-is-too-long", errno.ENODEV, "no interface"),
        ((), "lo", errno.EMEDIUMTYPE, "not an Ethernet"),
        (("--mode", "turbo"), INTERFACE, errno.EINVAL, "'turbo'"),
        (("--queue", "3"), INTERFACE, errno.EINVAL, "queue 3"),
        (("--frame-size", "64"), INTERFACE, errno.EINVAL, "frame_size of 64"),
        (("--rx-frames", "1000000"), INTERFACE, errno.EINVAL, "1000000"),
        (("--rx-frames", "65536", "--frame-size", "131072"), INTERFACE, errno.EINVAL, "at most"),
    ],
)
def test_open_errors(open_driver: Opener, arguments: tuple[str, ...], interface: str, number: int, words: str) -> None:
    with pytest.raises(OpenError) as raised:
        open_driver("packet", *arguments, interface=interface)
    assert raised.value.errno == number
    assert words in raised.value.message


def test_open_on_an_interface_that_is_down(link: Link, open_driver: Opener) -> None:
    link.near.set_link("down")
    with pytest.raises(OpenError) as raised:
        open_driver("packet")
    assert raised.value.errno == errno.ENETDOWN
    assert f"ip link set {INTERFACE} up" in raised.value.message
