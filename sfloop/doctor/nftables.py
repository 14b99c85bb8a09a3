"""The rules of nf_tables that may apply on an interface, read by netlink (<linux/netfilter/nf_tables.h>) without the
program ``nft``. They include the rules of iptables-nft, firewalld and Docker."""

from __future__ import annotations

import errno
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from sfloop.doctor.finding import UnseenError
from sfloop.doctor.netlink import attributes, dump, index_of
from sfloop.doctor.rules import Chain, Effect, Hook

_NETFILTER: Final = 12  # NETLINK_NETFILTER
_SUBSYSTEM: Final = 10 << 8  # NFNL_SUBSYS_NFTABLES
_GET_TABLE, _GET_CHAIN, _GET_RULE = 1, 4, 7
_DORMANT: Final = 1  # NFT_TABLE_F_DORMANT
_HARDWARE: Final = 2  # NFT_CHAIN_HW_OFFLOAD
_JUMP, _GOTO = -3, -4

#: Families of nfgenmsg. Those of IPv6, ARP and bridges are missing, because sfloop's stack carries IPv4 only.
_FAMILIES: Final = {1: "inet", 2: "ip", 5: "netdev"}
_NETDEV: Final = 5
_HOOKS: Final[dict[int, Hook]] = {0: "prerouting", 1: "input", 3: "output", 4: "postrouting", 5: "ingress"}
_DEVICE_HOOKS: Final[dict[int, Hook]] = {0: "ingress", 1: "egress"}
_INCOMING: Final = ("prerouting", "input", "ingress")

#: enum nft_meta_keys: iif, oif, iifname, oifname.
_IIF, _OIF, _IIFNAME, _OIFNAME = 4, 5, 6, 7
_INTERFACE_KEYS: Final = (_IIF, _OIF, _IIFNAME, _OIFNAME)
_TRANSLATING: Final = ("masq", "nat", "redir")
_TRANSLATING_TARGETS: Final = ("MASQUERADE", "SNAT", "DNAT", "REDIRECT", "NETMAP")
_TRACKING_MATCHES: Final = ("conntrack", "state")

_Key = tuple[int, str, str]  # family, table, chain


@dataclass(frozen=True)
class _Rule:
    expressions: tuple[tuple[str, dict[int, bytes]], ...]


@dataclass
class _Ruleset:
    rules: dict[_Key, list[_Rule]] = field(default_factory=dict)


def chains(interface: str) -> list[Chain]:
    """The chains that frames of an interface pass through and that have rules or the policy drop.

    :raises UnseenError: this process may not read the rules, or the interface does not exist.
    """
    index = index_of(interface)
    try:
        dormant = {
            (family, _text(table.get(1, b""))) for family, table in _all(_GET_TABLE) if _number(table.get(2)) & _DORMANT
        }
        listed = list(_all(_GET_CHAIN))
        ruleset = _Ruleset()
        for family, rule in _all(_GET_RULE):
            ruleset.rules.setdefault((family, _text(rule.get(1, b"")), _text(rule.get(2, b""))), []).append(
                _rule(rule.get(4, b""))
            )
    except OSError as error:
        if error.errno in (errno.EPERM, errno.EACCES):
            raise UnseenError("this process may not read the rules of nf_tables: run as root") from None
        if error.errno in (errno.EPROTONOSUPPORT, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOENT):
            return []  # this kernel has no nf_tables
        raise UnseenError(f"the kernel did not return the rules of nf_tables ({error.strerror or error})") from None
    found = []
    for family, chain in listed:
        key = (family, _text(chain.get(1, b"")), _text(chain.get(3, b"")))
        hook = _hook(family, chain, interface)
        if hook is None or key[:2] in dormant or _number(chain.get(10)) & _HARDWARE:
            continue
        effect = _effect(ruleset, key, interface, index, hook, frozenset())
        drops = 5 in chain and _number(chain[5]) == 0
        if effect.rules or drops:
            name = f"nft {_FAMILIES[family]} {key[1]} {key[2]}"
            found.append(Chain(name, hook, effect.rules, drops, effect.translates, effect.tracks))
    return found


def _all(kind: int) -> Iterator[tuple[int, dict[int, bytes]]]:
    """Yield (family, attributes) of all objects of a kind in the families that apply to IPv4."""
    for message in dump(_NETFILTER, _SUBSYSTEM | kind, struct.pack("=BBH", 0, 0, 0)):
        if len(message) >= 4 and message[0] in _FAMILIES:
            yield message[0], dict(attributes(message[4:]))


def _text(value: bytes) -> str:
    return value.split(b"\0")[0].decode(errors="replace")


def _number(value: bytes | None) -> int:
    return struct.unpack("!i", value)[0] if value is not None and len(value) == 4 else 0


def _hook(family: int, chain: dict[int, bytes], interface: str) -> Hook | None:
    """The hook of a base chain, if frames of the interface from or to this host pass through it."""
    if 4 not in chain:
        return None
    hook = dict(attributes(chain[4]))
    number = _number(hook.get(1))
    kind = (_DEVICE_HOOKS if family == _NETDEV else _HOOKS).get(number)
    if kind in ("ingress", "egress"):
        devices = [_text(hook[3])] if 3 in hook else [_text(device) for _, device in attributes(hook.get(4, b""))]
        if interface not in devices:
            return None
    return kind


def _rule(data: bytes) -> _Rule:
    expressions = []
    for _, element in attributes(data):
        expression = dict(attributes(element))
        expressions.append((_text(expression.get(1, b"")), dict(attributes(expression.get(2, b"")))))
    return _Rule(tuple(expressions))


def _effect(ruleset: _Ruleset, key: _Key, interface: str, index: int, hook: Hook, above: frozenset[_Key]) -> Effect:
    """The combined effect on the interface of a chain's rules, with the chains that they jump to."""
    total = Effect()
    for rule in ruleset.rules.get(key, ()):
        if not _may_match(rule, interface, index, hook):
            continue
        target = _jump(rule)
        effect = Effect(1, _translates(rule), _tracks(rule))
        if target is not None:
            below = (*key[:2], target)
            inner = Effect() if below in above else _effect(ruleset, below, interface, index, hook, above | {key})
            effect = Effect(inner.rules, inner.translates, inner.tracks or (effect.tracks and inner.rules > 0))
        total.add(effect)
    return total


def _may_match(rule: _Rule, interface: str, index: int, hook: Hook) -> bool:
    """False if the rule compares the frame's interface with another one."""
    loaded: dict[bytes, int] = {}  # register → key
    for name, values in rule.expressions:
        if name == "meta" and _number(values.get(2)) in _INTERFACE_KEYS and 1 in values:
            loaded[values[1]] = _number(values[2])
        elif name == "cmp" and values.get(1) in loaded:
            key, equal = loaded[values[1]], _number(values.get(2)) == 0
            incoming = hook in _INCOMING
            if incoming != (key in (_IIF, _IIFNAME)):
                continue  # it compares the other interface, which only a forwarded frame has
            wanted = dict(attributes(values.get(3, b""))).get(1, b"")
            if _names(wanted, key, interface, index) != equal:
                return False
        else:
            loaded.clear()
    return True


def _names(wanted: bytes, key: int, interface: str, index: int) -> bool:
    if key in (_IIF, _OIF):
        return wanted == struct.pack("=I", index)
    # A name with a wildcard has no terminating zero, so compare its length only.
    return interface.encode().ljust(16, b"\0").startswith(wanted)


def _jump(rule: _Rule) -> str | None:
    for name, values in rule.expressions:
        verdict = dict(attributes(dict(attributes(values.get(2, b""))).get(2, b""))) if name == "immediate" else {}
        if _number(verdict.get(1)) in (_JUMP, _GOTO):
            return _text(verdict.get(2, b""))
    return None


def _translates(rule: _Rule) -> bool:
    return any(
        name in _TRANSLATING or (name == "target" and _text(values.get(1, b"")) in _TRANSLATING_TARGETS)
        for name, values in rule.expressions
    )


def _tracks(rule: _Rule) -> bool:
    return any(
        name == "ct" or (name == "match" and _text(values.get(1, b"")) in _TRACKING_MATCHES)
        for name, values in rule.expressions
    )
