"""Opening a loop's stack: turns the loop's options into those of the stack and of the driver below it."""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from sfloop.backends.interfaces import wire_of
from sfloop.options.tcplimits import in_nanoseconds

if TYPE_CHECKING:
    from sfloop.native.cores.core import FrameDriver, LoopCore
    from sfloop.options.options import Options

__all__ = ["WRAPPERS", "open_stack"]

#: The wrappers of drivers, from the wire upwards, and the option that asks for each. The capture is above the faults,
#: so it shows the frames that the faults have left.
WRAPPERS: Final = {"fault": "faults", "pcap": "pcap", "trace": "trace"}


def open_stack(loop: LoopCore, options: Options, stack: str, driver: str | None, interface: str | None) -> str | None:
    """Gives a loop a stack. Returns the vendor's library that serves it, for people; None: there is none.

    :raises OSError: the stack cannot be opened. The text names the missing condition and a remedy.
    """
    return _HALVES.get(stack, _open_as_it_is)(loop, options, stack, driver, interface)


def _frame_driver(options: Options, driver: str, interface: str | None) -> FrameDriver:
    name, address = wire_of(options) if driver == "shm" else (interface or "", "0.0.0.0")
    wrappers = [(wrapper, getattr(options, option)) for wrapper, option in WRAPPERS.items()]
    packed = int.from_bytes(socket.inet_aton(address), sys.byteorder)
    asked = [(wrapper, value) for wrapper, value in wrappers if value is not None]
    return driver, name, packed, asked, options.ring_frames


def _open_as_it_is(
    loop: LoopCore, options: Options, stack: str, driver: str | None, interface: str | None
) -> str | None:
    """A stack with nothing to be set but the interface, which it may ignore."""
    from sfloop.native.cores.core import stack_options

    given: dict[str, int | str] = {"interface": interface} if interface and "interface" in stack_options(stack) else {}
    loop._open_stack(stack, _frame_driver(options, driver, interface) if driver is not None else None, given)
    return None


def _open_tcpip(loop: LoopCore, options: Options, stack: str, driver: str | None, interface: str | None) -> str | None:
    below = _frame_driver(options, driver, interface) if driver is not None else None
    name = below[1] if below is not None else ""
    loop._open_stack(stack, below, {"interface": name, **in_nanoseconds(options.tcp)})
    return None


def _open_tcpdirect(
    loop: LoopCore, options: Options, stack: str, driver: str | None, interface: str | None
) -> str | None:
    from sfloop.native.libraries import tcpdirect  # loads the vendor's library

    return tcpdirect.attach(loop, interface or "", options.tcpdirect or {}, options.fallback != "error")


def _open_nothing(
    loop: LoopCore, options: Options, stack: str, driver: str | None, interface: str | None
) -> str | None:
    """The kernel stack's own calls are Onload's."""
    return None


#: The Python half of a stack, by its name.
_HALVES: Final[dict[str, Callable[[LoopCore, Options, str, str | None, str | None], str | None]]] = {
    "tcpip": _open_tcpip,
    "tcpdirect": _open_tcpdirect,
    "onload": _open_nothing,
}
