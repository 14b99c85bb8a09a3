"""A trivial XDP program, attached to an interface without sfloop: it passes everything."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from harness import bpf
from harness.link import Side

PROG_TYPE_XDP, ATTACH_XDP, XDP_FLAGS_DRV_MODE, XDP_PASS = 6, 37, 4, 2
RETURN_PASS = bpf.instruction(0xB7, value=XDP_PASS) + bpf.instruction(0x95)  # r0 = XDP_PASS; exit


@contextmanager
def attached(side: Side, interface: str) -> Iterator[None]:
    program = bpf.load(PROG_TYPE_XDP, RETURN_PASS)
    with bpf.attached(side, interface, program, ATTACH_XDP, XDP_FLAGS_DRV_MODE):
        yield
