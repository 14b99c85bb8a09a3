"""The af_xdp driver and the receive queues of its interface, whose number changes while it runs."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import time

import pytest
from harness.link import INTERFACE, NEAR, Link, Side, drain
from harness.waiting import until
from tool import Opener, Programs, Tool

PORT = 7000
FLOW = f"udp:{NEAR}:{PORT}"
MODES = ("skb", "native")
NOBODY = 65534
SENDERS = 40


def set_queues(side: Side, count: int) -> int:
    command = ["ip", "netns", "exec", side.namespace, "ethtool", "-L", INTERFACE, "rx", str(count), "tx", str(count)]
    return subprocess.run(command, capture_output=True, check=False).returncode


def set_both(link: Link, count: int) -> None:
    for side in (link.near, link.far):  # the receiver first, because its program has to see every queue
        assert set_queues(side, count) == 0


def queues(tool: Tool) -> int:
    found = re.search(r"(\d+) queues? of", tool.ask("caps"))
    assert found
    return int(found[1])


def echoes(link: Link) -> int:
    """Return how many of the senders, whose queues differ, get their datagram back."""
    count = 0
    for number in range(SENDERS):
        with link.far.udp() as sender:
            sender.connect((NEAR, PORT))
            sender.send(bytes([number]))
            count += sender.recv(100) == bytes([number])
    return count


@pytest.fixture
def one_of_four(link: Link) -> Link:
    set_queues(link.far, 1)
    set_queues(link.near, 1)
    return link


@pytest.mark.parametrize("link", [{"queues": 4}], indirect=True)
@pytest.mark.parametrize("waiting", [[], ["--spin"]], ids=["sleeping", "spinning"])
@pytest.mark.parametrize("mode", MODES)
def test_queues_that_come_while_it_runs_get_sockets(
    open_driver: Opener, one_of_four: Link, mode: str, waiting: list[str]
) -> None:
    link = one_of_four
    tool = open_driver("af_xdp", "--mode", mode, "--flow", FLOW, *waiting)
    assert queues(tool) == 1
    assert echoes(link) == SENDERS
    for count in (2, 4):
        set_both(link, count)
        assert until(lambda count=count: queues(tool) == count)  # type: ignore[misc]
        with link.near.udp(PORT) as beside:
            assert echoes(link) == SENDERS
            assert drain(beside) == []
    assert tool.numbers("stats")["rx_frames"] == 3 * SENDERS


@pytest.mark.parametrize("link", [{"queues": 4}], indirect=True)
def test_frames_of_queues_without_a_socket_are_the_kernels(driver_tool: Programs, one_of_four: Link) -> None:
    link = one_of_four
    tool = Tool(driver_tool("af_xdp"), link.near, "af_xdp", "--count", "--flow", FLOW, before=lambda: None)
    try:
        tool.do(f"user {NOBODY}")
        set_both(link, 4)
        assert until(lambda: "3 queues without a socket" in tool.ask("caps"))
        assert queues(tool) == 1
        with link.near.udp(PORT) as beside:
            for number in range(SENDERS):
                with link.far.udp() as sender:
                    sender.sendto(bytes([number]), (NEAR, PORT))
            kernels: list[bytes] = []
            assert until(
                lambda: kernels.extend(drain(beside)) or len(kernels) + tool.numbers("counts")["frames"] == SENDERS
            )
            assert kernels
        tool.close()
    finally:
        tool.process.kill()
        tool.process.wait()


@pytest.mark.parametrize("link", [{"queues": 4}], indirect=True)
@pytest.mark.parametrize("mode", MODES)
def test_fewer_queues_lose_nothing(open_driver: Opener, link: Link, mode: str) -> None:
    """Linux refuses to remove a queue with an AF_XDP socket. Other queues may be removed."""
    tool = open_driver("af_xdp", "--mode", mode, "--flow", FLOW)
    assert queues(tool) == 4
    set_queues(link.far, 1)
    set_queues(link.near, 1)
    assert until(lambda: queues(tool) <= 4)
    assert echoes(link) == SENDERS
    set_both(link, 4)
    assert echoes(link) == SENDERS


@pytest.mark.parametrize("link", [{"queues": 4}], indirect=True)
def test_one_queue_that_was_asked_for_stays_alone(open_driver: Opener, one_of_four: Link) -> None:
    link = one_of_four
    tool = open_driver("af_xdp", "--queue", "0", "--count", "--flow", FLOW)
    set_both(link, 4)
    time.sleep(0.1)
    assert queues(tool) == 1
    assert "without" not in tool.ask("caps")


@pytest.mark.parametrize("link", [{"queues": 4}], indirect=True)
def test_descriptors_do_not_pile_up(open_driver: Opener, one_of_four: Link) -> None:
    link = one_of_four
    tool = open_driver("af_xdp", "--flow", FLOW)
    folder = f"/proc/{tool.process.pid}/fd"
    before = len(os.listdir(folder))
    set_both(link, 4)
    assert until(lambda: queues(tool) == 4)
    for mtu in (1400, 1300, 1200):
        link.near.set_link("mtu", str(mtu))
        assert until(lambda mtu=mtu: tool.numbers("caps")["mtu"] == mtu)  # type: ignore[misc]
    assert len(os.listdir(folder)) == before + 3
    with link.far.udp() as sender:
        sender.setsockopt(socket.SOL_SOCKET, 11, 1)  # SO_NO_CHECK
        sender.connect((NEAR, PORT))
        sender.send(b"still here")
        assert sender.recv(100) == b"still here"
