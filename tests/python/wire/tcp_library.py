"""The C functions of TCP's wire format, through ctypes."""

from __future__ import annotations

import ctypes as c
from pathlib import Path

from tcp_model import Segment
from wire_library import GOOD, PARTIAL, UNSURE, Peer, Piece, compile_wire, peer_of, pieces_of

HAS_MSS, HAS_WINDOW_SCALE, HAS_SACK_PERMITTED, HAS_TIMESTAMPS = 1, 2, 4, 8
#: The Ethernet and the IP header before it.
BEFORE = 34
INLINE = """
#include "wire/tcp.h"
enum sf_refusal parse_segment(const uint8_t *data, size_t len, uint32_t src, uint32_t dst, uint32_t flags,
                              struct sf_tcp_segment *out)
{
    struct sf_ipv4 ip = {.src = src, .dst = dst, .protocol = SF_IPV4_TCP, .payload = data, .payload_len = len};

    return sf_tcp_parse(&ip, flags, out);
}
"""


class CSegment(c.Structure):
    _fields_ = [
        ("src_port", c.c_uint8 * 2),
        ("dst_port", c.c_uint8 * 2),
        ("seq", c.c_uint32),
        ("ack", c.c_uint32),
        ("flags", c.c_uint8),
        ("has", c.c_uint8),
        ("window", c.c_uint16),
        ("mss", c.c_uint16),
        ("window_scale", c.c_uint8),
        ("n_sack", c.c_uint8),
        ("ts_val", c.c_uint32),
        ("ts_ecr", c.c_uint32),
        ("sack", (c.c_uint32 * 2) * 4),
        ("payload", c.c_void_p),
        ("payload_len", c.c_uint32),
    ]


def _segment(s: Segment) -> CSegment:
    has = HAS_MSS * (s.mss is not None) | HAS_WINDOW_SCALE * (s.window_scale is not None)
    has |= HAS_SACK_PERMITTED * s.sack_permitted | HAS_TIMESTAMPS * (s.timestamps is not None)
    out = CSegment(seq=s.seq, ack=s.ack, flags=s.flags, has=has, window=s.window, mss=s.mss or 0)
    out.window_scale, out.n_sack = s.window_scale or 0, len(s.sack)
    out.ts_val, out.ts_ecr = s.timestamps or (0, 0)
    for i, edges in enumerate(s.sack):
        out.sack[i][:] = edges
    return out


class Tcp:
    """The functions, with Python's types."""

    def __init__(self, folder: Path) -> None:
        self._c = compile_wire(folder, INLINE)
        self._c.sf_refusal_name.restype = c.c_char_p
        self._c.parse_segment.argtypes = [
            c.c_void_p, c.c_size_t, c.c_uint32, c.c_uint32, c.c_uint32, c.POINTER(CSegment),
        ]  # fmt: skip
        self._c.sf_tcp_template_init.argtypes = [c.c_void_p, c.POINTER(Peer)]
        self._c.sf_tcp_emit.restype = c.c_size_t
        self._c.sf_tcp_emit.argtypes = [
            c.c_void_p, c.c_void_p, c.c_size_t, c.POINTER(CSegment), c.POINTER(Piece), c.c_int, c.c_uint16,
        ]  # fmt: skip

    def parse(
        self,
        data: bytes,
        src: bytes,
        dst: bytes,
        *,
        good: bool = False,
        partial: bool = False,
        unsure: bool = False,
        behind: bytes = b"",
    ) -> Segment | str:
        """Return the segment, or the reason by its name. `behind` is the memory after it."""
        buffer = (c.c_uint8 * (len(data) + len(behind) + 1)).from_buffer_copy(data + behind + b"\0")
        out = CSegment()
        addresses = (c.c_uint32.from_buffer_copy(src).value, c.c_uint32.from_buffer_copy(dst).value)
        flags = GOOD * good | PARTIAL * partial | UNSURE * unsure
        reason = self._c.parse_segment(c.addressof(buffer), len(data), *addresses, flags, c.byref(out))
        if reason:
            name: bytes = self._c.sf_refusal_name(reason)
            return name.decode()
        start = out.payload - c.addressof(buffer)
        assert 20 <= start <= start + out.payload_len == len(data)
        return Segment(
            src_addr=src,
            dst_addr=dst,
            src_port=int.from_bytes(bytes(out.src_port), "big"),
            dst_port=int.from_bytes(bytes(out.dst_port), "big"),
            seq=out.seq,
            ack=out.ack,
            flags=out.flags,
            window=out.window,
            mss=out.mss if out.has & HAS_MSS else None,
            sack_permitted=bool(out.has & HAS_SACK_PERMITTED),
            timestamps=(out.ts_val, out.ts_ecr) if out.has & HAS_TIMESTAMPS else None,
            window_scale=out.window_scale if out.has & HAS_WINDOW_SCALE else None,
            sack=tuple((edges[0], edges[1]) for edges in out.sack[: out.n_sack]),
            payload=data[start:],
        )

    def emit(self, s: Segment, cuts: list[int]) -> bytes:
        """Return the frame's TCP segment; its payload is given in pieces."""
        template = (c.c_uint8 * 256)()
        peer = peer_of(s.src_addr, s.dst_addr, s.src_port, s.dst_port)
        peer.ttl = 64
        assert self._c.sf_tcp_template_init(c.addressof(template), c.byref(peer)) == 0
        payload = (c.c_uint8 * max(len(s.payload), 1)).from_buffer_copy(s.payload or b"\0")
        pieces = pieces_of(c.addressof(payload), len(s.payload), cuts)
        frame = (c.c_uint8 * (BEFORE + 60 + len(s.payload)))()
        segment = _segment(s)
        written = self._c.sf_tcp_emit(
            c.addressof(template), c.addressof(frame), len(frame), c.byref(segment), pieces, len(pieces), 1
        )
        assert written
        return bytes(frame)[BEFORE:written]
