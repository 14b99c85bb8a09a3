"""Errors of TCPDirect as text: the cause, and what to do."""

from __future__ import annotations

import errno
import os

#: Huge pages of 2 MiB that a stack needs, without its packet buffers. The vendor advises 40 in total.
PAGES_OF_A_STACK = 10
BUFFER_BYTES = 2048
DEFAULT_BUFFERS = 17_500
PAGE_BYTES = 2 * 1024 * 1024


def _free_pages() -> int:
    with open("/proc/meminfo") as file:
        return next((int(line.split()[1]) for line in file if line.startswith("HugePages_Free:")), 0)


def huge_pages(wanted: int) -> None:
    """:raises OSError: fewer than ``wanted`` huge pages are free."""
    free = _free_pages()
    if free < wanted:
        raise OSError(errno.ENOMEM, _pages_missing(wanted, free))


def _pages_missing(wanted: int, free: int) -> str:
    return (
        f"TCPDirect needs about {wanted} huge pages of 2 MiB, and {free} are free; as root, "
        f"`sysctl vm.nr_hugepages={wanted + 20}` (or set fewer packet buffers with the attribute n_bufs)"
    )


def explain_init(error: int, path: str) -> OSError:
    """Explain why ``zf_init`` failed."""
    if error == errno.ENOENT:
        return OSError(
            error,
            f"TCPDirect ({path}) finds no control plane: Onload's libefcp.so.1 is not installed, or its driver is "
            f"not loaded; install the package onload and load its drivers (`onload_tool reload`), as root",
        )
    if error == errno.EINVAL:
        given = os.environ.get("ZF_ATTR")
        return OSError(error, f"TCPDirect does not understand ZF_ATTR={given!r}; write it as name=value;…")
    return OSError(error, f"TCPDirect ({path}) could not be initialised: zf_init() says {os.strerror(error)}")


def explain_stack(error: int, interface: str, buffers: int) -> OSError:
    """Explain why ``zf_stack_alloc`` failed (``zf_stack.h`` lists its errors)."""
    if error == errno.ENOMEM:
        wanted = PAGES_OF_A_STACK + -(-(buffers or DEFAULT_BUFFERS) * BUFFER_BYTES // PAGE_BYTES)
        return OSError(error, _pages_missing(wanted, _free_pages()))
    reasons = {
        errno.ENODEV: "TCPDirect cannot use this interface: it needs a Solarflare NIC with the vendor's sfc driver, an "
        "address and link",
        errno.EBUSY: "the NIC has no virtual interface left; end other programs that use it, or raise the number that "
        "its driver offers (sfboot vi-count)",
        errno.ENOKEY: "the adapter has no licence for TCPDirect: see the vendor's sfkey",
        errno.ENOSPC: "no PIO buffer is left: leave the attribute pio at 1, which works without one",
        errno.ENOENT: "the drivers of Onload are not loaded: `onload_tool reload`, as root",
        errno.EACCES: "this process may not open /dev/sfc_char: run it as a user who may, or change its mode",
        errno.EPERM: "this process may not open /dev/sfc_char: run it as a user who may, or change its mode",
        errno.EINVAL: "an attribute is out of its range (tcpdirect=, ZF_ATTR)",
    }
    why = reasons.get(error, f"zf_stack_alloc() returned {os.strerror(error)}")
    return OSError(error, f"interface={interface!r}: {why}")
