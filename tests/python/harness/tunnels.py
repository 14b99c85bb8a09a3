"""A tunnel over the link: a device with XDP in generic mode only, whose frames contain their VLAN tags."""

from __future__ import annotations

from harness.link import INTERFACE, Link, Side

TUNNEL = "vx0"
OUTER_NEAR, OUTER_FAR = "198.18.8.1", "198.18.8.2"


def put_tunnel(link: Link) -> str:
    """Move the addresses of both ends to a vxlan device, and return its name."""
    for side, local, remote in ((link.near, OUTER_NEAR, OUTER_FAR), (link.far, OUTER_FAR, OUTER_NEAR)):
        side.ip("address", "flush", "dev", INTERFACE)
        side.ip("address", "add", f"{local}/24", "dev", INTERFACE)
        where = ("local", local, "remote", remote, "dstport", "4789")
        side.ip("link", "add", "name", TUNNEL, "type", "vxlan", "id", "7", *where)
        _settle(side)
    return TUNNEL


def _settle(side: Side) -> None:
    side.ip("address", "add", f"{side.address}/24", "dev", TUNNEL)
    side.ip("link", "set", TUNNEL, "up")
