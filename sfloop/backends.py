"""Which network stacks and frame drivers this build and this machine have, and the choice among them."""

from __future__ import annotations

import errno
import os
import socket
import warnings
from collections.abc import Mapping
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

    def __post_init__(self) -> None:
        object.__setattr__(self, "reasons", MappingProxyType(dict(self.reasons)))


# What "auto" tries, best first (the kernel stack, which always works, ends it). Onload is not among them: it is the
# kernel's sockets accelerated by a preloaded library, which the one who starts the program decides.
_AUTO_ORDER: Final = ("tcpdirect", "tcpip", "kernel")

_NOT_BUILT: Final = "not built in this version of sfloop"

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
    stacks = tuple(
        Backend("stack", name, name == "kernel", _stack_reason(name), _STACK_DESCRIPTIONS[name])
        for name in STACKS
        if name != "auto"
    )
    drivers = tuple(Backend("driver", name, False, _NOT_BUILT, _DRIVER_DESCRIPTIONS[name]) for name in DRIVERS)
    return stacks + drivers


def select_stack(options: Options) -> StackChoice:
    """The stack that a loop with these (resolved) options takes.

    ``stack="auto"`` takes the best stack that is available. A stack or driver that was asked for by name and is not
    available is replaced by the kernel stack, silently or with a ``RuntimeWarning``, or refused, by
    ``options.fallback``. An interface that does not exist is always refused: no fallback makes up for a misspelling.

    :raises OSError: the interface does not exist (``ENODEV``), or the stack or driver asked for is not available and
        ``fallback`` is ``"error"`` (``EOPNOTSUPP``).
    """
    _check_interface_exists(options.interface)
    asked = _asked_for(options)
    if asked is None:
        reasons = {name: _stack_reason(name) for name in _AUTO_ORDER}
        name = next(name for name in _AUTO_ORDER if _is_available("stack", name))
        return StackChoice(name, reasons)
    kind, wanted = asked
    if _is_available(kind, wanted):
        # Only a stack can be available by name in this version, and only the kernel's.
        return StackChoice(wanted, {wanted: f"asked for by name; {_stack_reason(wanted)}"})
    return _fall_back(options, kind, wanted)


def _asked_for(options: Options) -> tuple[Literal["stack", "driver"], str] | None:
    """What was asked for by name, the more particular first; ``None`` leaves the choice to us."""
    if options.driver is not None:
        return "driver", options.driver
    if options.stack != "auto":
        return "stack", options.stack
    return None


def _fall_back(options: Options, kind: str, wanted: str) -> StackChoice:
    reason = next(backend.reason for backend in backends() if backend.kind == kind and backend.name == wanted)
    refusal = f"{kind}={wanted!r} cannot be used: {reason}"
    available = ", ".join(repr(backend.name) for backend in backends() if backend.kind == "stack" and backend.available)
    if options.fallback == "error":
        raise OSError(
            errno.EOPNOTSUPP,
            f"{refusal}; the stacks available here are: {available} (see `sfloop backends`). Ask for one of those, or "
            f"let fallback be 'kernel' or 'warn' to take the kernel stack instead",
        )
    if options.fallback == "warn":
        # The frames in between are sfloop's: this function, select_stack, Loop.__init__.
        warnings.warn(f"{refusal}; the loop runs on the kernel stack", RuntimeWarning, stacklevel=4)
    stack = "tcpip" if kind == "driver" else wanted
    return StackChoice("kernel", {stack: refusal, "kernel": f"taken instead of {kind}={wanted!r}"}, fell_back=True)


def _is_available(kind: str, name: str) -> bool:
    return any(backend.available for backend in backends() if backend.kind == kind and backend.name == name)


def _stack_reason(name: str) -> str:
    return "always available" if name == "kernel" else _NOT_BUILT


def _check_interface_exists(interface: str | None) -> None:
    if interface is None:
        return
    present = [name for _, name in socket.if_nameindex()]
    if interface not in present:
        raise OSError(
            errno.ENODEV,
            f"interface={interface!r}: {os.strerror(errno.ENODEV).lower()}; this machine has "
            f"{', '.join(repr(name) for name in present)}{nearest(interface, present)}",
        )
