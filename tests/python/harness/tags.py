"""VLAN tags outside the frame, as a VLAN device over a veth pair sends them, or as a NIC passes them on."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

from harness import bpf
from harness.link import INTERFACE, Side

SO_MARK = 36
_SCHED_CLS, _TCX_EGRESS = 3, 47


def _load(mark: int, tci: int) -> int:
    code = b"".join(
        (
            bpf.instruction(0x61, 2, 1, 8),  # r2 = skb->mark
            bpf.instruction(0x55, 2, 0, 3, mark),  # if r2 != mark goto out
            bpf.instruction(0xB7, 2, 0, 0, socket.htons(0x8100)),  # r2 = the tag's type
            bpf.instruction(0xB7, 3, 0, 0, tci),  # r3 = the tag
            bpf.instruction(0x85, 0, 0, 0, 18),  # bpf_skb_vlan_push(r1, r2, r3)
            bpf.instruction(0xB7, 0, 0, 0, -1),  # out: r0 = TCX_NEXT
            bpf.instruction(0x95),
        )
    )
    return bpf.load(_SCHED_CLS, code)


@contextmanager
def tagged_aside(side: Side, mark: int, tci: int, interface: str = INTERFACE) -> Iterator[None]:
    """In this block, frames of sockets with this SO_MARK leave with a tag that is kept outside the frame."""
    with bpf.attached(side, interface, _load(mark, tci), _TCX_EGRESS):
        yield
