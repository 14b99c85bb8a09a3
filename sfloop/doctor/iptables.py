"""The rules of legacy iptables that may apply on an interface, read with iptables' own socket options
(<linux/netfilter_ipv4/ip_tables.h>). Only tables that are loaded are read, because a request loads the table's
module."""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct
from collections.abc import Callable
from typing import Final

from sfloop.doctor.finding import UnseenError
from sfloop.doctor.rules import Chain, Effect, Hook

_GET_INFO, _GET_ENTRIES = 64, 65  # IPT_SO_GET_*
#: struct ipt_getinfo without the name: valid_hooks, hook_entry[5], underflow[5], num_entries, size.
_INFO: Final = "=I5I5III"
#: struct ipt_entry: names and masks of the interfaces, inverted flags, offsets of the target and of the next entry.
_ENTRY: Final = "=16x16s16s16s16s2xBB4xHH"
_ENTRY_SIZE: Final = 112
_ENTRIES: Final = 40  # offset of the entries in struct ipt_get_entries: after a name, a size and padding
_INVERT_IN, _INVERT_OUT = 1, 2
_DROP: Final = -1  # the verdict of a standard target: -NF_DROP - 1
_HOOKS: Final[dict[int, tuple[str, Hook]]] = {
    0: ("PREROUTING", "prerouting"),
    1: ("INPUT", "input"),
    3: ("OUTPUT", "output"),
    4: ("POSTROUTING", "postrouting"),
}
_INCOMING: Final = ("prerouting", "input")
_TRANSLATING: Final = ("MASQUERADE", "SNAT", "DNAT", "REDIRECT", "NETMAP")
_TRACKING: Final = ("conntrack", "state")

#: (table, option, length of the answer) → the answer.
Read = Callable[[str, int, int], bytes]

_libc = ctypes.CDLL(None, use_errno=True)


def read(table: str, option: int, size: int) -> bytes:
    """Call getsockopt() with the table's name and the size of the answer in the buffer.

    :raises OSError: the kernel refuses.
    """
    head = table.encode().ljust(32, b"\0") + (struct.pack("=I", size - _ENTRIES) if option == _GET_ENTRIES else b"")
    buffer = ctypes.create_string_buffer(head, size)
    length = ctypes.c_uint(size)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        if _libc.getsockopt(asking.fileno(), socket.IPPROTO_IP, option, buffer, ctypes.byref(length)) < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return buffer.raw[: length.value]


def chains(interface: str, tables: list[str], reading: Read = read) -> list[Chain]:
    """The chains that frames of an interface pass through and that have rules or the policy DROP.

    :raises UnseenError: this process may not read the rules.
    """
    found = []
    for table in tables:
        try:
            found += _Table(table, reading).chains(interface)
        except OSError as error:
            if error.errno in (errno.EPERM, errno.EACCES):
                raise UnseenError("this process may not read the rules of iptables: run as root") from None
            raise UnseenError(f"the kernel did not return iptables' table {table} ({error.strerror})") from None
    return found


class _Table:
    def __init__(self, name: str, reading: Read) -> None:
        self.name = name
        info = struct.unpack_from(_INFO, reading(name, _GET_INFO, 32 + struct.calcsize(_INFO)), 32)
        self.valid, self.first, self.last, size = info[0], info[1:6], info[6:11], info[12]
        self.entries = reading(name, _GET_ENTRIES, _ENTRIES + size)[_ENTRIES:]

    def chains(self, interface: str) -> list[Chain]:
        found = []
        for number, (title, hook) in _HOOKS.items():
            if not self.valid >> number & 1:
                continue
            effect = self._walk(self.first[number], self.last[number], interface, hook, frozenset())
            drops = self._verdict(self.last[number]) == _DROP
            if effect.rules or drops:
                name = f"iptables -t {self.name} {title}"
                found.append(Chain(name, hook, effect.rules, drops, effect.translates, effect.tracks))
        return found

    def _walk(self, at: int, end: int | None, interface: str, hook: Hook, above: frozenset[int]) -> Effect:
        """The combined effect of a chain's entries, up to its policy or to the return of a user's chain."""
        total = Effect()
        while at != end and at + _ENTRY_SIZE <= len(self.entries):
            entry = struct.unpack_from(_ENTRY, self.entries, at)
            target_at, next_at = entry[6:8]
            target, verdict = self._target(at + target_at), self._verdict(at)
            if next_at < _ENTRY_SIZE or target == "ERROR" or (end is None and self._returns(at)):
                break
            if _may_match(entry, interface, hook):
                tracks = any(name in _TRACKING for name in self._matches(at, target_at))
                effect = Effect(1, target in _TRANSLATING, tracks)
                # A verdict of 0 or more leads to a user's chain, unless it is the next entry.
                if target == "" and verdict >= 0 and verdict != at + next_at:
                    inner = Effect()
                    if verdict not in above:
                        inner = self._walk(verdict, None, interface, hook, above | {verdict})
                    effect = Effect(inner.rules, inner.translates, inner.tracks or (tracks and inner.rules > 0))
                total.add(effect)
            at += next_at
        return total

    def _target(self, at: int) -> str:
        return self.entries[at + 2 : at + 31].split(b"\0")[0].decode(errors="replace")

    def _verdict(self, at: int) -> int:
        """The verdict of a standard target; 0 for other targets."""
        if at + _ENTRY_SIZE > len(self.entries):
            return 0
        target_at = at + struct.unpack_from(_ENTRY, self.entries, at)[6]
        if self._target(target_at) != "" or target_at + 36 > len(self.entries):
            return 0
        return int(struct.unpack_from("=i", self.entries, target_at + 32)[0])

    def _returns(self, at: int) -> bool:
        """Whether this entry is the end of a user's chain: RETURN for everything."""
        unconditional = self.entries[at : at + 84] == bytes(84)
        return unconditional and self._verdict(at) == -5  # XT_RETURN: -NF_REPEAT - 1

    def _matches(self, at: int, target_at: int) -> list[str]:
        found, match = [], at + _ENTRY_SIZE
        while match + 32 <= at + target_at <= len(self.entries):
            size = struct.unpack_from("=H", self.entries, match)[0]
            if size < 32:
                break
            found.append(self._target(match))
            match += size
        return found


def _may_match(entry: tuple[bytes | int, ...], interface: str, hook: Hook) -> bool:
    """False if the rule names another interface."""
    incoming = hook in _INCOMING
    name, mask = (entry[0], entry[2]) if incoming else (entry[1], entry[3])
    inverted = entry[5]
    assert isinstance(name, bytes) and isinstance(mask, bytes) and isinstance(inverted, int)
    ours = interface.encode().ljust(16, b"\0")
    same = all((own ^ wanted) & bits == 0 for own, wanted, bits in zip(ours, name, mask, strict=True))
    return same != bool(inverted & (_INVERT_IN if incoming else _INVERT_OUT))
