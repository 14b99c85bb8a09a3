"""MoldUDP64 packets: sequenced messages in UDP datagrams, as the exchange writes and reads them.

Source: Nasdaq's "MoldUDP64 Protocol Specification" 1.00. A downstream packet is a header (session of ten bytes,
sequence number of its first message in eight, message count in two) and that many message blocks (length in two bytes,
then the message). A count of zero is a heartbeat and 0xFFFF the end of the session; both carry the next sequence
number. A request packet has the header's layout and asks for ``count`` messages from ``sequence`` on.

The decoders of examples/market_data/moldudp64.py are apart from these on purpose: an example needs nothing of sfloop,
and two independent readings of the specification check each other in the tests.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass

HEADER = struct.Struct(">10sQH")
LENGTH = struct.Struct(">H")

HEARTBEAT = 0
END_OF_SESSION = 0xFFFF
MAX_COUNT = END_OF_SESSION - 1

MAX_PACKET = 1472
"""Bytes of UDP payload that fit one Ethernet frame of 1,500 bytes."""


def session_name(name: str) -> bytes:
    """``name`` as the ten bytes of a session field.

    Raises ValueError unless it has 1 to 10 ASCII characters.
    """
    if not name.isascii() or not 1 <= len(name) <= 10:
        raise ValueError(f"session {name!r}: a MoldUDP64 session is named by 1 to 10 ASCII characters")
    return name.encode("ascii").ljust(10)


@dataclass(frozen=True)
class Downstream:
    """A decoded downstream packet. A heartbeat and an end of session have no messages."""

    session: bytes
    sequence: int
    count: int
    messages: tuple[bytes, ...]


def encode(session: bytes, sequence: int, messages: Iterable[bytes]) -> bytes:
    """A downstream packet of ``messages``. The first one has number ``sequence``."""
    blocks = [LENGTH.pack(len(message)) + message for message in messages]
    if not 1 <= len(blocks) <= MAX_COUNT:
        raise ValueError(f"a MoldUDP64 packet of data holds 1 to {MAX_COUNT} messages, not {len(blocks)}")
    return HEADER.pack(session, sequence, len(blocks)) + b"".join(blocks)


def encode_heartbeat(session: bytes, next_sequence: int) -> bytes:
    """A heartbeat: tells the number of the next message while there is nothing to send."""
    return HEADER.pack(session, next_sequence, HEARTBEAT)


def encode_end_of_session(session: bytes, next_sequence: int) -> bytes:
    """The end of session: message ``next_sequence`` will never come."""
    return HEADER.pack(session, next_sequence, END_OF_SESSION)


def decode(packet: bytes) -> Downstream:
    """Decode a downstream packet.

    Raises ValueError if the packet is too short for its header or its messages, or has bytes left over.
    """
    if len(packet) < HEADER.size:
        raise ValueError(f"a MoldUDP64 packet has at least {HEADER.size} bytes, not {len(packet)}")
    session, sequence, count = HEADER.unpack_from(packet)
    messages = []
    offset = HEADER.size
    for index in range(0 if count == END_OF_SESSION else count):
        if offset + LENGTH.size > len(packet):
            raise ValueError(f"MoldUDP64 packet {sequence}: it ends before message {index + 1} of {count}")
        (length,) = LENGTH.unpack_from(packet, offset)
        offset += LENGTH.size
        if offset + length > len(packet):
            raise ValueError(
                f"MoldUDP64 packet {sequence}: message {index + 1} of {count} has {length} bytes, "
                f"and {len(packet) - offset} are left"
            )
        messages.append(packet[offset : offset + length])
        offset += length
    if offset != len(packet):
        raise ValueError(f"MoldUDP64 packet {sequence}: {len(packet) - offset} bytes follow its last message")
    return Downstream(session, sequence, count, tuple(messages))


def encode_request(session: bytes, sequence: int, count: int) -> bytes:
    """A request for ``count`` messages from ``sequence`` on."""
    return HEADER.pack(session, sequence, count)


def decode_request(packet: bytes) -> tuple[bytes, int, int]:
    """(session, sequence, count) of a request packet.

    Raises ValueError unless it has the length of a header.
    """
    if len(packet) != HEADER.size:
        raise ValueError(f"a MoldUDP64 request packet has {HEADER.size} bytes, not {len(packet)}")
    session, sequence, count = HEADER.unpack(packet)
    return session, sequence, count
