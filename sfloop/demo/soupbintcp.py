"""SoupBinTCP packets, the framing under OUCH.

Source: Nasdaq's "SoupBinTCP 3.00" specification. Every packet has a big-endian length of two bytes (of the rest of the
packet), a type letter and a payload. Numbers in login packets are ASCII digits, padded on the left.

The decoders of examples/market_data/order_entry.py are apart from these on purpose: an example needs nothing of sfloop,
and two independent readings of the specification check each other in the tests.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

LENGTH = struct.Struct(">H")

DEBUG = b"+"
LOGIN_ACCEPTED = b"A"
LOGIN_REJECTED = b"J"
SEQUENCED_DATA = b"S"
SERVER_HEARTBEAT = b"H"
END_OF_SESSION = b"Z"
LOGIN_REQUEST = b"L"
UNSEQUENCED_DATA = b"U"
CLIENT_HEARTBEAT = b"R"
LOGOUT_REQUEST = b"O"

NOT_AUTHORIZED = b"A"
"""Login Rejected: invalid user name or password."""
SESSION_NOT_AVAILABLE = b"S"
"""Login Rejected: the requested session does not exist."""

HEARTBEAT_SECONDS = 1.0
"""Either peer sends a heartbeat after so much time without another packet."""

MAX_PAYLOAD = 0xFFFF - 1


def encode(packet_type: bytes, payload: bytes = b"") -> bytes:
    """Encode one packet.

    Raises ValueError for a payload of more than 65,534 bytes.
    """
    if len(payload) > MAX_PAYLOAD:
        raise ValueError(f"a SoupBinTCP payload has at most {MAX_PAYLOAD} bytes, not {len(payload)}")
    return LENGTH.pack(1 + len(payload)) + packet_type + payload


class Deframer:
    """Splits a TCP byte stream, which arrives in pieces of any size, into packets."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Yield (type, payload) of each packet that ``data`` completes.

        Raises ValueError for a packet of length zero, which cannot have a type.
        """
        self._buffer += data
        offset = 0
        try:
            while offset + LENGTH.size <= len(self._buffer):
                (length,) = LENGTH.unpack_from(self._buffer, offset)
                if length == 0:
                    raise ValueError("a SoupBinTCP packet of length 0 has no type")
                end = offset + LENGTH.size + length
                if end > len(self._buffer):
                    break
                packet = bytes(self._buffer[offset + LENGTH.size : end])
                offset = end
                yield packet[:1], packet[1:]
        finally:
            del self._buffer[:offset]


@dataclass(frozen=True)
class Login:
    """The payload of a Login Request. An empty ``session`` requests the current one; ``sequence`` 0 requests no
    replay."""

    username: str
    password: str
    session: str
    sequence: int

    def encode(self) -> bytes:
        """The complete packet."""
        payload = f"{self.username:<6}{self.password:<10}{self.session:>10}{self.sequence:>20}".encode(
            "ascii", "strict"
        )
        if len(payload) != 46:
            raise ValueError(f"a SoupBinTCP login holds 6 + 10 + 10 + 20 characters; this one has {len(payload)}")
        return encode(LOGIN_REQUEST, payload)

    @classmethod
    def decode(cls, payload: bytes) -> Login:
        """Decode the payload of a Login Request.

        Raises ValueError for a wrong length or a wrong sequence number.
        """
        if len(payload) != 46 or not payload.isascii():
            raise ValueError(f"a SoupBinTCP Login Request has 46 bytes of ASCII, not {payload!r}")
        text = payload.decode("ascii")
        number = text[26:].strip()
        if not number.isdigit():
            raise ValueError(f"a SoupBinTCP Login Request's sequence number is ASCII digits, not {text[26:]!r}")
        return cls(text[:6].strip(), text[6:16].strip(), text[16:26].strip(), int(number))


def encode_login_accepted(session: str, sequence: int) -> bytes:
    """The complete Login Accepted packet. ``sequence`` is the number of the next sequenced message."""
    return encode(LOGIN_ACCEPTED, f"{session:>10}{sequence:>20}".encode("ascii"))


def encode_login_rejected(reason: bytes) -> bytes:
    """The complete Login Rejected packet."""
    return encode(LOGIN_REJECTED, reason)
