"""The af_xdp driver against the kernel at the other end of a veth pair: frames it takes, frames it leaves, and its
end."""

from __future__ import annotations

import ctypes
import errno
import os
import random
import resource
import socket
import struct
import time
from collections.abc import Callable, Iterator

import pytest
from conftest import Opener, Programs
from harness.frames import checksum, udp_frame
from harness.link import ETHTOOL_STXCSUM, FAR, INTERFACE, NEAR, Link, drain
from tool import OpenError, Tool

PORT = 7000
FLOW = f"udp:{NEAR}:{PORT}"
MODES = ("skb", "native")
NOBODY = 65534
DEAD, SEES_PORTS = 8, 64  # SF_DRIVER_DEAD, SF_DRIVER_SEES_PORTS
PR_CAPBSET_DROP = 24
CAP_IPC_LOCK = 14
CAP_SYS_RESOURCE = 24


@pytest.fixture
def peer(link: Link) -> Iterator[socket.socket]:
    """A kernel UDP socket at the far end, connected to the driver's flow."""
    with link.far.udp() as made:
        made.connect((NEAR, PORT))
        yield made


def echoes(peer: socket.socket, payload: bytes) -> bool:
    peer.send(payload)
    return peer.recv(65536) == payload


def macs(link: Link) -> tuple[bytes, bytes]:
    return link.near.mac(), link.far.mac()


def until(condition: Callable[[], bool], limit: float = 3.0) -> bool:
    deadline = time.monotonic() + limit
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


# ---- echo ----


@pytest.mark.parametrize("waiting", [[], ["--spin"]], ids=["sleeping", "spinning"])
@pytest.mark.parametrize("mode", MODES)
def test_datagrams_come_in_and_go_out(open_driver: Opener, peer: socket.socket, mode: str, waiting: list[str]) -> None:
    tool = open_driver("af_xdp", "--mode", mode, "--flow", FLOW, *waiting)
    assert tool.mode.startswith(f"{mode}, copy, 1 queue")
    for size in (0, 1, 17, 18, 64, 1000, 1471, 1472):
        assert echoes(peer, os.urandom(size)), size
    stats = tool.numbers("stats")
    assert stats["rx_frames"] == stats["tx_frames"] == 8
    assert stats["rx_bytes"] == stats["tx_bytes"] > 4000
    assert stats["tx_errors"] == stats["rx_dropped"] == stats["rx_invalid"] == 0


@pytest.mark.parametrize("mode", MODES)
def test_many_frames_go_to_the_kernel(open_driver: Opener, link: Link, mode: str) -> None:
    tool = open_driver("af_xdp", "--mode", mode, "--tx-frames", "64")
    with link.far.udp() as receiver:
        receiver.setsockopt(socket.SOL_SOCKET, 33, 64 << 20)  # SO_RCVBUFFORCE
        target = f"{link.far.mac().hex(':')} {NEAR}:{PORT} {FAR}:{receiver.getsockname()[1]}"
        assert tool.do(f"send {target} 1400 5000") == "5000"
        numbers = [struct.unpack("!I", receiver.recv(2000)[:4])[0] for _ in range(5000)]
    assert numbers == list(range(5000))
    assert tool.numbers("stats")["tx_frames"] == 5000


@pytest.mark.parametrize("mode", MODES)
def test_rings_wrap(open_driver: Opener, peer: socket.socket, mode: str) -> None:
    tool = open_driver("af_xdp", "--mode", mode, "--flow", FLOW, "--rx-frames", "64", "--tx-frames", "64")
    for first in range(0, 10_000, 25):
        for number in range(first, first + 25):
            peer.send(struct.pack("!I", number))
        assert [struct.unpack("!I", peer.recv(100))[0] for _ in range(25)] == list(range(first, first + 25))
    counts = tool.numbers("counts")
    assert counts["frames"] == counts["returned"] == 10_000


@pytest.mark.parametrize("mode", MODES)
def test_a_flood_is_dropped_and_counted_and_then_all_is_well(
    open_driver: Opener, link: Link, peer: socket.socket, mode: str
) -> None:
    tool = open_driver("af_xdp", "--mode", mode, "--flow", FLOW, "--rx-frames", "64", "--count")
    os.kill(tool.process.pid, 19)  # SIGSTOP
    for number in range(1000):
        peer.send(struct.pack("!I", number))
    os.kill(tool.process.pid, 18)  # SIGCONT
    assert until(lambda: tool.numbers("counts")["frames"] >= 64)
    stats = tool.numbers("stats")
    assert stats["rx_frames"] + stats["rx_dropped"] == 1000
    for number in range(200):
        peer.send(struct.pack("!I", number))
        if number % 20 == 19:
            assert until(lambda: tool.numbers("stats")["rx_frames"] == stats["rx_frames"] + number + 1)  # noqa: B023


# ---- left to the kernel ----


def ping(link: Link) -> bool:
    with link.far.socket(socket.SOCK_RAW, socket.IPPROTO_ICMP) as made:
        request = struct.pack("!BBHHH", 8, 0, 0, 77, 1) + b"ping"
        made.sendto(request[:2] + struct.pack("!H", checksum(request)) + request[4:], (NEAR, 0))
        return bool(made.recv(100)[20] == 0)


@pytest.mark.parametrize("mode", MODES)
def test_the_rest_of_the_interface_goes_on(open_driver: Opener, link: Link, peer: socket.socket, mode: str) -> None:
    open_driver("af_xdp", "--mode", mode, "--flow", FLOW)
    link.far.ip("neigh", "flush", "dev", INTERFACE)
    assert ping(link)  # and ARP before it
    with link.near.udp(PORT + 1) as other, link.far.udp() as sender:
        sender.sendto(b"other port", (NEAR, PORT + 1))
        assert other.recv(100) == b"other port"
    with link.near.socket(socket.SOCK_STREAM) as listener, link.far.socket(socket.SOCK_STREAM) as client:
        listener.bind((NEAR, PORT))  # the same number, but TCP
        listener.listen()
        client.connect((NEAR, PORT))
        client.sendall(b"stream")
        accepted, _ = listener.accept()
        with accepted:
            assert accepted.recv(100) == b"stream"
    assert echoes(peer, b"still here")


@pytest.mark.parametrize("mode", MODES)
def test_fragments_reach_the_kernels_socket(open_driver: Opener, link: Link, peer: socket.socket, mode: str) -> None:
    tool = open_driver("af_xdp", "--mode", mode, "--flow", FLOW)
    with link.near.udp(PORT) as beside:
        payload = os.urandom(4000)
        peer.send(payload)
        assert beside.recv(65536) == payload
        peer.send(b"small")
        assert peer.recv(100) == b"small"
        assert drain(beside) == []
    assert tool.numbers("counts")["frames"] == 1


@pytest.mark.parametrize("mode", MODES)
def test_datagrams_handed_over_as_one_are_not_taken_for_one(
    open_driver: Opener, link: Link, peer: socket.socket, mode: str
) -> None:
    tool = open_driver("af_xdp", "--mode", mode, "--count", "--flow", FLOW)
    peer.setsockopt(socket.IPPROTO_UDP, 103, 600)  # UDP_SEGMENT
    sent = [bytes([number]) * 600 for number in range(10)]
    with link.near.udp(PORT) as beside:
        peer.send(b"".join(sent))
        kernels: list[bytes] = []
        assert until(lambda: kernels.extend(drain(beside)) or len(kernels) + tool.numbers("counts")["frames"] == 10)
        assert kernels in ([], sent)
        assert tool.numbers("counts")["bad"] == 0


def test_the_mtu_changes(open_driver: Opener, link: Link, peer: socket.socket) -> None:
    tool = open_driver("af_xdp", "--mode", "skb", "--flow", FLOW)
    target = f"{link.far.mac().hex(':')} {NEAR}:{PORT} {FAR}:9"
    for mtu in (1000, 1500, 3000):
        link.near.set_link("mtu", str(mtu))
        expected = min(mtu, 1500)
        assert tool.numbers("caps")["mtu"] == expected
        assert tool.do(f"send {target} {expected - 28 + 5} 1") == "0"  # a tag's bytes are to spare
        assert tool.do(f"send {target} {expected - 28} 1") == "1"


def test_frames_that_are_not_right_stay_with_the_kernel(open_driver: Opener, link: Link, peer: socket.socket) -> None:
    tool = open_driver("af_xdp", "--mode", "skb", "--flow", FLOW)
    good = udp_frame(macs(link), (FAR, 9), (NEAR, PORT), b"x" * 40)
    wrong = [
        udp_frame(macs(link), (FAR, 9), (NEAR, PORT), b"x", version=6),
        udp_frame(macs(link), (FAR, 9), (NEAR, PORT), b"x", header_length=4),
        udp_frame(macs(link), (FAR, 9), (NEAR, PORT), b"", header_length=15),
        udp_frame(macs(link), (FAR, 9), (NEAR, PORT), b"x", fragment=0x2000),
        udp_frame(macs(link), (FAR, 9), (NEAR, PORT), b"x", fragment=1),
        good[:12] + b"\x86\xdd" + good[14:],
        good[:12] + b"\x81\x00\0\5\x81\x00\0\5" + good[12:],  # two tags
        *(good[:size] for size in range(14, 38)),
    ]
    with link.far.raw() as raw:
        for frame in wrong:
            raw.send(frame)
        assert echoes(peer, b"after")
        assert tool.numbers("counts")["frames"] == 1
        # A frame cut off after the ports is the driver's, so a reader of frames has to check their lengths.
        raw.send(good[:40])
        randomly = random.Random(7)
        for _ in range(500):
            raw.send(bytes(randomly.choices(range(256), k=randomly.randrange(14, 100))))
            raw.send(good[:12] + bytes(randomly.choices(range(256), k=60)))
        assert echoes(peer, b"and still")
    assert tool.numbers("counts")["other"] >= 1


# ---- taken ----


@pytest.mark.parametrize("mode", MODES)
def test_ip_options(open_driver: Opener, link: Link, peer: socket.socket, mode: str) -> None:
    tool = open_driver("af_xdp", "--mode", mode, "--flow", FLOW)
    peer.setsockopt(socket.IPPROTO_IP, socket.IP_OPTIONS, b"\x01" * 12)
    assert echoes(peer, b"with options")
    peer.setsockopt(socket.IPPROTO_IP, socket.IP_OPTIONS, b"\x01" * 40)
    assert echoes(peer, b"with all options")
    assert tool.numbers("counts")["options"] == 2


def test_the_flow_of_one_connection(open_driver: Opener, link: Link, peer: socket.socket) -> None:
    open_driver("af_xdp", "--flow", f"{FLOW}:{FAR}:{peer.getsockname()[1]}")
    with link.near.udp(PORT) as beside, link.far.udp() as other:
        other.sendto(b"not of the flow", (NEAR, PORT))
        assert beside.recv(100) == b"not of the flow"
        assert echoes(peer, b"of the flow")
        assert drain(beside) == []


def test_any_local_address_and_multicast(open_driver: Opener, link: Link, peer: socket.socket) -> None:
    tool = open_driver("af_xdp", "--count", "--flow", f"udp:0.0.0.0:{PORT}", "--flow", "udp:239.1.2.3:7001")
    with link.near.udp(7001, "239.1.2.3") as member, link.far.udp() as sender:
        request = socket.inet_aton("239.1.2.3") + socket.inet_aton(NEAR)
        member.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, request)
        sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(FAR))
        for number in range(10):
            sender.sendto(bytes([number]), ("239.1.2.3", 7001))
        peer.send(b"unicast")
        assert until(lambda: tool.numbers("counts")["frames"] == 11)
        assert drain(member) == []


@pytest.mark.parametrize("link", [{"queues": 4}], indirect=True)
@pytest.mark.parametrize("mode", MODES)
def test_all_receive_queues(open_driver: Opener, link: Link, mode: str) -> None:
    tool = open_driver("af_xdp", "--mode", mode, "--flow", FLOW)
    assert "4 queues" in tool.mode
    with link.near.udp(PORT) as beside:
        for number in range(40):
            with link.far.udp() as sender:
                sender.connect((NEAR, PORT))
                assert echoes(sender, bytes([number]))
        assert drain(beside) == []
    assert tool.numbers("stats")["rx_frames"] == 40


@pytest.mark.parametrize("link", [{"queues": 2}], indirect=True)
def test_one_receive_queue_of_several(open_driver: Opener, link: Link) -> None:
    with pytest.raises(OpenError) as caught:
        open_driver("af_xdp", "--queue", "2")
    assert caught.value.errno == errno.EINVAL
    assert "2 receive queue(s)" in caught.value.message
    tool = open_driver("af_xdp", "--count", "--queue", "1", "--flow", FLOW)
    assert tool.numbers("caps")["queue"] == 1
    with link.near.udp(PORT) as beside:
        for _ in range(40):
            with link.far.udp() as sender:
                sender.sendto(b"by some queue", (NEAR, PORT))
        # Frames of the other queue are the kernel's.
        kernels = []
        assert until(lambda: kernels.extend(drain(beside)) or tool.numbers("counts")["frames"] + len(kernels) == 40)
        assert tool.numbers("counts")["frames"] > 0


@pytest.mark.parametrize("link", [{}], indirect=True)
def test_jumbo_frames_in_pieces(open_driver: Opener, link: Link) -> None:
    link.set_mtu(9000)
    tool = open_driver("af_xdp", "--mode", "native", "--flow", FLOW)
    assert "pieces" in tool.mode
    assert tool.numbers("caps")["mtu"] == 9000
    with link.far.udp() as peer:
        peer.connect((NEAR, PORT))
        for size in (1, 3700, 3800, 4054, 4055, 8000, 8972):
            assert echoes(peer, os.urandom(size)), size
        for number in range(600):
            assert echoes(peer, struct.pack("!I", number) * 2000)


def test_a_peer_with_a_large_mtu_does_not_prevent_native_mode(
    open_driver: Opener, link: Link, peer: socket.socket
) -> None:
    link.far.set_link("mtu", "9000")
    tool = open_driver("af_xdp", "--flow", FLOW)
    assert tool.mode.startswith("native")
    assert "merged segments" in tool.mode
    for size in (1, 1000, 1472):
        assert echoes(peer, os.urandom(size)), size


def test_a_peer_with_a_large_mtu_in_skb_mode(open_driver: Opener, link: Link, peer: socket.socket) -> None:
    link.far.set_link("mtu", "9000")
    assert open_driver("af_xdp", "--mode", "skb", "--flow", FLOW).mode.startswith("skb")
    for size in (1, 1000, 1472):
        assert echoes(peer, os.urandom(size)), size


def test_a_large_mtu_in_skb_mode_works_or_says_why_not(open_driver: Opener, link: Link) -> None:
    link.set_mtu(9000)
    try:
        open_driver("af_xdp", "--mode", "skb", "--flow", FLOW)
    except OpenError as error:
        assert "MTU" in error.message
        return
    with link.far.udp() as peer:
        peer.connect((NEAR, PORT))
        for size in (1, 3800, 8000, 8972):
            assert echoes(peer, os.urandom(size)), size


# ---- checksums ----


@pytest.mark.parametrize("mode", MODES)
def test_sums_left_to_hardware_are_told_from_wrong_ones(
    open_driver: Opener, link: Link, peer: socket.socket, mode: str
) -> None:
    tool = open_driver("af_xdp", "--mode", mode, "--flow", FLOW)
    link.set_offload(ETHTOOL_STXCSUM, True)
    for size in (0, 5, 1000):
        assert echoes(peer, b"p" * size)
    assert tool.numbers("counts")["partial"] == 3
    link.set_offload(ETHTOOL_STXCSUM, False)
    assert echoes(peer, b"full sum")
    peer.setsockopt(socket.SOL_SOCKET, 11, 1)  # SO_NO_CHECK
    assert echoes(peer, b"no sum")
    with link.far.raw() as raw:
        raw.send(udp_frame(macs(link), (FAR, 9), (NEAR, PORT), b"wrong sum", udp_checksum=0x1234))
    assert until(lambda: tool.numbers("counts")["bad"] == 1)
    counts = tool.numbers("counts")
    assert (counts["partial"], counts["full"], counts["none"], counts["bad"]) == (3, 1, 1, 1)


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
    drop_capabilities(12, 21, 38, 39)  # net_admin, sys_admin, perfmon, bpf


def without_raw() -> None:
    drop_capabilities(13)


def little_memory() -> None:
    resource.setrlimit(resource.RLIMIT_MEMLOCK, (65536, 65536))
    drop_capabilities(CAP_IPC_LOCK, CAP_SYS_RESOURCE)


def memory_to_raise() -> None:
    resource.setrlimit(resource.RLIMIT_MEMLOCK, (65536, resource.getrlimit(resource.RLIMIT_MEMLOCK)[1]))
    drop_capabilities(CAP_IPC_LOCK, CAP_SYS_RESOURCE)


def drop_capabilities(*capabilities: int) -> None:
    """Drop capabilities in a process that is about to be executed."""
    for capability in capabilities:
        assert ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) == 0


def some_memory() -> None:
    resource.setrlimit(resource.RLIMIT_MEMLOCK, (4 << 20, 4 << 20))
    drop_capabilities(CAP_IPC_LOCK, CAP_SYS_RESOURCE)


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
