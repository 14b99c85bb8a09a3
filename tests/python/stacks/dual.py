"""A loop on a link with addresses of both families, and sockets that serve both."""

from __future__ import annotations

import socket
from typing import Any

import wire
from harness.link import FAR, INTERFACE, Link
from harness.onlink import OnLink

import sfloop

NEAR6, FAR6 = "fd00:7::1", "fd00:7::2"


class Program(OnLink):
    """A loop on the near end, whose interface has addresses of both families."""

    def __init__(self, link: Link, kind: str, **options: Any) -> None:
        self.link = link
        self.driver = None if kind == "kernel" else kind
        given: dict[str, Any] = {"driver": kind, "interface": INTERFACE} if self.driver else {"stack": "kernel"}
        for side, address in ((link.near, NEAR6), (link.far, FAR6)):
            side.ip("address", "add", f"{address}/64", "dev", INTERFACE, "nodad")
        with link.near.entered():
            self.loop = sfloop.Loop(sfloop.Options(**given, **options))

    def frames(self) -> tuple[int, int]:
        """The frames that the driver has received and sent. (0, 0) on the kernel stack."""
        driver = self.counters()["driver"] if self.driver else {"rx_frames": 0, "tx_frames": 0}
        return driver["rx_frames"], driver["tx_frames"]

    def carried(self, transport: Any, received: int, sent: int) -> None:
        """Check that the driver, if there is one, has received and sent at least so many frames."""
        assert transport.get_extra_info("stack") == ("tcpip" if self.driver else "kernel")
        frames = self.frames()
        assert not self.driver or (frames[0] >= received and frames[1] >= sent)

    async def endpoint(self, protocol: Any = wire.Inbox, **given: Any) -> Any:
        return await self.loop.create_datagram_endpoint(protocol, **given)


def far_socket(program: Program, address: str = FAR) -> socket.socket:
    made = program.link.far.socket(family=socket.AF_INET6 if ":" in address else socket.AF_INET)
    made.bind((address, 0))
    return made


def mapped(name: Any) -> tuple[str, int, int, int]:
    return (f"::ffff:{name[0]}", name[1], 0, 0)


def dual_socket(address: str = "::", port: int = 0, **options: int) -> socket.socket:
    made = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    for name, value in options.items():
        made.setsockopt(socket.SOL_SOCKET, getattr(socket, name), value)
    made.setblocking(False)
    made.bind((address, port))
    return made


def unused_port() -> int:
    with socket.socket(type=socket.SOCK_DGRAM) as probe:
        probe.bind(("", 0))
        port: int = probe.getsockname()[1]
    return port
