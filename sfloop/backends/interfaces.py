"""The interface in a loop's options: one of the kernel's, or a shared-memory wire."""

from __future__ import annotations

import errno
import os
import socket

from sfloop.common.names import nearest
from sfloop.options.options import Options

__all__ = ["check_interface", "wire_of"]


def wire_of(options: Options) -> tuple[str, str]:
    """Split an interface such as ``"feed@127.77.0.1"`` into the wire's name and this end's address.

    :raises ValueError: the name or the address is missing.
    """
    name, _, address = (options.interface or "").partition("@")
    if not name or not address:
        raise ValueError(
            f"interface={options.interface!r}: the shm driver needs the wire's name and this end's address, like "
            f"'feed@127.77.0.1'; the peer takes the same name and another address"
        )
    return name, address


def check_interface(options: Options) -> None:
    """Check that the options' interface exists, and that a wire is well-formed.

    :raises OSError: the interface does not exist (``ENODEV``).
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
