"""The af_xdp driver's filters under traffic, and its end: a process, an interface and a link that go away."""

from __future__ import annotations

import errno
import socket
import time

import pytest
from af_xdp_flow import DEAD, FLOW, MODES, PORT, SEES_PORTS, echoes, until
from harness.link import FAR, INTERFACE, NEAR, Link, drain
from tool import Opener, OpenError

# ---- filters ----


def test_adding_and_deleting_says_what_there_was(open_driver: Opener) -> None:
    tool = open_driver("af_xdp")
    assert tool.ask(f"add {FLOW}") == "ok"
    assert tool.ask(f"add {FLOW}") == f"error {errno.EEXIST}"
    assert tool.ask(f"add tcp:{NEAR}:{PORT}") == "ok"
    assert tool.ask(f"del {FLOW}") == "ok"
    assert tool.ask(f"del {FLOW}") == f"error {errno.ENOENT}"
    assert tool.ask(f"add udp:{NEAR}:0") == f"error {errno.EINVAL}"
    assert tool.ask(f"add {FLOW}:{FAR}:0") == f"error {errno.EINVAL}"
    assert tool.ask(f"add udp:0.0.0.0:{PORT}:{FAR}:1") == f"error {errno.EOPNOTSUPP}"
    assert tool.ask(f"add icmp:{NEAR}:{PORT}") == f"error {errno.EINVAL}"


def test_the_map_of_flows_has_an_end(open_driver: Opener) -> None:
    tool = open_driver("af_xdp")
    tool.fill(f"udp:{NEAR}:{PORT}:{FAR}", range(1, 65_536))
    assert tool.ask(f"add tcp:{NEAR}:{PORT}") == "ok"
    assert tool.ask(f"add tcp:{NEAR}:{PORT + 1}") == f"error {errno.ENOSPC}"


@pytest.mark.parametrize("mode", MODES)
def test_filters_change_under_traffic(open_driver: Opener, link: Link, peer: socket.socket, mode: str) -> None:
    tool = open_driver("af_xdp", "--mode", mode, "--count")
    sent = 0
    with link.near.udp(PORT) as beside:
        kernels = 0
        for _ in range(50):
            for action in ("add", "del"):
                for _ in range(10):
                    peer.send(b"steady")
                tool.do(f"{action} {FLOW}")
                for _ in range(10):
                    peer.send(b"steady")
                sent += 20
            kernels += len(drain(beside))
        assert until(lambda: tool.numbers("counts")["frames"] + kernels + len(drain(beside)) >= sent)
        frames = tool.numbers("counts")["frames"]
        assert frames + kernels == sent
        assert frames == sent / 2


# ---- the end ----


@pytest.mark.parametrize("mode", MODES)
def test_a_killed_process_leaves_nothing_behind(open_driver: Opener, link: Link, mode: str) -> None:
    for _ in range(3):
        with link.far.udp() as peer, link.near.udp(PORT) as beside:
            peer.connect((NEAR, PORT))
            tool = open_driver("af_xdp", "--mode", mode, "--flow", FLOW)
            assert echoes(peer, b"taken")
            tool.kill()

            def kernel_has_it(peer: socket.socket = peer, beside: socket.socket = beside) -> bool:
                peer.send(b"left")
                time.sleep(0.005)
                return drain(beside) != []

            assert until(kernel_has_it, 0.5)


def test_a_closed_driver_can_be_opened_again_at_once(open_driver: Opener, link: Link, peer: socket.socket) -> None:
    for mode in (*MODES, *MODES):
        tool = open_driver("af_xdp", "--mode", mode, "--flow", FLOW)
        assert echoes(peer, b"taken")
        tool.close()


def test_a_second_owner_is_told_who_is_there(open_driver: Opener, peer: socket.socket) -> None:
    first = open_driver("af_xdp", "--flow", FLOW)
    for mode in ("auto", *MODES):
        with pytest.raises(OpenError) as caught:
            open_driver("af_xdp", "--mode", mode)
        assert caught.value.errno == errno.EBUSY
        assert f"another sfloop, process {first.process.pid}" in caught.value.message
        assert len(caught.value.message) < 255
    assert echoes(peer, b"undisturbed")


@pytest.mark.parametrize("waiting", [[], ["--spin"]], ids=["sleeping", "spinning"])
@pytest.mark.parametrize("mode", MODES)
def test_the_interface_is_deleted(open_driver: Opener, link: Link, mode: str, waiting: list[str]) -> None:
    tool = open_driver("af_xdp", "--mode", mode, "--flow", FLOW, *waiting)
    target = f"{link.far.mac().hex(':')} {NEAR}:{PORT} {FAR}:9"
    with link.far.udp() as peer:
        peer.connect((NEAR, PORT))
        assert echoes(peer, b"before")
    link.near.ip("link", "del", INTERFACE)
    assert until(lambda: tool.numbers("caps")["flags"] == DEAD | SEES_PORTS)
    assert tool.do(f"send {target} 100 10") == "0"
    assert tool.ask("add udp:198.18.7.1:1") == "ok"
    assert "rx_frames=1 " in tool.ask("stats")
    tool.close()


def test_nothing_spins_after_the_interface_is_deleted(open_driver: Opener, link: Link) -> None:
    tool = open_driver("af_xdp", "--flow", FLOW)
    link.near.ip("link", "del", INTERFACE)
    time.sleep(0.3)

    def ticks() -> int:
        with open(f"/proc/{tool.process.pid}/stat", encoding="ascii") as file:
            return sum(map(int, file.read().rsplit(")", 1)[1].split()[11:13]))

    before = ticks()
    time.sleep(0.5)
    assert ticks() - before < 10


@pytest.mark.parametrize("mode", MODES)
def test_the_interface_goes_down_and_comes_up(open_driver: Opener, link: Link, peer: socket.socket, mode: str) -> None:
    tool = open_driver("af_xdp", "--mode", mode, "--flow", FLOW)
    target = f"{link.far.mac().hex(':')} {NEAR}:{PORT} {FAR}:9"
    assert echoes(peer, b"before")
    for _ in range(3):
        link.near.set_link("down")
        assert tool.numbers("caps")["flags"] == SEES_PORTS
        assert tool.do(f"send {target} 100 10") == "0"
        link.near.set_link("up")

        def back() -> bool:
            peer.send(b"again")
            time.sleep(0.01)
            return b"again" in drain(peer)

        assert until(back)
    assert tool.do(f"send {target} 100 10") == "10"
