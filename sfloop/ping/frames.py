"""ICMP echo by Ethernet frames: a frame driver sends the requests and receives copies of the replies. This host's
kernel does not take part; the other host's kernel answers. IPv4 only."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sfloop.ethernet import EthernetProtocol
from sfloop.ping import icmp
from sfloop.ping.probes import Series, finish
from sfloop.ping.rounds import Outcome, Rounds

if TYPE_CHECKING:
    from sfloop.loop import Loop
    from sfloop.options.options import DriverOption

_ETHERTYPE_IPV4: Final = b"\x08\x00"
_HEADERS: Final = 14 + 20
_DISCARD: Final = 9  # the port of RFC 863
_RESOLVE_S: Final = 2.0


class _Probe(EthernetProtocol):
    """Selects the replies to this host among all frames of the interface."""

    rounds: Rounds

    def __init__(self, source: str, target: str, identifier: int) -> None:
        self._addresses = socket.inet_aton(target) + socket.inet_aton(source)
        self._identifier = identifier

    def frame_received(self, frame: bytes, timestamp: int) -> None:
        # IPv4 without options, as Linux answers; protocol 1 is ICMP; from the target to this host.
        if frame[12:15] != b"\x08\x00\x45" or frame[23] != 1 or frame[26:34] != self._addresses:
            return
        length = int.from_bytes(frame[16:18], "big")
        payload = icmp.reply(socket.AF_INET, self._identifier, frame[_HEADERS : 14 + length])  # without padding
        if payload is not None:
            self.rounds.reply(payload)


async def icmp_by_frames(series: Series, interface: str, driver: DriverOption | None) -> Outcome:
    """Send ICMP echo requests through a frame driver that can sniff (packet, ef_vi).

    :raises OSError: the driver cannot be opened, or the host's MAC address is unknown.
    """
    loop: Any = asyncio.get_running_loop()
    target = str(series.address[0])
    source = _source(target)
    neighbour = await _neighbour(target, interface)
    identifier = os.getpid() & 0xFFFF
    opened: tuple[Any, _Probe] = await _open(loop, interface, driver, lambda: _Probe(source, target, identifier))
    transport, probe = opened
    header = neighbour + transport.get_extra_info("hwaddr") + _ETHERTYPE_IPV4

    def send(payload: bytes) -> None:
        message = icmp.request(socket.AF_INET, identifier, payload)
        transport.send(header + _ipv4_header(source, target, len(message)) + message)

    try:
        probe.rounds = series.rounds(send)
        probe.rounds.outcome.stack = f"frames: {transport.get_extra_info('driver')}"
        return await finish(probe.rounds)
    finally:
        transport.close()


async def _open(loop: Loop, interface: str, driver: DriverOption | None, factory: Any) -> Any:
    return await loop.create_ethernet_endpoint(factory, interface, driver=driver, sniff=True)


def _ipv4_header(source: str, target: str, length: int) -> bytes:
    """An IPv4 header (RFC 791): no options, don't fragment, TTL 64, protocol ICMP."""
    addresses = socket.inet_aton(source) + socket.inet_aton(target)
    header = struct.pack(">BBHHHBBH", 0x45, 0, 20 + length, 0, 0x4000, 64, 1, 0) + addresses
    return header[:10] + struct.pack(">H", icmp.checksum(header)) + header[12:]


def _source(target: str) -> str:
    """The source address that the kernel would use."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        asked.connect((target, _DISCARD))
        return str(asked.getsockname()[0])


async def _neighbour(target: str, interface: str) -> bytes:
    """The MAC address of the next hop. A datagram makes the kernel resolve it."""
    hop = _next_hop(target, interface, Path("/proc/net/route").read_text())
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        asked.sendto(b"", (target, _DISCARD))
    deadline = asyncio.get_running_loop().time() + _RESOLVE_S
    while True:
        # IP address, HW type, flags (2: complete), HW address, mask, device
        for line in Path("/proc/net/arp").read_text().splitlines()[1:]:
            address, _, flags, hardware, _, device = line.split()
            if (address, device) == (hop, interface) and int(flags, 16) & 2:
                return bytes.fromhex(hardware.replace(":", ""))
        if asyncio.get_running_loop().time() > deadline:
            raise OSError(errno.EHOSTUNREACH, f"{hop} does not answer ARP on {interface}")
        await asyncio.sleep(0.01)


def _next_hop(target: str, interface: str, routes: str) -> str:
    """The gateway to a target on an interface, or the target itself.

    :raises OSError: the interface has no route to the target.
    """
    wanted = int.from_bytes(socket.inet_aton(target), "little")
    found: tuple[int, str] | None = None
    for line in routes.splitlines()[1:]:
        name, destination, gateway, *rest = line.split()
        mask = int(rest[4], 16)
        if name == interface and wanted & mask == int(destination, 16) and (found is None or mask > found[0]):
            hop = int(gateway, 16)
            found = mask, socket.inet_ntoa(hop.to_bytes(4, "little")) if hop else target
    if found is None:
        raise OSError(errno.ENETUNREACH, f"no route to {target} through {interface}")
    return found[1]
