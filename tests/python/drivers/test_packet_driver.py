"""The packet driver on one end of a veth pair, and the kernel's sockets on the other and beside it."""

from __future__ import annotations

import errno
import os
import random
import signal
import socket
import struct
import threading
import time

import pytest
from harness.frames import checksum
from harness.link import ETHTOOL_STXCSUM, FAR, INTERFACE, NEAR, Link, drain
from packet_flow import FLOW, OTHER_PORT, PORT, SEES_PORTS, SHARES, echoed, flow_frame, wait_for
from tool import Opener, Tool

GROUP = "239.255.7.1"

PACKET_AUXDATA, SOL_PACKET = 8, 263

SO_RCVBUFFORCE = 33

SOL_UDP, UDP_SEGMENT = 17, 103

IP_MULTICAST_IF, IP_ADD_MEMBERSHIP = 32, 35

pytestmark = pytest.mark.timeout(60)


def counts(tool: Tool, least: int) -> dict[str, int]:
    """Return the tool's counts once `least` frames have arrived."""
    return wait_for(lambda: tool.numbers("counts"), "frames", least)


# ---- datagrams both ways ----


@pytest.mark.parametrize("sleeping", [True, False], ids=["sleeping", "spinning"])
@pytest.mark.parametrize("offload", [True, False], ids=["partial", "full"])
def test_echo(link: Link, open_driver: Opener, offload: bool, sleeping: bool) -> None:
    link.set_offload(ETHTOOL_STXCSUM, offload)
    sizes = (0, 1, 17, 64, 65, 512, 1471, 1472)
    tool = open_driver("packet", "--flow", FLOW, *([] if sleeping else ["--spin"]))
    assert tool.mode.startswith("tcx")
    with link.far.udp() as made:
        for size in sizes:
            data = os.urandom(size)
            assert echoed(made, data) == data
    taken = tool.numbers("counts")
    assert taken["bad"] == taken["other"] == taken["refused"] == 0
    assert taken["returned"] == taken["partial" if offload else "full"] == len(sizes)
    assert tool.numbers("caps")["flags"] == SEES_PORTS


def test_sends_to_a_kernel_socket(link: Link, open_driver: Opener) -> None:
    tool = open_driver("packet")
    with link.far.udp(PORT) as made:
        mac = link.far.mac().hex(":")
        for size in (0, 4, 18, 1472):
            assert tool.do(f"send {mac} {NEAR}:{PORT} {FAR}:{PORT} {size} 40") == "40"
            for number in range(40):
                data, sender = made.recvfrom(2048)
                assert (len(data), sender) == (size, (NEAR, PORT))
                assert size < 4 or int.from_bytes(data[:4], "big") == number
    stats = tool.numbers("stats")
    assert stats["tx_frames"] == 160
    assert stats["tx_errors"] == 0


@pytest.mark.parametrize("rx_frames", [0, 64])
def test_twenty_thousand_frames_with_ring_wrap(link: Link, open_driver: Opener, rx_frames: int) -> None:
    total, window = 20_000, 16
    tool = open_driver("packet", "--flow", FLOW, "--rx-frames", str(rx_frames))
    with link.far.udp() as made:
        made.connect((NEAR, PORT))
        for start in range(0, total, window):
            for number in range(start, start + window):
                made.send(number.to_bytes(4, "big") * (1 + number % 50))
            for number in range(start, start + window):
                assert made.recv(2048) == number.to_bytes(4, "big") * (1 + number % 50)
    stats = tool.numbers("stats")
    assert stats["rx_frames"] == stats["tx_frames"] == total
    assert stats["rx_dropped"] == stats["rx_invalid"] == stats["tx_errors"] == 0


def test_jumbo_frames(link: Link, open_driver: Opener) -> None:
    link.set_mtu(9000)
    tool = open_driver("packet", "--flow", FLOW)
    assert tool.numbers("caps")["mtu"] == 9000
    with link.far.udp() as made:
        for size in (1473, 4096, 8971, 8972):
            data = os.urandom(size)
            assert echoed(made, data) == data
    assert tool.numbers("counts")["bad"] == 0


def test_ip_options(link: Link, open_driver: Opener) -> None:
    tool = open_driver("packet", "--flow", FLOW)
    with link.far.udp() as made:
        made.setsockopt(socket.IPPROTO_IP, socket.IP_OPTIONS, b"\x01" * 11 + b"\x00")
        assert echoed(made, b"optional") == b"optional"
    assert tool.numbers("counts")["options"] == 1


def test_vlan_tag_is_put_back(link: Link, open_driver: Opener) -> None:
    tci = 0x6000  # a priority in VLAN 0
    tag = struct.pack(">HH", 0x8100, tci)
    tool = open_driver("packet", "--flow", FLOW)
    with link.far.raw() as raw:
        raw.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
        raw.send(flow_frame(link, b"tagged", tag))
        while True:
            data, extra, _, sender = raw.recvmsg(2048, 256)
            if data.endswith(b"tagged") and sender[2] != socket.PACKET_OUTGOING:
                break
    status, *_, taken_tci, _ = struct.unpack("=IIIHHHH", extra[0][2][:20])
    assert status & 0x10  # TP_STATUS_VLAN_VALID: the answer was tagged, too
    assert taken_tci == tci
    assert tool.numbers("counts")["tagged"] == 1


def test_two_drivers_share_an_interface(link: Link, open_driver: Opener) -> None:
    first = open_driver("packet", "--flow", FLOW)
    second = open_driver("packet", "--flow", f"udp:{NEAR}:{OTHER_PORT}")
    with link.far.udp() as made:
        assert echoed(made, b"one") == b"one"
        made.sendto(b"two", (NEAR, OTHER_PORT))
        assert made.recv(10) == b"two"
    assert first.numbers("stats")["rx_frames"] == second.numbers("stats")["rx_frames"] == 1


# ---- frames that the kernel keeps, and frames that it does not get ----


def test_kernel_does_not_answer_for_a_flow(link: Link, open_driver: Opener) -> None:
    tool = open_driver("packet", "--count", "--flow", FLOW)
    with link.far.udp() as made:
        made.connect((NEAR, PORT))
        made.settimeout(0.2)
        for _ in range(3):
            made.send(b"nobody but the driver is here")
        with pytest.raises(TimeoutError):
            made.recv(10)
    assert counts(tool, 3)["frames"] == 3
    with link.far.udp() as made:
        made.connect((NEAR, OTHER_PORT))
        made.send(b"nobody at all is here")
        with pytest.raises(ConnectionRefusedError):
            made.recv(10)


def test_kernel_goes_on(link: Link, open_driver: Opener) -> None:
    """Other ports, ARP, ping and TCP, before and after a flow's own traffic."""
    tool = open_driver("packet", "--flow", FLOW)
    listener = link.near.socket(socket.SOCK_STREAM)
    with listener, link.near.udp(OTHER_PORT) as other, link.far.udp() as made:
        listener.bind((NEAR, PORT))  # the same number, of TCP
        listener.listen()
        for _ in range(2):
            link.far.ip("neigh", "flush", "dev", INTERFACE)
            made.sendto(b"other", (NEAR, OTHER_PORT))
            data, sender = other.recvfrom(10)
            other.sendto(data, sender)
            assert made.recv(10) == b"other"
            with link.far.socket(socket.SOCK_STREAM) as client:
                client.connect((NEAR, PORT))
                server, _ = listener.accept()
                with server:
                    client.sendall(bytes(200_000))
                    left = 200_000
                    while left:
                        left -= len(server.recv(left))
            ping(link)
            assert echoed(made, b"flow") == b"flow"
    taken = tool.numbers("counts")
    assert taken["frames"] == taken["returned"] == 2  # no other frame has come into the ring


def ping(link: Link) -> None:
    request = struct.pack(">BBHHH", 8, 0, 0, 77, 1)
    request = request[:2] + struct.pack(">H", checksum(request)) + request[4:]
    with link.far.socket(socket.SOCK_RAW, socket.IPPROTO_ICMP) as made:
        made.sendto(request, (NEAR, 0))
        while True:
            answer = made.recv(200)[20:]
            if answer[0] == 0:
                assert answer[4:8] == request[4:8]
                return


def test_flow_of_one_remote_side(link: Link, open_driver: Opener) -> None:
    with link.far.udp(7001) as chosen, link.far.udp(7002) as other, link.near.udp(PORT) as kernel:
        tool = open_driver("packet", "--flow", f"udp:{NEAR}:{PORT}:{FAR}:7001")
        assert echoed(chosen, b"mine") == b"mine"
        other.sendto(b"the kernel's", (NEAR, PORT))
        assert kernel.recv(100) == b"the kernel's"
        assert tool.numbers("stats")["rx_frames"] == 1


def test_fragments_reach_the_kernel(link: Link, open_driver: Opener) -> None:
    tool = open_driver("packet", "--flow", FLOW)
    with link.near.udp(PORT) as kernel, link.far.udp() as made:
        for size in (1473, 4000, 20_000):
            data = os.urandom(size)
            made.sendto(data, (NEAR, PORT))
            assert kernel.recv(65536) == data
        assert echoed(made, b"whole") == b"whole"
        assert not drain(kernel)
    assert tool.numbers("stats")["rx_frames"] == 1


def test_segmentation_offload_is_left_to_the_kernel(link: Link, open_driver: Opener) -> None:
    """Five datagrams that arrive as one frame of ordinary length are not taken for one datagram."""
    tool = open_driver("packet", "--count", "--flow", FLOW)
    with link.near.udp(PORT) as kernel, link.far.udp() as made:
        made.setsockopt(SOL_UDP, UDP_SEGMENT, 100)
        made.sendto(bytes(range(250)) * 2, (NEAR, PORT))
        time.sleep(0.05)
        assert [len(data) for data in drain(kernel)] + [100] * tool.numbers("counts")["frames"] == [100] * 5
    assert tool.numbers("stats")["rx_invalid"] == 0


def test_multicast(link: Link, open_driver: Opener) -> None:
    """Incoming datagrams go to the driver; datagrams that this machine sends to its own group stay within the
    kernel."""
    membership = socket.inet_aton(GROUP) + socket.inet_aton(NEAR)
    tool = open_driver("packet", "--count", "--flow", f"udp:{GROUP}:{PORT}")
    with link.near.udp(PORT, GROUP) as member, link.far.udp() as far, link.near.udp() as near:
        member.setsockopt(socket.IPPROTO_IP, IP_ADD_MEMBERSHIP, membership)
        far.setsockopt(socket.IPPROTO_IP, IP_MULTICAST_IF, socket.inet_aton(FAR))
        near.setsockopt(socket.IPPROTO_IP, IP_MULTICAST_IF, socket.inet_aton(NEAR))
        far.sendto(b"from afar", (GROUP, PORT))
        assert counts(tool, 1)["frames"] == 1
        assert not drain(member)
        near.sendto(b"from here", (GROUP, PORT))
        assert member.recv(100) == b"from here"
        assert tool.numbers("counts")["frames"] == 1


def test_shared_mode(link: Link, open_driver: Opener) -> None:
    tool = open_driver("packet", "--mode", "shared", "--count", "--flow", FLOW)
    assert tool.mode.startswith("shared")
    assert tool.numbers("caps")["flags"] == SHARES | SEES_PORTS
    with link.near.udp(PORT) as kernel, link.far.udp() as made:
        made.sendto(b"both", (NEAR, PORT))
        assert kernel.recv(10) == b"both"
    assert counts(tool, 1)["frames"] == 1


# ---- filters ----


def test_filter_errors(open_driver: Opener) -> None:
    tool = open_driver("packet")
    assert tool.ask(f"add {FLOW}") == "ok"
    assert tool.ask(f"add {FLOW}") == f"error {errno.EEXIST}"
    assert tool.ask(f"del {FLOW}") == "ok"
    assert tool.ask(f"del {FLOW}") == f"error {errno.ENOENT}"
    assert tool.ask(f"add icm:{NEAR}:{PORT}") == f"error {errno.EOPNOTSUPP}"


def test_filters_change_under_traffic(link: Link, open_driver: Opener) -> None:
    """Each datagram reaches the driver or the kernel: they read the map at slightly different moments."""
    tool = open_driver("packet", "--count")
    changes, sent, stop = 300, 0, threading.Event()
    with link.near.udp(PORT) as kernel, link.far.udp() as made:
        kernel.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 32 << 20)

        def send() -> None:
            nonlocal sent
            while not stop.is_set():
                made.sendto(b"which way?", (NEAR, PORT))
                sent += 1
                time.sleep(0.0001)

        sender = threading.Thread(target=send)
        sender.start()
        try:
            for _ in range(changes):
                tool.do(f"add {FLOW}")
                tool.do(f"del {FLOW}")
        finally:
            stop.set()
            sender.join()
        time.sleep(0.05)
        received = len(drain(kernel))
        taken = tool.numbers("counts")
        assert abs(sent - received - taken["frames"]) <= changes // 10
        assert tool.numbers("stats")["rx_dropped"] == 0
        tool.do(f"add {FLOW}")
        made.sendto(b"this way", (NEAR, PORT))
        assert counts(tool, taken["frames"] + 1)["frames"] == taken["frames"] + 1
        assert not drain(kernel)


# ---- losses ----


def test_frame_longer_than_a_slot(link: Link, open_driver: Opener) -> None:
    tool = open_driver("packet", "--frame-size", "512", "--flow", FLOW)
    assert tool.numbers("caps")["mtu"] < 512
    with link.far.udp() as made:
        made.sendto(bytes(1000), (NEAR, PORT))  # comes whole, beside the ring
        assert echoed(made, b"short") == b"short"
    stats = tool.numbers("stats")
    assert (stats["rx_invalid"], stats["rx_frames"], stats["rx_dropped"]) == (0, 2, 0)
    assert stats["rx_bytes"] == 42 + 1000 + 42 + 5


def test_full_ring_is_counted(link: Link, open_driver: Opener) -> None:
    tool = open_driver("packet", "--rx-frames", "64", "--flow", FLOW)
    with link.far.udp() as made:
        assert echoed(made, b"before") == b"before"
        tool.process.send_signal(signal.SIGSTOP)
        for _ in range(300):
            made.sendto(b"too many", (NEAR, PORT))
        tool.process.send_signal(signal.SIGCONT)
        wait_for(lambda: tool.numbers("stats"), "rx_frames", 65)
        drain(made)
        assert echoed(made, b"after") == b"after"
    stats = tool.numbers("stats")
    assert stats["rx_frames"] + stats["rx_dropped"] == 302
    assert stats["rx_dropped"] == 300 - 64


def test_frame_that_has_become_too_long_to_send(link: Link, open_driver: Opener) -> None:
    tool = open_driver("packet", "--flow", FLOW)
    mac = link.far.mac().hex(":")
    link.near.set_link("mtu", "600")
    assert tool.do(f"send {mac} {NEAR}:{PORT} {FAR}:{PORT} 1000 3") == "3"
    assert tool.numbers("stats")["tx_errors"] == 3
    with link.far.udp() as made:
        assert echoed(made, b"short") == b"short"


@pytest.mark.parametrize("seed", range(3))
def test_rubbish_does_no_harm(link: Link, open_driver: Opener, seed: int) -> None:
    """Frames of the flow, cut off anywhere, with any byte wrong, and fragments of it."""
    chance = random.Random(seed)
    tool = open_driver("packet", "--flow", FLOW)
    tags = (b"", struct.pack(">HH", 0x8100, 5), struct.pack(">HHHH", 0x88A8, 5, 0x8100, 6))
    whole = [flow_frame(link, b"payload", tag, part) for tag in tags for part in (0, 0x2000, 0x00B9)]
    with link.far.raw() as raw, link.far.udp() as made:
        for _ in range(2000):
            data = bytearray(chance.choice(whole))
            for _ in range(chance.randrange(3)):
                data[chance.randrange(12, len(data))] = chance.randrange(256)
            raw.send(data[: chance.randrange(14, len(data) + 1)])
        assert echoed(made, b"still here") == b"still here"
    assert tool.numbers("stats")["rx_dropped"] == 0
