"""VLAN tags that the kernel removes from a frame before the interface receives it: XDP programs do not see them."""

from __future__ import annotations

import errno
import socket
import struct
import time

import pytest
from harness.frames import udp_frame
from harness.link import FAR, INTERFACE, NEAR, Link, drain
from harness.tags import SO_MARK, tagged_aside
from harness.tunnels import TUNNEL, put_tunnel
from tool import Opener, OpenError, Tool

PORT = 5300
UNSEEN = "VLAN tags unseen"
#: Devices on the near end, which get the frames it received.
ABOVE = ("macvlan", "bridge")

pytestmark = pytest.mark.timeout(60)


def put(link: Link, kind: str) -> str:
    """Make a device of `kind` on the near end, with its address; return its name."""
    if kind == "macvlan":
        link.near.ip("link", "add", "link", INTERFACE, "name", "above0", "type", kind, "mode", "bridge")
    else:
        link.near.ip("link", "add", "name", "above0", "type", kind)
        link.near.set_link("master", "above0")
    link.near.ip("address", "flush", "dev", INTERFACE)
    link.near.ip("address", "add", f"{NEAR}/24", "dev", "above0")
    link.near.ip("link", "set", "above0", "up")
    return "above0"


def frame(macs: tuple[bytes, bytes], vlan: int | None) -> bytes:
    data = udp_frame(macs, (FAR, 777), (NEAR, PORT), b"payload")
    return data if vlan is None else data[:12] + struct.pack("!HH", 0x8100, vlan) + data[12:]


def taken(tool: Tool, wanted: int) -> int:
    """Return the number of frames that the driver got, once there are `wanted` or after a second."""
    end = time.monotonic() + 1
    while (frames := tool.numbers("counts")["frames"]) < wanted and time.monotonic() < end:
        time.sleep(0.005)
    time.sleep(0.02)
    return max(frames, tool.numbers("counts")["frames"])


@pytest.mark.parametrize("kind", ABOVE)
def test_generic_mode_is_not_chosen_where_tags_are_unseen(link: Link, open_driver: Opener, kind: str) -> None:
    """The packet driver sees the tags, and the loop chooses it next."""
    name = put(link, kind)
    with pytest.raises(OpenError) as caught:
        open_driver("af_xdp", interface=name)
    assert caught.value.errno == errno.EOPNOTSUPP
    assert "VLAN tags" in caught.value.message and "packet driver" in caught.value.message
    tool = open_driver("packet", "--count", "--flow", f"udp:{NEAR}:{PORT}", interface=name)
    macs = (link.near.mac(name), link.far.mac())
    with link.far.raw() as raw, link.near.udp(PORT) as kernel:
        kernel.settimeout(0.2)
        raw.send(frame(macs, 10))
        raw.send(frame(macs, 0))
        raw.send(frame(macs, None))
        assert taken(tool, 2) == 2
        with pytest.raises(TimeoutError):
            kernel.recv(100)


@pytest.mark.parametrize("kind", ABOVE)
def test_a_mode_that_was_named_says_what_it_does_not_see(link: Link, open_driver: Opener, kind: str) -> None:
    name = put(link, kind)
    tool = open_driver("af_xdp", "--mode", "skb", "--count", "--flow", f"udp:{NEAR}:{PORT}", interface=name)
    assert UNSEEN in tool.mode
    with link.far.raw() as raw:
        raw.send(frame((link.near.mac(name), link.far.mac()), 10))
        assert taken(tool, 1) == 1  # the kernel has removed the tag, so the driver cannot see it in this mode


def test_a_veth_pair_tells_in_native_mode(link: Link, open_driver: Opener) -> None:
    assert UNSEEN not in open_driver("af_xdp").mode


def test_a_veth_pair_in_generic_mode(link: Link, open_driver: Opener) -> None:
    """The peer's tags may be outside the frame, and an offload setting of the near end does not put them in."""
    assert UNSEEN in open_driver("af_xdp", "--mode", "skb").mode


@pytest.mark.parametrize("aside", [False, True], ids=["tag in the frame", "tag aside"])
def test_a_tunnels_frames_have_their_tags_inside(link: Link, open_driver: Opener, aside: bool) -> None:
    tool = open_driver("af_xdp", "--count", "--flow", f"udp:{NEAR}:{PORT}", interface=put_tunnel(link))
    assert tool.mode.startswith("skb") and UNSEEN not in tool.mode
    macs = (link.near.mac(TUNNEL), link.far.mac(TUNNEL))
    kernel = link.near.socket(socket.SOCK_RAW, socket.htons(0x0003), socket.AF_PACKET)
    sender = link.far.socket(socket.SOCK_RAW, 0, socket.AF_PACKET)
    with kernel, sender, tagged_aside(link.far, 10, 10, TUNNEL):
        kernel.bind((TUNNEL, 0x0003))
        sender.bind((TUNNEL, 0))
        sender.setsockopt(socket.SOL_SOCKET, SO_MARK, 10 if aside else 0)
        sender.send(frame(macs, None if aside else 10))
        sender.setsockopt(socket.SOL_SOCKET, SO_MARK, 0)
        sender.send(frame(macs, None))
        assert taken(tool, 1) == 1
        assert sum(each.endswith(b"payload") for each in drain(kernel)) == 1
