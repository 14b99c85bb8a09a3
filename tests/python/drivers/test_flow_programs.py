"""Frames that the eBPF programs of af_xdp and packet take, and frames that they leave to the kernel."""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from harness.frames import udp_frame
from harness.link import FAR, INTERFACE, NEAR, Link, drain
from harness.tags import SO_MARK, tagged_aside
from harness.waiting import until
from tool import Opener, OpenError, Programs, Tool

PORT = 5300
FLOW = f"udp:{NEAR}:{PORT}"
GROUP = "239.1.2.3"
GROUP_MAC = bytes.fromhex("01005e010203")
BROADCAST_MAC = b"\xff" * 6
DIRECTED = "198.18.7.255"
SEES_PORTS = 64
ETHTOOL_SFLAGS = 0x26
PR_CAPBSET_DROP, CAP_SYS_ADMIN = 24, 21
CLONE_NEWNS, MNT_DETACH, MS_REC, MS_PRIVATE = 0x20000, 2, 0x4000, 0x40000

pytestmark = pytest.mark.timeout(60)
libc = ctypes.CDLL(None, use_errno=True)


@dataclass
class Bench:
    """A driver that counts frames on the near end, and a raw socket that sends them from the far end."""

    link: Link
    tool: Tool
    raw: socket.socket

    @property
    def taken(self) -> int:
        return self.tool.numbers("counts")["frames"]

    def frame(self, mac: bytes | None = None, to: str = NEAR, tag: bytes = b"") -> bytes:
        macs = (mac or self.link.near.mac(), self.link.far.mac())
        data = udp_frame(macs, (FAR, 777), (to, PORT), b"payload")
        return data[:12] + tag + data[12:]

    def takes(self, frame: bytes) -> bool:
        """Return whether the driver takes the frame; a frame that it surely takes is sent after it."""
        before = self.taken
        self.raw.send(frame)
        self.raw.send(self.frame())
        deadline = time.monotonic() + 2
        while (taken := self.taken - before) == 0 and time.monotonic() < deadline:
            time.sleep(0.005)
        time.sleep(0.005)
        taken = self.taken - before
        assert taken in (1, 2)
        return taken == 2


KINDS = [("af_xdp", "native"), ("af_xdp", "skb"), ("packet", "auto")]


@pytest.fixture(params=KINDS, ids=lambda kind: "-".join(kind))
def kind(request: pytest.FixtureRequest) -> tuple[str, str]:
    chosen: tuple[str, str] = request.param
    return chosen


@pytest.fixture
def bench(kind: tuple[str, str], link: Link, open_driver: Opener) -> Iterator[Bench]:
    tool = open_driver(kind[0], "--mode", kind[1], "--count", "--flow", FLOW)
    with link.far.raw() as raw:
        yield Bench(link, tool, raw)


def tag(tci: int, kind: int = 0x8100) -> bytes:
    return struct.pack("!HH", kind, tci)


# ---- addresses ----


def test_frames_to_another_station(bench: Bench) -> None:
    mac = bench.link.near.mac()
    others = [mac[:5] + bytes([mac[5] ^ 1]), bytes([mac[0] ^ 4]) + mac[1:], b"\2" + os.urandom(5)]
    bench.link.near.set_link("promisc", "on")
    for other in others:
        assert not bench.takes(bench.frame(other))
    assert bench.takes(bench.frame())


def test_a_hosts_packet_in_a_groups_frame_is_the_kernels(bench: Bench) -> None:
    with bench.link.near.udp(PORT) as kernel:
        for mac in (BROADCAST_MAC, GROUP_MAC):
            assert not bench.takes(bench.frame(mac))
        assert drain(kernel) == [b"payload"] * 2


def test_a_groups_packet_in_a_hosts_frame_is_the_kernels(bench: Bench) -> None:
    membership = socket.inet_aton(GROUP) + socket.inet_aton(NEAR)
    bench.tool.do(f"add udp:{GROUP}:{PORT}")
    with bench.link.near.udp(PORT, GROUP) as member:
        member.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)
        assert not bench.takes(bench.frame(to=GROUP))
        assert drain(member) == [b"payload"]
        assert bench.takes(bench.frame(GROUP_MAC, to=GROUP))
        assert drain(member) == []


def test_broadcasts(bench: Bench) -> None:
    assert not bench.takes(bench.frame(BROADCAST_MAC, to="255.255.255.255"))
    bench.tool.do(f"add udp:255.255.255.255:{PORT}")
    assert bench.takes(bench.frame(BROADCAST_MAC, to="255.255.255.255"))
    bench.tool.do(f"add udp:{DIRECTED}:{PORT}")  # without ",broadcast" it is an ordinary address
    assert not bench.takes(bench.frame(BROADCAST_MAC, to=DIRECTED))
    bench.tool.do(f"del udp:{DIRECTED}:{PORT}")
    bench.tool.do(f"add udp:{DIRECTED}:{PORT},broadcast")
    assert bench.takes(bench.frame(BROADCAST_MAC, to=DIRECTED))
    assert not bench.takes(bench.frame(to=DIRECTED))


def test_a_groups_connected_flow(bench: Bench) -> None:
    bench.tool.do(f"add udp:{GROUP}:{PORT}:{FAR}:777")
    assert bench.takes(bench.frame(GROUP_MAC, to=GROUP))
    assert not bench.takes(bench.frame(to=GROUP))


def test_any_local_address(bench: Bench) -> None:
    flow = f"udp:0.0.0.0:{PORT}"
    assert not bench.takes(bench.frame(to="198.18.7.99"))
    for _ in range(2):
        bench.tool.do(f"add {flow}")
        assert bench.tool.ask(f"add {flow}") == f"error {errno.EEXIST}"
        assert bench.takes(bench.frame(to="198.18.7.99"))
        bench.tool.do(f"del {flow}")
        assert bench.tool.ask(f"del {flow}") == f"error {errno.ENOENT}"
        assert not bench.takes(bench.frame(to="198.18.7.99"))
    bench.tool.do(f"add udp:0.0.0.0:{PORT + 1}")  # one of two
    bench.tool.do(f"add {flow}")
    bench.tool.do(f"del udp:0.0.0.0:{PORT + 1}")
    assert bench.takes(bench.frame(to="198.18.7.99"))


def test_the_mac_address_changes(bench: Bench) -> None:
    old, new = bench.link.near.mac(), bytes.fromhex("0255aa55aa55")
    bench.link.near.set_link("address", new.hex(":"))
    assert until(lambda: new.hex(":") in bench.tool.ask("caps") or bench.tool.mode.startswith("tcx"))
    assert bench.takes(bench.frame(new))
    assert not bench.takes(bench.frame(old))


# ---- VLANs ----


@pytest.mark.parametrize("kind_of_tag", [0x8100, 0x88A8])
def test_tags_in_the_frame(bench: Bench, kind_of_tag: int) -> None:
    with bench.link.near.socket(socket.SOCK_RAW, socket.htons(0x0800), socket.AF_PACKET) as kernel:
        kernel.bind((INTERFACE, 0x0800))
        assert bench.takes(bench.frame(tag=tag(0x6000, kind_of_tag)))  # a priority alone
        assert drain(kernel) == []
        for tci in (10, 4095, 0xE001):
            assert not bench.takes(bench.frame(tag=tag(tci, kind_of_tag)))
        assert len(drain(kernel)) == 3


@pytest.mark.parametrize("second", [0, 10])
@pytest.mark.parametrize("first", [0, 10])
def test_two_tags(bench: Bench, first: int, second: int) -> None:
    for outer in (0x8100, 0x88A8):
        assert not bench.takes(bench.frame(tag=tag(first, outer) + tag(second)))


@pytest.mark.parametrize("kind", [("af_xdp", "native"), ("packet", "auto")], indirect=True, ids=lambda kind: kind[0])
def test_tags_beside_the_frame(bench: Bench) -> None:
    bench.tool.do(f"add udp:{GROUP}:{PORT}")
    kernel = bench.link.near.socket(socket.SOCK_RAW, socket.htons(0x0800), socket.AF_PACKET)
    with kernel, tagged_aside(bench.link.far, 10, 10), tagged_aside(bench.link.far, 11, 0x6000):
        kernel.bind((INTERFACE, 0x0800))
        for frame in (bench.frame(), bench.frame(GROUP_MAC, GROUP)):
            assert send_marked(bench, frame, 0) == (1, 0)
            assert send_marked(bench, frame, 10) == (0, 1)  # of VLAN 10
            assert send_marked(bench, frame, 11) == (1, 0)  # of VLAN 0
        assert send_marked(bench, bench.frame(tag=tag(0)), 11)[0] == 0  # two tags


def send_marked(bench: Bench, frame: bytes, mark: int) -> tuple[int, int]:
    """Return the numbers of frames that the driver and the kernel got."""
    before = bench.taken
    with bench.link.near.socket(socket.SOCK_RAW, socket.htons(0x0800), socket.AF_PACKET) as kernel:
        kernel.bind((INTERFACE, 0x0800))
        bench.raw.setsockopt(socket.SOL_SOCKET, SO_MARK, mark)
        bench.raw.send(frame)
        until(lambda: bench.taken > before, 0.2)
        return bench.taken - before, len(drain(kernel))


def as_a_nic() -> None:
    """Make the interface look like a NIC's to a process that is about to be executed."""
    own_mounts()
    assert libc.mount(b"tmpfs", b"/sys/class/net", b"tmpfs", 0, None) == 0
    os.makedirs(f"/sys/class/net/{INTERFACE}/device")


def own_mounts() -> None:
    assert libc.unshare(CLONE_NEWNS) == 0
    assert libc.mount(None, b"/", None, MS_REC | MS_PRIVATE, None) == 0


def open_as_a_nic(driver_tool: Programs, link: Link, mode: str) -> Tool:
    with link.near.entered():
        return Tool(driver_tool("af_xdp"), link.near, "af_xdp", "--mode", mode, before=as_a_nic, inside=True)


def test_a_nic_that_hides_tags(driver_tool: Programs, link: Link) -> None:
    open_as_a_nic(driver_tool, link, "native").close()  # the open function reports the program
    with pytest.raises(OpenError) as caught:
        open_as_a_nic(driver_tool, link, "skb")
    assert caught.value.errno == errno.EOPNOTSUPP
    assert f"ethtool -K {INTERFACE} rxvlan off" in caught.value.message
    link.near.set_offload(ETHTOOL_SFLAGS, False)
    open_as_a_nic(driver_tool, link, "skb").close()


# ---- ports that other programs bind, too ----


def shared_socket(link: Link, family: int = socket.AF_INET, address: str = NEAR) -> socket.socket:
    made = link.near.socket(family=family)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    made.bind((address, PORT))
    return made


@pytest.mark.parametrize(
    ("family", "address"),
    [(socket.AF_INET, NEAR), (socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")],
    ids=["own address", "any address", "IPv6"],
)
def test_a_watched_flow_until_its_port_is_bound(bench: Bench, family: int, address: str) -> None:
    bench.tool.do(f"del {FLOW}")
    bench.tool.do(f"watch udp {PORT}")
    bench.tool.do(f"add {FLOW},watched={bench.tool.do('changes udp')}")
    assert bench.takes(bench.frame())
    with shared_socket(bench.link, family, address) as kernel:
        assert bench.tool.do("changes udp") == "1"
        before = bench.taken
        for _ in range(3):
            bench.raw.send(bench.frame())
        assert [kernel.recv(100) for _ in range(3)] == [b"payload"] * 3
        assert bench.taken == before
    bench.tool.do(f"renew {FLOW},watched={bench.tool.do('changes udp')}")
    assert bench.takes(bench.frame())


def test_a_port_that_another_process_binds(bench: Bench) -> None:
    bench.tool.do(f"watch udp {PORT}")
    text = f"import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).bind(('{NEAR}', {PORT}))"
    command = ["ip", "netns", "exec", bench.link.near.namespace, sys.executable, "-c", text]
    subprocess.run(command, check=True, timeout=20)
    assert bench.tool.do("changes udp") == "1"
    assert bench.tool.do("changes tcp") == "0"


def test_changes_count_what_is_watched(bench: Bench) -> None:
    tool, link = bench.tool, bench.link
    assert tool.numbers("caps")["flags"] & SEES_PORTS
    shared_socket(link).close()
    assert tool.do("changes udp") == "0"
    for _ in range(2):
        tool.do(f"watch udp {PORT}")
    link.far.udp(PORT).close()  # another namespace's
    with link.near.socket(socket.SOCK_STREAM) as stream:
        stream.bind((NEAR, PORT))  # another protocol's
    link.near.udp(PORT + 1).close()
    assert tool.do("changes udp") == "0"
    shared_socket(link).close()
    tool.do(f"unwatch udp {PORT}")
    shared_socket(link).close()
    assert tool.do("changes udp") == "2"
    tool.do(f"unwatch udp {PORT}")
    shared_socket(link).close()
    assert tool.do("changes udp") == "2"
    assert tool.ask(f"unwatch udp {PORT}") == f"error {errno.ENOENT}"
    assert tool.ask("watch udp 0") == f"error {errno.EINVAL}"
    assert tool.ask("watch icm 7") == f"error {errno.EOPNOTSUPP}"


def test_tcp_ports_are_counted_by_themselves(bench: Bench) -> None:
    bench.tool.do(f"watch tcp {PORT}")
    with bench.link.near.socket(socket.SOCK_STREAM) as stream:
        stream.bind((NEAR, PORT))
    shared_socket(bench.link).close()
    assert (bench.tool.do("changes tcp"), bench.tool.do("changes udp")) == ("1", "0")


def test_renewing(bench: Bench) -> None:
    assert bench.tool.ask(f"renew udp:{NEAR}:{PORT + 1},watched=0") == f"error {errno.ENOENT}"
    bench.tool.do(f"renew {FLOW},watched=7")  # the count differs, so the flow is not ours
    with bench.link.near.udp(PORT) as kernel:
        bench.raw.send(bench.frame())
        assert kernel.recv(100) == b"payload"
    bench.tool.do(f"renew {FLOW}")
    assert bench.takes(bench.frame())


@pytest.mark.parametrize("watched", ["", ",watched=0"])
def test_a_flow_of_the_kernels(bench: Bench, watched: str) -> None:
    """The flow is left to the kernel, although its port is ours."""
    exact = f"{FLOW}:{FAR}:777"
    bench.tool.do(f"renew {FLOW}{watched}")
    bench.tool.do(f"add {exact},kernel")
    assert bench.tool.ask(f"add {exact}") == f"error {errno.EEXIST}"
    with bench.link.near.udp(PORT) as kernel:
        bench.raw.send(bench.frame())
        assert kernel.recv(100) == b"payload"
    bench.tool.do(f"del {exact}")
    assert bench.takes(bench.frame())


def test_all_goes_on_without_privileges(kind: tuple[str, str], driver_tool: Programs, link: Link) -> None:
    tool = Tool(driver_tool(kind[0]), link.near, kind[0], "--mode", kind[1], "--count", before=lambda: None)
    try:
        tool.do("user 65534")
        tool.do(f"watch udp {PORT}")
        tool.do(f"add {FLOW},watched=0")
        with link.far.raw() as raw, shared_socket(link) as kernel:
            bench = Bench(link, tool, raw)
            raw.send(bench.frame())
            assert kernel.recv(100) == b"payload"
            assert tool.do("changes udp") == "1"
            tool.do(f"renew {FLOW},watched=1")
            assert bench.takes(bench.frame())
        tool.close()
    finally:
        tool.process.kill()
        tool.process.wait()


def without_cgroups() -> None:
    own_mounts()
    with open("/proc/self/mountinfo", encoding="ascii") as file:
        points = [line.split()[4] for line in file if " - cgroup2 " in line]
    for point in points:
        assert libc.umount2(point.encode(), MNT_DETACH) == 0
    assert libc.prctl(PR_CAPBSET_DROP, CAP_SYS_ADMIN, 0, 0, 0) == 0


def test_where_ports_cannot_be_watched(kind: tuple[str, str], driver_tool: Programs, link: Link) -> None:
    with link.near.entered():
        tool = Tool(
            driver_tool(kind[0]),
            link.near,
            *(kind[0], "--mode", kind[1], "--count", "--flow", FLOW),
            before=without_cgroups,
            inside=True,
        )
    try:
        assert tool.mode.endswith("ports unwatched")
        assert not tool.numbers("caps")["flags"] & SEES_PORTS
        assert tool.ask(f"watch udp {PORT}") == f"error {errno.EOPNOTSUPP}"
        assert tool.do("changes udp") == "0"
        with link.far.raw() as raw:
            bench = Bench(link, tool, raw)
            assert bench.takes(bench.frame())
        tool.close()
    finally:
        tool.process.kill()
        tool.process.wait()
