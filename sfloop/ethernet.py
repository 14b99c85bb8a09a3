"""Raw Ethernet frames: what a protocol of :meth:`sfloop.Loop.create_ethernet_endpoint` is, and how flows are named."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

__all__ = ["EthernetBatchProtocol", "EthernetProtocol", "Flow"]

_PROTOCOLS: Final = {"udp": socket.IPPROTO_UDP, "tcp": socket.IPPROTO_TCP}
_PORT_MAX: Final = 65_535

#: (frame, time of its reception in ns of ``CLOCK_REALTIME``)
Frame = tuple["bytes | memoryview", int]


@dataclass(frozen=True)
class Flow:
    """The frames of one IPv4 flow: to a local address and port, from anywhere or from one remote address and port.

    An empty host, or ``"0.0.0.0"``, is any local address; a multicast group is one as well.

    :raises ValueError: what is no IPv4 address or port.
    """

    protocol: Literal["udp", "tcp"]
    local: tuple[str, int]
    remote: tuple[str, int] | None = None

    def __post_init__(self) -> None:
        if self.protocol not in _PROTOCOLS:
            raise ValueError(f"protocol={self.protocol!r}: must be 'udp' or 'tcp'")
        for name, pair in (("local", self.local), ("remote", self.remote)):
            if pair is None:
                continue
            host, port = pair
            try:
                ipaddress.IPv4Address(host or "0.0.0.0")
            except ValueError:
                raise ValueError(f"{name}={pair!r}: {host!r} is no IPv4 address") from None
            if not isinstance(port, int) or not 0 < port <= _PORT_MAX:
                raise ValueError(f"{name}={pair!r}: the port must be from 1 to {_PORT_MAX}")
        if self.remote is not None and self.remote[0] in ("", "0.0.0.0"):
            raise ValueError(f"remote={self.remote!r}: must be an address of its own; leave remote out for any")

    @property
    def key(self) -> tuple[int, bytes, int, bytes, int]:
        """Protocol number, local address and port, remote address and port, as the drivers take them."""
        remote_host, remote_port = self.remote or ("", 0)
        return (
            _PROTOCOLS[self.protocol],
            ipaddress.IPv4Address(self.local[0] or "0.0.0.0").packed,
            self.local[1],
            ipaddress.IPv4Address(remote_host or "0.0.0.0").packed,
            remote_port,
        )


class EthernetProtocol(asyncio.BaseProtocol):
    """A protocol for frames, one by one."""

    def frame_received(self, frame: bytes, timestamp: int) -> None:
        """Called with each frame: destination, source, type, payload, without the checksum at its end.

        :param timestamp: when it was received, in ns of ``CLOCK_REALTIME``: by the NIC or by the kernel where the
            driver can tell, otherwise when the loop saw it.
        """

    def frame_sent(self, number: int, timestamp: int) -> None:
        """Called when the NIC has told when a frame left, with the number that ``send()`` has returned for it. Only
        with ``send_timestamps=True``, on a driver that can tell; a few may be missing."""

    def error_received(self, exc: OSError) -> None:
        """Called when a frame could not be sent. The transport goes on."""


class EthernetBatchProtocol(EthernetProtocol):
    """A protocol that is given all frames that one look at the NIC has brought, up to 64 at a time."""

    #: Set it, in the class, to be given views of the driver's memory instead of bytes. They are valid until
    #: ``frames_received`` returns and are released then; what is to be kept has to be copied.
    zero_copy: bool = False

    def frames_received(self, frames: Sequence[Frame]) -> None:
        """Called with (frame, timestamp) pairs in the order of their arrival."""
