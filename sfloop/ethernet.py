"""Raw Ethernet frames: the protocols of :meth:`sfloop.Loop.create_ethernet_endpoint`, and the flows that it takes."""

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

#: (frame, receive time in ns of ``CLOCK_REALTIME``)
Frame = tuple["bytes | memoryview", int]


@dataclass(frozen=True)
class Flow:
    """An IPv4 flow: frames to a local address and port, from any peer or from one remote address and port.

    An empty host or ``"0.0.0.0"`` means any local address. The local address may be a multicast group.

    :raises ValueError: the protocol is neither ``"udp"`` nor ``"tcp"``, an address is not an IPv4 address, or a port is
        not from 1 to 65535.
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
                raise ValueError(f"{name}={pair!r}: {host!r} is not an IPv4 address") from None
            if not isinstance(port, int) or not 0 < port <= _PORT_MAX:
                raise ValueError(f"{name}={pair!r}: the port must be a number from 1 to {_PORT_MAX}")
        if self.remote is not None and self.remote[0] in ("", "0.0.0.0"):
            raise ValueError(f"remote={self.remote!r}: must be one peer's address; leave remote out for any peer")

    @property
    def key(self) -> tuple[int, bytes, int, bytes, int]:
        """Protocol number, local address and port, remote address and port, in the form that the drivers take."""
        remote_host, remote_port = self.remote or ("", 0)
        return (
            _PROTOCOLS[self.protocol],
            ipaddress.IPv4Address(self.local[0] or "0.0.0.0").packed,
            self.local[1],
            ipaddress.IPv4Address(remote_host or "0.0.0.0").packed,
            remote_port,
        )


class EthernetProtocol(asyncio.BaseProtocol):
    """A protocol that receives frames one by one."""

    def frame_received(self, frame: bytes, timestamp: int) -> None:
        """Called with each frame: destination, source, type and payload, without the frame check sequence.

        :param timestamp: the receive time in ns of ``CLOCK_REALTIME``, as the NIC or the kernel measured it. If the
            driver gives no time, the time at which the loop read the frame.
        """

    def frame_sent(self, number: int, timestamp: int) -> None:
        """Called with the time at which the NIC sent a frame, and the number that ``send()`` returned for the frame.
        Needs ``send_timestamps=True`` and a driver with transmit timestamps; the times of a few frames may be
        missing."""

    def error_received(self, exc: OSError) -> None:
        """Called when a frame could not be sent. The transport goes on."""


class EthernetBatchProtocol(EthernetProtocol):
    """A protocol that receives batches: all frames that one read of the NIC returned, at most 64."""

    #: Set this in the class to get memoryviews of the driver's memory instead of bytes. The loop releases them when
    #: ``frames_received`` returns, so copy the data that you keep.
    zero_copy: bool = False

    def frames_received(self, frames: Sequence[Frame]) -> None:
        """Called with (frame, timestamp) pairs in the order of their arrival."""
