"""A model of TCP segments in plain Python, from RFC 9293, 7323 and 2018, for comparison with the C code."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from wire_model import Refused, checksum, ones_complement_sum

TCP = 6
OPTIONS_MAX = 40


@dataclass(frozen=True)
class Segment:
    """A segment between two addresses. An absent option is None; SACK without ranges is no SACK."""

    src_addr: bytes
    dst_addr: bytes
    src_port: int
    dst_port: int
    seq: int
    ack: int
    flags: int
    window: int
    mss: int | None = None
    sack_permitted: bool = False
    timestamps: tuple[int, int] | None = None
    window_scale: int | None = None
    sack: tuple[tuple[int, int], ...] = ()
    payload: bytes = b""

    def options(self) -> bytes:
        """Return the options in the layout of RFC 7323, appendix A, without the ranges that do not fit."""
        mss = b"" if self.mss is None else struct.pack("!BBH", 2, 4, self.mss)
        permitted = b"\4\2" if self.sack_permitted else b"\1\1"
        if self.timestamps is not None:
            times = permitted + struct.pack("!BBII", 8, 10, *self.timestamps)
        else:
            times = permitted + b"\1\1" if self.sack_permitted else b""
        scale = b"" if self.window_scale is None else struct.pack("!BBBB", 1, 3, 3, self.window_scale)
        options = mss + times + scale
        ranges = self.sack[: (OPTIONS_MAX - len(options) - 4) // 8]
        if ranges:
            options += struct.pack("!BBBB", 1, 1, 5, 2 + 8 * len(ranges))
            options += b"".join(struct.pack("!II", *edges) for edges in ranges)
        return options

    def bytes(self, options: bytes | None = None) -> bytes:
        """Return the header with its checksum, the options (or others instead of them), and the payload."""
        options = self.options() if options is None else options
        offset = (20 + len(options)) // 4 << 4
        first = struct.pack(
            "!HHIIBBH", self.src_port, self.dst_port, self.seq, self.ack, offset, self.flags, self.window
        )
        rest = options + self.payload
        pseudo = self.src_addr + self.dst_addr + struct.pack("!BBH", 0, TCP, 20 + len(rest))
        return first + struct.pack("!HH", checksum(pseudo + first + b"\0\0\0\0" + rest), 0) + rest


def parse_segment(data: bytes, src: bytes, dst: bytes, *, good: bool = False, partial: bool = False) -> Segment:
    """Return the segment of an IP packet's payload.

    :raises Refused: the segment is malformed.
    """
    if len(data) < 20:
        raise Refused("tcp_short")
    src_port, dst_port, seq, ack, offset, flags, window, field, _ = struct.unpack("!HHIIBBHHH", data[:20])
    header = (offset >> 4) * 4
    if header < 20:
        raise Refused("tcp_header")
    if header > len(data):
        raise Refused("tcp_short")
    pseudo = src + dst + struct.pack("!BBH", 0, TCP, len(data))
    right = good or ones_complement_sum(pseudo + data) == 0xFFFF
    if not right and not (partial and field == ones_complement_sum(pseudo)):
        raise Refused("tcp_checksum")
    known = _parse_options(data[20:header])
    return Segment(src, dst, src_port, dst_port, seq, ack, flags, window, payload=data[header:], **known)


def _parse_options(options: bytes) -> dict[str, object]:
    known: dict[str, object] = {}
    at = 0
    while at < len(options) and options[at] != 0:
        if options[at] == 1:
            at += 1
            continue
        length = options[at + 1] if at + 1 < len(options) else 0
        if length < 2 or at + length > len(options):
            break
        known |= _parse_option(options[at], options[at + 2 : at + length])
        at += length
    return known


def _parse_option(kind: int, value: bytes) -> dict[str, object]:
    match kind, len(value):
        case 2, 2:
            return {"mss": struct.unpack("!H", value)[0]}
        case 3, 1:
            return {"window_scale": value[0]}
        case 4, 0:
            return {"sack_permitted": True}
        case 8, 8:
            return {"timestamps": struct.unpack("!II", value)}
        case 5, (8 | 16 | 24 | 32):
            return {"sack": tuple(struct.iter_unpack("!II", value))}
    return {}
