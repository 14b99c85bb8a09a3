"""The interface that a loop's options name: one of the kernel's, or a wire in shared memory."""

from __future__ import annotations

import errno
import os
import socket

from sfloop.options.options import Options, nearest

__all__ = ["check_interface", "wire_of"]


def wire_of(options: Options) -> tuple[str, str]:
    """A shm wire's name and this side's address, of an interface like ``"feed@127.77.0.1"``.

    :raises ValueError: the interface is no such pair.
    """
    name, _, address = (options.interface or "").partition("@")
    if not name or not address:
        raise ValueError(
            f"interface={options.interface!r}: the shm driver needs the wire's name and this side's address, as in "
            f"'feed@127.77.0.1'; the program at the other end takes the same name and an address of its own"
        )
    return name, address


def check_interface(options: Options) -> None:
    """Refuse a wire that is none, and an interface that does not exist.

    :raises OSError: ``ENODEV``.
    :raises ValueError: see :func:`wire_of`.
    """
    if options.driver == "shm":
        wire_of(options)
        return
    interface = options.interface
    if interface is None:
        return
    present = [name for _, name in socket.if_nameindex()]
    if interface not in present:
        raise OSError(
            errno.ENODEV,
            f"interface={interface!r}: {os.strerror(errno.ENODEV).lower()}; this machine has "
            f"{', '.join(repr(name) for name in present)}{nearest(interface, present)}",
        )
