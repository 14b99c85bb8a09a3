"""Wrong or rare frames, by name, as functions of the receiver's port. The payload is the name."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from harness.frames import ethernet, group_mac, ipv4_packet, tcp_segment, udp_datagram
from harness.link import FAR, NEAR

GROUP, NOBODYS_GROUP = "239.255.7.7", "239.255.7.9"
ALL = b"\xff" * 6
STRANGER = bytes([2, 9, 9, 9, 9, 9])
PORT = 4000  # the sender's
Frame = Callable[[int], bytes]

SYN, FIN, RST, PSH, ACK, URG = 2, 1, 4, 8, 16, 32


class Station:
    """MAC addresses of sender and receiver, and the receiver's IP address."""

    def __init__(self, near: bytes, far: bytes) -> None:
        self.macs = (near, far)
        self.far = far

    def udp(
        self,
        name: str,
        *,
        source: str = FAR,
        to: str = NEAR,
        mac: bytes | None = None,
        source_port: int = PORT,
        port: int | None = None,
        tags: tuple[tuple[int, int], ...] = (),
        udp: dict[str, Any] | None = None,
        padding: bytes = b"",
        cut: int = 0,
        **ip: Any,
    ) -> tuple[str, Frame]:
        macs = (self.macs[0] if mac is None else mac, self.far)

        def make(receiver: int) -> bytes:
            ports = (source_port, receiver if port is None else port)
            payload = udp_datagram((source, to), ports, name.encode(), **(udp or {}))
            packet = ipv4_packet((source, to), 17, payload, **ip)
            return ethernet(macs, packet[: len(packet) - cut] + padding, tags=tags)

        return name, make

    def all_udp(self) -> dict[str, Frame]:
        return dict([*self.headers(), *self.ip_options(), *self.lengths(), *self.addresses(), *self.stations()])

    def headers(self) -> list[tuple[str, Frame]]:
        udp = self.udp
        return [
            udp("as it should be"),
            udp("IP checksum wrong", damage=1),
            *(udp(f"TTL {ttl}", ttl=ttl) for ttl in (0, 1, 255)),
            *(udp(f"TOS {tos}", tos=tos) for tos in (1, 3, 0xB8, 0xFF)),
            udp("don't fragment", fragment=0x4000),
            udp("the reserved flag", fragment=0x8000),
            udp("both flags", fragment=0xC000),
            udp("version 5", version=5),
            udp("version 6", version=6),
            *(udp(f"a header of {words} words", words=words) for words in (0, 4, 6, 15)),
            udp("UDP checksum zero", udp={"udp_checksum": 0}),
            udp("UDP checksum 0xffff", udp={"udp_checksum": 0xFFFF}),
            udp("UDP checksum wrong", udp={"udp_checksum": 0x1234}),
            udp("source port 0", source_port=0),
            udp("destination port 0", port=0),
        ]

    def ip_options(self) -> list[tuple[str, Frame]]:
        options = {
            "no-operation": b"\1\1\1\1",
            "end, then rubbish": b"\0\7\7\7",
            "router alert": b"\x94\4\0\0",
            "router alert, short": b"\x94\3\0\0",
            "unknown": b"\xc8\4\0\0",
            "security": b"\x82\4\0\0",
            "length 0": b"\xc8\0\0\0",
            "length 1": b"\xc8\1\0\0",
            "length beyond": b"\xc8\5\0\0",
            "no length": b"\1\1\1\xc8",
            "record route": b"\7\7\4\0\0\0\0\0",
            "record route, full": b"\7\7\x08\1\2\3\4\0",
            "record route, torn": b"\7\7\5\0\0\0\0\0",
            "record route, backwards": b"\7\7\3\0\0\0\0\0",
            "record route, twice": b"\7\3\4\7\3\4\0\0",
            "timestamps": b"\x44\x08\5\0\0\0\0\0",
            "timestamps, full": b"\x44\x08\x09\x10\0\0\0\0",
            "timestamps, overflown": b"\x44\x08\x09\xf0\0\0\0\0",
            "timestamps with addresses": b"\x44\x0c\5\1" + bytes(8),
            "timestamps with addresses, no room": b"\x44\x08\5\1\0\0\0\0",
            "loose source route": b"\x83\7\4\xc6\x12\7\1\0",
            "strict source route": b"\x89\7\4\xc6\x12\7\1\0",
            "forty bytes": b"\1" * 40,
        }
        return [self.udp(f"option: {name}", options=value) for name, value in options.items()]

    def lengths(self) -> list[tuple[str, Frame]]:
        udp = self.udp
        return [
            udp("padding", padding=b"padding" * 20),
            udp("total length: as much as the frame has, less 3", total=20 + 8 + 45, padding=bytes(40)),
            udp("total length: longer than the frame", total=1000),
            udp("total length: one byte longer", total=20 + 8 + 28 + 1 + 40),
            udp("total length: within the UDP header", total=27),
            udp("total length: the headers alone", total=28),
            udp("total length: within the IP header", total=19),
            udp("total length: 0", total=0),
            udp("frame cut by one byte, which is long enough for it", cut=1),
            *(udp(f"UDP length {length}", udp={"length": length}) for length in (0, 1, 7, 8, 12)),
            udp("UDP length: one more than there is", udp={"length": 8 + 34 + 1}),
            udp("UDP length: beyond the packet", udp={"length": 1000}),
            udp("UDP length: without checksum, short", udp={"length": 12, "udp_checksum": 0}),
            udp("UDP length: without checksum, beyond", udp={"length": 1000, "udp_checksum": 0}),
        ]

    def addresses(self) -> list[tuple[str, Frame]]:
        """Source and destination addresses, each in a matching frame."""
        sources = ["0.0.0.0", "0.0.0.1", NEAR, "127.0.0.1", "127.9.9.9", "224.0.0.1", GROUP]
        sources += ["255.255.255.255", "240.0.0.1", "198.18.7.99", "10.9.9.9"]
        where = {"NEAR": (NEAR, self.macs[0]), "all": ("255.255.255.255", ALL), "the subnet": ("198.18.7.255", ALL)}
        where |= {"group": (GROUP, group_mac(GROUP)), "0.0.0.0": ("0.0.0.0", ALL)}
        cases = [
            self.udp(f"from {source} to {name}", source=source, to=to, mac=mac)
            for source in sources
            for name, (to, mac) in where.items()
        ]
        strangers = ["198.18.7.77", "198.18.7.0", "127.0.0.1", "240.0.0.1", "10.9.9.9"]
        cases += [self.udp(f"to {to}", to=to) for to in strangers]
        return [*cases, self.udp("to a group that nobody joined", to=NOBODYS_GROUP, mac=group_mac(NOBODYS_GROUP))]

    def stations(self) -> list[tuple[str, Frame]]:
        """MAC addresses that do not match the destination, and VLAN tags."""
        udp, own = self.udp, self.macs[0]
        tags = {
            "a tag without a VLAN": ((0x8100, 0x6000),),
            "VLAN 7": ((0x8100, 7),),
            "two tags without a VLAN": ((0x88A8, 0), (0x8100, 0)),
            "VLAN 7 outside": ((0x88A8, 7), (0x8100, 0)),
            "VLAN 7 inside": ((0x88A8, 0), (0x8100, 7)),
        }
        return [
            udp("MAC: another station's", mac=STRANGER),
            udp("MAC: everybody's, to us", mac=ALL),
            udp("MAC: a group's, to us", mac=group_mac(GROUP)),
            udp("MAC: ours, to a group", mac=own, to=GROUP),
            udp("MAC: another group's, to a group", mac=group_mac(NOBODYS_GROUP), to=GROUP),
            udp("MAC: everybody's, to a group", mac=ALL, to=GROUP),
            udp("MAC: ours, to everybody", mac=own, to="255.255.255.255"),
            udp("MAC: ours, to the subnet", mac=own, to="198.18.7.255"),
            *(udp(name, tags=each) for name, each in tags.items()),
        ]

    def tcp(self, number: int, client: str, segment: dict[str, Any], ip: dict[str, Any]) -> Frame:
        """A segment from a port of its own, which identifies the answer."""
        to, mac = ip.pop("to", NEAR), ip.pop("mac", self.macs[0])

        def make(receiver: int) -> bytes:
            ports = (segment.pop("source_port", 20_000 + number), receiver)
            flags = segment.pop("flags", SYN)
            return ethernet(
                (mac, self.far), ipv4_packet((client, to), 6, tcp_segment((client, to), ports, flags, **segment), **ip)
            )

        return make


#: The option that every SYN has, and then options of a segment, right and wrong.
MSS = b"\2\4\5\xb4"
TCP_OPTIONS = {
    "MSS 0": b"\2\4\0\0",
    "MSS 1": b"\2\4\0\1",
    "MSS of the wrong length": b"\2\3\5\1",
    "window scale 14": MSS + b"\1\3\3\x0e",
    "window scale 15": MSS + b"\1\3\3\x0f",
    "window scale 255": MSS + b"\1\3\3\xff",
    "length 0": MSS + b"\xfe\0\0\0",
    "length 1": MSS + b"\xfe\1\0\0",
    "length beyond": MSS + b"\xfe\x08\0\0",
    "no length": MSS + b"\1\1\1\xfe",
    "unknown": MSS + b"\xfe\4\0\0",
    "end, then more": b"\0\0\0\0" + b"\4\2\0\0",
    "SACK permitted": MSS + b"\4\2\0\0",
    "SACK permitted of the wrong length": MSS + b"\4\3\0\0",
    "timestamps": MSS + b"\1\1\x08\x0a" + struct.pack("!II", 7, 0),
    "timestamps of the wrong length": MSS + b"\1\x08\x09" + bytes(9),
    "everything twice": (MSS + b"\1\3\3\2") * 2,
}


def tcp_cases() -> dict[str, tuple[dict[str, Any], dict[str, Any]]]:
    """The differences from a plain SYN, in the segment and in the packet."""
    cases: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
        "plain": ({}, {}),
        "checksum wrong": ({"damage": 1}, {}),
        "data offset 4": ({"words": 4}, {}),
        "data offset 0": ({"words": 0}, {}),
        "data offset beyond": ({"words": 15}, {}),
        "reserved bits": ({"reserved": 14}, {}),
        "all reserved bits": ({"reserved": 15}, {}),
        "URG": ({"flags": SYN | URG, "urgent": 5}, {}),
        "PSH": ({"flags": SYN | PSH}, {}),
        "ECN": ({"flags": SYN | 0xC0}, {}),
        "SYN and FIN": ({"flags": SYN | FIN}, {}),
        "SYN and RST": ({"flags": SYN | RST}, {}),
        "SYN, RST and ACK": ({"flags": SYN | RST | ACK}, {}),
        "no flags": ({"flags": 0}, {}),
        "FIN": ({"flags": FIN}, {}),
        "RST": ({"flags": RST}, {}),
        "URG alone": ({"flags": URG, "urgent": 1}, {}),
        "data with SYN": ({"payload": b"data"}, {}),
        "source port 0": ({"source_port": 0}, {}),
        "IP option": ({}, {"options": b"\1\1\1\1"}),
        "IP option, wrong": ({}, {"options": b"\xc8\0\0\0"}),
        "source route": ({}, {"options": b"\x83\7\4\xc6\x12\7\1\0"}),
        "IP checksum wrong": ({}, {"damage": 1}),
        "TTL 0": ({}, {"ttl": 0}),
        "MAC: everybody's": ({}, {"mac": ALL}),
        "MAC: a group's": ({}, {"mac": group_mac(GROUP)}),
        "to everybody": ({}, {"mac": ALL, "to": "255.255.255.255"}),
        "to the subnet, our MAC": ({}, {"to": "198.18.7.255"}),
        "to a group": ({}, {"mac": group_mac(GROUP), "to": GROUP}),
    }
    return cases | {f"option: {name}": ({"options": value}, {}) for name, value in TCP_OPTIONS.items()}
