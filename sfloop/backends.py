"""Which network stacks and frame drivers this build and this machine have, and the choice among them."""

from __future__ import annotations

import errno
import os
import socket
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, Literal

from sfloop.config import DRIVERS, STACKS, Options, nearest

__all__ = ["Backend", "StackChoice", "backends", "select_stack"]


@dataclass(frozen=True)
class Backend:
    """A network stack or a frame driver, and whether a loop can use it here."""

    kind: Literal["stack", "driver"]
    name: str
    available: bool
    #: Why it is not available; or, when it is, what it needs.
    reason: str
    #: One line on what it is.
    description: str


@dataclass(frozen=True)
class StackChoice:
    """The stack a loop takes."""

    #: The stack that was taken.
    name: str
    #: Stack → why it was taken, or why it was passed over. Holds at least the stack that was taken.
    reasons: Mapping[str, str] = field(default_factory=dict)
    #: Whether something else was asked for and could not be had.
    fell_back: bool = False
    #: The frame driver under it.
    driver: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "reasons", MappingProxyType(dict(self.reasons)))


# What "auto" tries on an interface that was named, best first (the kernel stack, which always works, ends it). Onload
# is not among them: it is the kernel's sockets accelerated by a preloaded library, which whoever starts the program
# decides.
_AUTO_ORDER: Final = ("tcpdirect", "tcpip", "kernel")
# The drivers that serve an interface of the kernel's, best first.
_DRIVER_ORDER: Final = ("ef_vi", "af_xdp", "packet")

_NOT_BUILT: Final = "not built in this version of sfloop"
_NOTHING_NAMED: Final = "no interface was named (interface=, SFLOOP_INTERFACE), and nothing is attached to one unasked"

# <linux/capability.h>
_CAPABILITIES: Final = {"CAP_NET_ADMIN": 12, "CAP_NET_RAW": 13, "CAP_BPF": 39}
_CAP_SYS_ADMIN: Final = 21
_AF_XDP: Final = 44  # <linux/socket.h>; the socket module has it from no version on

_STACK_DESCRIPTIONS: Final = {
    "kernel": "the operating system's sockets, busy polled; any interface, no privileges",
    "tcpdirect": "TCPDirect (libonload_zf) on a Solarflare NIC",
    "tcpip": "sfloop's own TCP/UDP/IPv4 over a frame driver",
    "onload": "kernel sockets accelerated by Onload (libonload) on a Solarflare NIC",
}
_DRIVER_DESCRIPTIONS: Final = {
    "shm": "a wire in shared memory between two processes; for tests and demos",
    "af_xdp": "Linux AF_XDP sockets on one NIC queue",
    "packet": "Linux AF_PACKET rings on any interface",
    "ef_vi": "ef_vi virtual interfaces of a Solarflare NIC",
    "dpdk": "a DPDK poll-mode driver",
}


def backends() -> tuple[Backend, ...]:
    """Every stack and every frame driver that sfloop knows by name, stacks first, with whether it is available in
    this build on this machine and, if it is not, why."""
    drivers = tuple(Backend("driver", name, *_driver_state(name), _DRIVER_DESCRIPTIONS[name]) for name in DRIVERS)
    usable = ", ".join(driver.name for driver in drivers if driver.available)
    states = {"kernel": (True, "always available"), "tcpip": (True, f"UDP over the drivers {usable}")}
    stacks = tuple(
        Backend("stack", name, *states.get(name, (False, _NOT_BUILT)), _STACK_DESCRIPTIONS[name])
        for name in STACKS
        if name != "auto"
    )
    return stacks + drivers


def _driver_state(name: str) -> tuple[bool, str]:
    if name == "shm":
        return True, "needs no privileges"
    if name not in ("af_xdp", "packet"):
        return False, _NOT_BUILT
    missing = _missing_capabilities()
    if missing:
        return False, f"this process lacks {', '.join(missing)}: run it as root, or with these capabilities"
    if name == "af_xdp":
        try:
            socket.socket(_AF_XDP, socket.SOCK_RAW).close()
        except OSError as error:
            return False, f"the kernel gives no AF_XDP socket ({error.strerror}); it needs CONFIG_XDP_SOCKETS"
    return True, "any interface; needs an interface's name"


def _missing_capabilities() -> list[str]:
    with open("/proc/self/status") as status:
        effective = next((int(line.split()[1], 16) for line in status if line.startswith("CapEff:")), 0)
    if effective >> _CAP_SYS_ADMIN & 1 and effective >> _CAPABILITIES["CAP_NET_ADMIN"] & 1:
        return [] if effective >> _CAPABILITIES["CAP_NET_RAW"] & 1 else ["CAP_NET_RAW"]
    return [name for name, bit in _CAPABILITIES.items() if not effective >> bit & 1]


#: Opens a stack over a driver (None: the stack has none), or raises OSError to say why it cannot be had.
Opener = Callable[[str, "str | None"], None]


def select_stack(options: Options, open_stack: Opener | None = None) -> StackChoice:
    """The stack that a loop with these (resolved) options takes: the first that `open_stack` can open.

    ``stack="auto"`` takes the best one that works on ``options.interface``; without an interface that is the kernel's.
    A stack or driver that was asked for by name and cannot be had is replaced by the kernel stack, silently or with a
    ``RuntimeWarning``, or refused, by ``options.fallback``. An interface that does not exist is always refused: no
    fallback makes up for a misspelling. Without `open_stack`, what is available is only looked at.

    :raises OSError: the interface does not exist (``ENODEV``), or the stack or driver asked for cannot be had and
        ``fallback`` is ``"error"``.
    :raises ValueError: the interface is none of the driver's.
    """
    _check_interface(options)
    reasons: dict[str, str] = {}
    # Numbers, not exceptions: those would hold this frame, and it the loop, until a garbage collection.
    errnos: list[int] = []
    for stack, driver in _candidates(options):
        if stack == "kernel":
            break
        try:
            _check_available(stack, driver, options.interface)
            if open_stack is not None:
                open_stack(stack, driver)
        except OSError as error:
            why = str(error.strerror or error)
            if driver is not None and options.driver is None:
                why = f"over {driver}: {why}"
            reasons[stack] = f"{reasons[stack]}; {why}" if stack in reasons else why
            errnos.append(error.errno or errno.EOPNOTSUPP)
            continue
        reasons[stack] = f"taken, over the driver {driver}" if driver else "taken"
        return StackChoice(stack, reasons, driver=driver)
    if _asked_by_name(options):
        return _fall_back(options, reasons, errnos)
    asked = options.stack == "kernel"
    reasons["kernel"] = "asked for by name; always available" if asked else "taken: it works everywhere"
    return StackChoice("kernel", reasons)


def _asked_by_name(options: Options) -> bool:
    return options.driver is not None or options.stack not in ("auto", "kernel")


def _candidates(options: Options) -> list[tuple[str, str | None]]:
    """(stack, driver) in the order in which they are tried."""
    if options.driver is not None:
        return [("tcpip", options.driver)]
    if options.stack == "tcpip":
        return [("tcpip", driver) for driver in _DRIVER_ORDER]
    if options.stack != "auto":
        return [(options.stack, None)]
    order: list[tuple[str, str | None]] = []
    for stack in _AUTO_ORDER:
        order += [(stack, driver) for driver in _DRIVER_ORDER] if stack == "tcpip" else [(stack, None)]
    return order


def _check_available(stack: str, driver: str | None, interface: str | None) -> None:
    for backend in backends():
        if (backend.kind, backend.name) in (("stack", stack), ("driver", driver)) and not backend.available:
            raise OSError(errno.EOPNOTSUPP, backend.reason)
    if driver is not None and driver != "shm" and interface is None:
        raise OSError(errno.ENODEV, _NOTHING_NAMED)


def _fall_back(options: Options, reasons: dict[str, str], errnos: list[int]) -> StackChoice:
    kind, wanted = ("driver", options.driver) if options.driver is not None else ("stack", options.stack)
    stack, why = next(iter(reasons.items()))
    refusal = f"{kind}={wanted!r} cannot be used: {why}"
    if options.fallback == "error":
        available = ", ".join(repr(b.name) for b in backends() if b.kind == "stack" and b.available)
        raise OSError(
            errnos[0] if len(errnos) == 1 else errno.EOPNOTSUPP,
            f"{refusal}; the stacks available here are: {available} (see `sfloop backends`). Ask for one of those, or "
            f"let fallback be 'kernel' or 'warn' to take the kernel stack instead",
        )
    if options.fallback == "warn":
        # The frames in between are sfloop's: this function, select_stack, Loop.__init__.
        warnings.warn(f"{refusal}; the loop runs on the kernel stack", RuntimeWarning, stacklevel=4)
    return StackChoice("kernel", {stack: refusal, "kernel": f"taken instead of {kind}={wanted!r}"}, fell_back=True)


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


def _check_interface(options: Options) -> None:
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
