"""The af_xdp driver with the kernel at the other end of a veth pair: the frames that it takes, and the others."""

from __future__ import annotations

import errno
import os
import random
import socket
import struct

import pytest
from af_xdp_flow import FLOW, MODES, PORT, echoes, until
from harness.frames import checksum, udp_frame
from harness.link import ETHTOOL_STXCSUM, FAR, INTERFACE, NEAR, Link, drain
from tool import Opener, OpenError


def macs(link: Link) -> tuple[bytes, bytes]:
    return link.near.mac(), link.far.mac()


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
