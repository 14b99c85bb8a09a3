"""The C functions of sfloop/native/wire, compiled into a shared library of their own and called through ctypes."""

from __future__ import annotations

import ctypes as c
import os
import shlex
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

from wire_model import Datagram

NATIVE = Path(__file__).resolve().parents[3] / "sfloop" / "native"
SUMS = {"full": 0, "partial": 1, "none": 2}
GOOD, PARTIAL, UNSURE = 1, 2, 16
INLINE = '#include "wire/checksum.h"\n'
INLINE += "uint16_t sum_of(const void *p, size_t n) { return sf_sum_fold(sf_sum_bytes(0, p, n)); }\n"


class Tag(c.Structure):
    _fields_ = [("type", c.c_uint16), ("tci", c.c_uint16)]


class Eth(c.Structure):
    _fields_ = [
        ("dst", c.c_void_p),
        ("src", c.c_void_p),
        ("type", c.c_uint16),
        ("tags", c.c_uint8),
        ("len", c.c_uint8),
        ("tag", Tag * 2),
    ]


class UdpDatagram(c.Structure):
    _fields_ = [
        ("payload", c.c_void_p),
        ("payload_len", c.c_uint16),
        ("src_port", c.c_uint8 * 2),
        ("dst_port", c.c_uint8 * 2),
        ("ttl", c.c_uint8),
        ("tos", c.c_uint8),
        ("src_addr", c.c_uint32),
        ("dst_addr", c.c_uint32),
        ("eth", Eth),
    ]


class Peer(c.Structure):
    _fields_ = [
        ("src_mac", c.c_uint8 * 6),
        ("dst_mac", c.c_uint8 * 6),
        ("src_addr", c.c_uint32),
        ("dst_addr", c.c_uint32),
        ("src_port", c.c_uint16),
        ("dst_port", c.c_uint16),
        ("ttl", c.c_uint8),
        ("tos", c.c_uint8),
        ("dont_fragment", c.c_bool),
        ("tags", c.c_uint8),
        ("tag", Tag * 2),
    ]


def peer_of(src_addr: bytes, dst_addr: bytes, src_port: int, dst_port: int) -> Peer:
    """Addresses and ports are bytes in network order, on any machine."""
    return Peer(
        src_addr=c.c_uint32.from_buffer_copy(src_addr).value,
        dst_addr=c.c_uint32.from_buffer_copy(dst_addr).value,
        src_port=c.c_uint16.from_buffer_copy(src_port.to_bytes(2, "big")).value,
        dst_port=c.c_uint16.from_buffer_copy(dst_port.to_bytes(2, "big")).value,
    )


class Piece(c.Structure):
    _fields_ = [("base", c.c_void_p), ("len", c.c_size_t)]


def compile_wire(folder: Path, inline: str) -> c.CDLL:
    """Compile with $CC, including `inline`, functions around those in headers.

    :raises subprocess.CalledProcessError: the compiler failed.
    """
    (folder / "inline.c").write_text(inline)
    sources = [str(folder / "inline.c"), *sorted(str(path) for path in (NATIVE / "wire").glob("*.c"))]
    flags = ["-std=gnu11", "-D_GNU_SOURCE", "-O3", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"]
    include = ["-I", str(NATIVE / "include"), "-I", str(NATIVE)]
    library = folder / "libwire.so"
    compiler = shlex.split(os.environ.get("CC", "cc"))
    # A sanitizer's run-time library may be preloaded into this interpreter, and the compiler must not load it.
    environment = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
    subprocess.run([*compiler, *flags, *include, *sources, "-o", str(library)], check=True, env=environment)
    return c.CDLL(str(library))


class Wire:
    """The functions, with Python's types."""

    def __init__(self, folder: Path) -> None:
        self._c = compile_wire(folder, INLINE)
        self._c.sum_of.restype = c.c_uint16
        self._c.sum_of.argtypes = [c.c_char_p, c.c_size_t]
        self._c.sf_sum_piece.restype = c.c_uint64
        self._c.sf_sum_piece.argtypes = [c.c_uint64, c.c_size_t, c.c_char_p, c.c_size_t]
        self._c.sf_refusal_name.restype = c.c_char_p
        self._c.sf_udp_parse_frame.argtypes = [c.c_void_p, c.c_size_t, c.c_uint32, c.POINTER(UdpDatagram)]
        self._c.sf_udp_template_init.argtypes = [c.c_void_p, c.POINTER(Peer)]
        for name in ("sf_udp_emit", "sf_udp_emit_pieces"):
            getattr(self._c, name).restype = c.c_size_t
        self._c.sf_udp_emit.argtypes = [
            c.c_void_p, c.c_void_p, c.c_size_t, c.POINTER(Piece), c.c_int, c.c_uint16, c.c_int,
        ]  # fmt: skip
        self._c.sf_udp_emit_pieces.argtypes = [
            c.c_void_p, c.POINTER(Piece), c.c_int, c.POINTER(Piece), c.c_int, c.c_uint16, c.c_int,
        ]  # fmt: skip

    def sum(self, data: bytes) -> int:
        """Return the ones' complement sum, in host byte order."""
        return int.from_bytes(bytes(c.c_uint16(self._c.sum_of(data, len(data)))), "big")

    def sum_of_pieces(self, pieces: list[bytes]) -> int:
        """Return the same sum of consecutive pieces."""
        total, offset = 0, 0
        for piece in pieces:
            total = self._c.sf_sum_piece(total, offset, piece, len(piece))
            offset += len(piece)
        return self.sum(total.to_bytes(8, sys.byteorder))

    def parse(self, frame: bytes, *, good: bool = False, partial: bool = False, unsure: bool = False) -> Datagram | str:
        """Return the datagram, or the reason by its name."""
        buffer = (c.c_uint8 * len(frame)).from_buffer_copy(frame) if frame else (c.c_uint8 * 0)()
        out = UdpDatagram()
        flags = GOOD * good | PARTIAL * partial | UNSURE * unsure
        reason = self._c.sf_udp_parse_frame(c.addressof(buffer), len(frame), flags, c.byref(out))
        if reason:
            name: bytes = self._c.sf_refusal_name(reason)
            return name.decode()
        start = out.payload - c.addressof(buffer)
        assert 0 <= start <= start + out.payload_len <= len(frame)
        return Datagram(
            dst_mac=c.string_at(out.eth.dst, 6),
            src_mac=c.string_at(out.eth.src, 6),
            tags=tuple((tag.type, tag.tci) for tag in out.eth.tag[: out.eth.tags]),
            tos=out.tos,
            ttl=out.ttl,
            src_addr=bytes(c.c_uint32(out.src_addr)),
            dst_addr=bytes(c.c_uint32(out.dst_addr)),
            src_port=int.from_bytes(bytes(out.src_port), "big"),
            dst_port=int.from_bytes(bytes(out.dst_port), "big"),
            payload=frame[start : start + out.payload_len],
        )

    def emit(
        self, d: Datagram, id: int, *, dont_fragment: bool, sum: str, cuts: list[int], frame_cut: int | None = None
    ) -> bytes:
        """Return the frame. Its payload is cut into pieces, and with `frame_cut` the frame's memory too."""
        template = (c.c_uint8 * 256)()
        peer = self._peer(d, dont_fragment)
        assert self._c.sf_udp_template_init(c.addressof(template), c.byref(peer)) == 0
        payload = (c.c_uint8 * max(len(d.payload), 1)).from_buffer_copy(d.payload or b"\0")
        pieces = pieces_of(c.addressof(payload), len(d.payload), cuts)
        room = 14 + 4 * len(d.tags) + 28 + len(d.payload)
        frame = (c.c_uint8 * room)()
        how = (pieces, len(pieces), id, SUMS[sum])
        if frame_cut is None:
            written = self._c.sf_udp_emit(c.addressof(template), c.addressof(frame), room, *how)
        else:
            parts = pieces_of(c.addressof(frame), room, [room - min(frame_cut, len(d.payload))])
            written = self._c.sf_udp_emit_pieces(c.addressof(template), parts, len(parts), *how)
        assert written == room
        return bytes(frame)

    @staticmethod
    def _peer(d: Datagram, dont_fragment: bool) -> Peer:
        peer = peer_of(d.src_addr, d.dst_addr, d.src_port, d.dst_port)
        peer.ttl, peer.tos, peer.dont_fragment, peer.tags = d.ttl, d.tos, dont_fragment, len(d.tags)
        peer.src_mac[:], peer.dst_mac[:] = d.src_mac, d.dst_mac
        for i, tag in enumerate(d.tags):
            peer.tag[i] = Tag(*tag)
        return peer


def pieces_of(base: int, length: int, cuts: list[int]) -> c.Array[Piece]:
    """Return `length` bytes of memory, cut."""
    edges = [0, *sorted(min(cut, length) for cut in cuts), length]
    pairs = list(pairwise(edges))
    return (Piece * len(pairs))(*(Piece(base + start, end - start) for start, end in pairs))
