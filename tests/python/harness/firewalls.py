"""Firewall rules made without nft and iptables: nf_tables by netlink, legacy iptables by setsockopt()."""

from __future__ import annotations

import ctypes
import os
import socket
import struct
from collections.abc import Sequence

INET, IP, NETDEV = 1, 2, 5
PREROUTING, INPUT, FORWARD, OUTPUT, POSTROUTING = range(5)
DROP, ACCEPT, JUMP = 0, 1, -3
_NEW_TABLE, _NEW_CHAIN, _NEW_RULE = 0, 3, 6
_CREATE, _APPEND = 0x400, 0xC00

Message = tuple[int, int, int, bytes]  # type, flags, family, attributes


def attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def nested(kind: int, *values: bytes) -> bytes:
    return attribute(kind | 0x8000, b"".join(values))


def number(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack("!i", value))


def text(kind: int, value: str) -> bytes:
    return attribute(kind, value.encode() + b"\0")


def table(family: int, name: str, dormant: bool = False) -> Message:
    return _NEW_TABLE, _CREATE, family, text(1, name) + number(2, int(dormant))


def chain(
    family: int,
    in_table: str,
    name: str,
    hook: int | None = None,
    policy: int = ACCEPT,
    kind: str = "filter",
    device: str | None = None,
) -> Message:
    body = text(1, in_table) + text(3, name)
    if hook is not None:
        on = () if device is None else (text(3, device),)
        body += nested(4, number(1, hook), number(2, 100 if kind == "nat" else 0), *on) + number(5, policy)
        body += text(7, kind)
    return _NEW_CHAIN, _CREATE, family, body


def rule(family: int, in_table: str, in_chain: str, *expressions: bytes) -> Message:
    listed = (nested(1, expression) for expression in expressions)
    return _NEW_RULE, _APPEND, family, text(1, in_table) + text(2, in_chain) + nested(4, *listed)


def expression(name: str, *values: bytes) -> bytes:
    return text(1, name) + nested(2, *values)


def verdict(code: int, to: str | None = None) -> bytes:
    target = () if to is None else (text(2, to),)
    return expression("immediate", number(1, 0), nested(2, nested(2, number(1, code), *target)))


def interface_is(key: int, wanted: bytes, equal: bool = True) -> tuple[bytes, bytes]:
    """enum nft_meta_keys: 4 iif, 5 oif, 6 iifname, 7 oifname."""
    return (
        expression("meta", number(1, 1), number(2, key)),
        expression("cmp", number(1, 1), number(2, 0 if equal else 1), nested(3, attribute(1, wanted))),
    )


def name_of(interface: str) -> bytes:
    return interface.encode().ljust(16, b"\0")


MASQUERADE = expression("masq")
TRACKED = expression("ct", number(1, 1), number(2, 0))  # ct state, into register 1


def nft(*messages: Message) -> None:
    """Send a batch of messages in this thread's namespace."""

    def message(kind: int, flags: int, sequence: int, payload: bytes) -> bytes:
        return struct.pack("=IHHII", 16 + len(payload), kind, flags, sequence, 0) + payload

    batch = message(16, 1, 1, struct.pack("!BBH", 0, 0, 10))
    for sequence, (kind, flags, family, body) in enumerate(messages, 2):
        batch += message(10 << 8 | kind, 1 | 4 | flags, sequence, struct.pack("!BBH", family, 0, 0) + body)
    batch += message(17, 1, len(messages) + 2, struct.pack("!BBH", 0, 0, 10))
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12) as netlink:
        netlink.settimeout(5)
        netlink.send(batch)
        for _ in messages:
            error = -struct.unpack_from("=i", netlink.recv(4096), 16)[0]
            if error:
                raise OSError(error, os.strerror(error))


# ---- legacy iptables ----

_ENTRY = 112
_REPLACE, _INFO = 64, 64  # IPT_SO_SET_REPLACE, IPT_SO_GET_INFO
_HOOKS = (INPUT, FORWARD, OUTPUT)


def entry(verdict_: int, incoming: str | None = None, inverted: bool = False, match: str | None = None) -> bytes:
    """An entry with a standard target for an incoming interface, optionally with an empty match of this name."""
    name, mask = b"", b""
    if incoming is not None:
        name = incoming.encode() + b"\0"
        mask = b"\xff" * len(name)
    matches = b"" if match is None else struct.pack("=H29sB", 32, match.encode(), 0)
    target = struct.pack("=H29sBi4x", 40, b"", 0, verdict_)
    head = struct.pack("=16x16s16x16s16x", name, mask) + struct.pack("=HBB", 0, 0, int(inverted))
    return head + struct.pack("=IHHI16x", 0, _ENTRY + len(matches), _ENTRY + len(matches) + 40, 0) + matches + target


def error_entry(name: str) -> bytes:
    """The entry that begins a user's chain and ends a table."""
    target = struct.pack("=H29sB30s2x", 64, b"ERROR", 0, name.encode())
    return bytes(84) + struct.pack("=IHHI16x", 0, _ENTRY, _ENTRY + 64, 0) + target


RETURN, DROPPED, ACCEPTED = -5, -1, -2


def legacy(
    rules: Sequence[bytes] = (), policy: int = ACCEPTED, user: Sequence[bytes] | None = None
) -> tuple[list[int], list[int], int, bytes]:
    """A table filter: rules and policy of INPUT, and a user's chain whose first entry is at `user_chain()`."""
    data, first, last = b"", [0] * 5, [0] * 5
    count = 0
    for hook in _HOOKS:
        first[hook] = len(data)
        entries = list(rules) if hook == INPUT else []
        data += b"".join(entries)
        last[hook] = len(data)
        data += entry(policy if hook == INPUT else ACCEPTED)
        count += len(entries) + 1
    if user is not None:
        data += error_entry("USER") + b"".join(user) + entry(RETURN)
        count += len(user) + 2
    return first, last, count + 1, data + error_entry("ERROR")


def user_chain(rules_bytes: int) -> int:
    """The offset of the user's chain in a table whose INPUT has rules of this size."""
    return rules_bytes + 3 * len(entry(ACCEPTED)) + len(error_entry("USER"))


_libc = ctypes.CDLL(None, use_errno=True)


def load_legacy(made: tuple[list[int], list[int], int, bytes]) -> None:
    """Load a table filter in this thread's namespace."""
    first, last, count, data = made
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        info, length = ctypes.create_string_buffer(b"filter", 84), ctypes.c_uint(84)
        if _libc.getsockopt(asking.fileno(), 0, _INFO, info, ctypes.byref(length)) < 0:  # this creates the table
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        before = struct.unpack_from("=I", info.raw, 32 + 4 + 20 + 20)[0]
        counters = ctypes.create_string_buffer(16 * before)
        valid = sum(1 << hook for hook in _HOOKS)
        head = struct.pack("=32sIII5I5II", b"filter", valid, count, len(data), *first, *last, before)
        head += struct.pack("=Q", ctypes.addressof(counters))
        if _libc.setsockopt(asking.fileno(), 0, _REPLACE, head + data, len(head) + len(data)) < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
