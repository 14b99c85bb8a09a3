"""The choice of a loop's stack, and of an Ethernet endpoint's frame driver."""

from __future__ import annotations

import errno
import os
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from sfloop.backends.available import Kind, backends, state_of
from sfloop.backends.interfaces import check_interface, wire_of
from sfloop.options.options import DriverOption, Options

__all__ = ["StackChoice", "open_frame_driver", "select_stack"]


@dataclass(frozen=True)
class StackChoice:
    """The stack that a loop takes."""

    #: Name of the stack.
    name: str
    #: Stack → why it was taken or passed over. Holds at least the stack that was taken.
    reasons: Mapping[str, str] = field(default_factory=dict)
    #: Whether the kernel stack replaces a stack or driver that was asked for.
    fell_back: bool = False
    #: The frame driver of the stack, or None.
    driver: str | None = None
    #: The interface that the stack accelerates. If no interface was asked for, only a Solarflare NIC's.
    interface: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "reasons", MappingProxyType(dict(self.reasons)))


# The stacks that "auto" tries on an interface that was named, best first. Onload is missing, because a preloaded
# library accelerates the kernel's sockets there, and the start of the process decides that.
_AUTO_ORDER: Final = ("tcpdirect", "tcpip", "kernel")
# The drivers that serve a network interface of the kernel, best first.
_DRIVER_ORDER: Final = ("ef_vi", "af_xdp", "packet")
# The stacks and drivers that "auto" may attach to a Solarflare NIC if no interface was named, because they take only
# their own flows from the kernel.
_UNASKED: Final = (("tcpdirect", None), ("tcpip", "ef_vi"))

_NOTHING_NAMED: Final = "no interface was named: give interface= or set SFLOOP_INTERFACE"

# The choice if no interface was named and no Solarflare NIC is there. It is the same for every such loop. Most loops
# are of this kind, so no library or driver is searched for them.
_KERNEL_UNASKED: Final = StackChoice(
    "kernel",
    {"tcpdirect": _NOTHING_NAMED, "tcpip": _NOTHING_NAMED, "kernel": "taken: it works everywhere"},
)

#: Opens a stack on an interface over a driver (None: the stack has no driver). Raises OSError with the reason if it
#: cannot.
Opener = Callable[[str, "str | None", "str | None"], None]


def select_stack(options: Options, open_stack: Opener | None = None) -> StackChoice:
    """Choose the stack of a loop: the first candidate that `open_stack` can open.

    ``stack="auto"`` takes the best stack that works on ``options.interface``. Without an interface it tries Solarflare
    NICs that have their vendor's driver and library, and else takes the kernel stack.

    If a stack or driver was asked for by name and cannot be opened, ``options.fallback`` decides: take the kernel
    stack, silently or with a ``RuntimeWarning``, or raise. An interface that does not exist always raises, because it
    is a misspelling.

    :param options: resolved options.
    :param open_stack: None: check only which stacks are available.
    :raises OSError: the interface does not exist (``ENODEV``), or the stack or driver asked for cannot be used and
        ``fallback`` is ``"error"``.
    :raises ValueError: the driver cannot use an interface of this form.
    """
    check_interface(options)
    candidates = _candidates(options)
    if not candidates:
        return _KERNEL_UNASKED
    reasons: dict[str, str] = {}
    # Keep error numbers and not exceptions. An exception would keep this frame, and with it the loop, alive until a
    # garbage collection.
    errnos: list[int] = []
    for stack, driver, interface in candidates:
        if stack == "kernel":
            break
        try:
            _check_available(stack, driver, interface)
            if open_stack is not None:
                open_stack(stack, driver, interface)
        except OSError as error:
            why = str(error.strerror or error)
            if driver is not None and options.driver is None:
                why = f"over {driver}: {why}"
            if interface != options.interface:
                why = f"on {interface}: {why}"
            reasons[stack] = f"{reasons[stack]}; {why}" if stack in reasons else why
            errnos.append(error.errno or errno.EOPNOTSUPP)
            continue
        taken = f"taken, over the driver {driver}" if driver else "taken"
        reasons[stack] = taken if interface == options.interface else f"{taken}, on {interface}"
        return StackChoice(stack, reasons, driver=driver, interface=interface)
    if _asked_by_name(options):
        return _fall_back(options, reasons, errnos)
    asked = options.stack == "kernel"
    reasons["kernel"] = "asked for by name; always available" if asked else "taken: it works everywhere"
    return StackChoice("kernel", reasons)


def _asked_by_name(options: Options) -> bool:
    return options.driver is not None or options.stack not in ("auto", "kernel")


def _candidates(options: Options) -> list[tuple[str, str | None, str | None]]:
    """(stack, driver, interface) in the order in which they are tried. Empty: no interface was named, and no NIC may be
    accelerated without being asked for."""
    interface = options.interface
    if options.driver is not None:
        return [("tcpip", options.driver, interface)]
    if options.stack == "tcpip":
        return [("tcpip", driver, interface) for driver in _DRIVER_ORDER]
    if options.stack != "auto":
        return [(options.stack, None, interface)]
    if interface is None:
        nics = _solarflare_interfaces()
        return [(stack, driver, nic) for stack, driver in _UNASKED for nic in nics]
    order: list[tuple[str, str | None, str | None]] = []
    for stack in _AUTO_ORDER:
        drivers: tuple[str | None, ...] = _DRIVER_ORDER if stack == "tcpip" else (None,)
        order += [(stack, driver, interface) for driver in drivers]
    return order


def _check_available(stack: str, driver: str | None, interface: str | None) -> None:
    named: tuple[tuple[Kind, str | None], ...] = (("stack", stack), ("driver", driver))
    for kind, name in named:
        available, reason = state_of(kind, name) if name is not None else (True, "")
        if not available:
            raise OSError(errno.EOPNOTSUPP, reason)
    if interface is None and stack in ("tcpip", "tcpdirect") and driver != "shm":
        raise OSError(errno.ENODEV, _NOTHING_NAMED)


# The kernel's drivers for the NICs that ef_vi, TCPDirect and Onload know: 5000 to X2 and X4, SN1000, X3.
_SOLARFLARE_DRIVERS: Final = ("sfc", "sfc_ef100", "xilinx_efct")


def _solarflare_interfaces(root: str = "/sys/class/net", drivers: str = "/sys/bus/pci/drivers") -> list[str]:
    """The Solarflare NICs whose link is up and whose driver is the vendor's."""
    found: list[str] = []
    # Every loop with default options runs this, so check three directories first instead of each interface.
    if not any(os.path.exists(f"{drivers}/{driver}") for driver in _SOLARFLARE_DRIVERS):
        return found
    for name in sorted(os.listdir(root)) if os.path.isdir(root) else ():
        driver = os.path.basename(os.path.realpath(os.path.join(root, name, "device", "driver")))
        if driver in _SOLARFLARE_DRIVERS and _line(os.path.join(root, name, "operstate")) == "up":
            found.append(name)
    return found


def _line(path: str) -> str:
    try:
        with open(path) as file:
            return file.readline().strip()
    except OSError:
        return ""


# The drivers that receive copies of all frames. af_xdp is missing, because it takes its frames from the kernel.
_SNIFFERS: Final = ("ef_vi", "packet")


def open_frame_driver(
    driver: DriverOption | None, interface: str, sniff: bool, open_driver: Callable[[str, str, str], None]
) -> None:
    """Open a frame driver for raw frames: the driver that is named, or else the best one that works on the interface.

    :param sniff: receive copies of all frames instead of taking frames from the kernel.
    :param open_driver: called for each candidate until one call raises no OSError. Arguments: the driver's name, the
        name of the interface or wire, and this end's address on a wire (``"0.0.0.0"`` for an interface).
    :raises OSError: no driver works, or the interface does not exist.
    :raises ValueError: the driver cannot use an interface of this form, or does not exist.
    """
    options = Options(interface=interface, driver=driver)
    if driver is None and "@" in interface:
        driver = "shm"
        options = Options(interface=interface, driver=driver)
    check_interface(options)
    name, address = wire_of(options) if driver == "shm" else (interface, "0.0.0.0")
    tried = (driver,) if driver is not None else _SNIFFERS if sniff else _DRIVER_ORDER
    refusals: list[str] = []
    number = errno.EOPNOTSUPP
    for candidate in tried:
        try:
            available, reason = state_of("driver", candidate)
            if not available:
                raise OSError(errno.EOPNOTSUPP, reason)
            open_driver(candidate, name, address)
        except OSError as error:
            refusals.append(f"{candidate}: {error.strerror or error}")
            number = error.errno or number
            continue
        return
    what = "copies of all its frames" if sniff else "frames"
    raise OSError(number, f"interface={interface!r}: no driver can receive {what}: {'; '.join(refusals)}")


def _fall_back(options: Options, reasons: dict[str, str], errnos: list[int]) -> StackChoice:
    kind, wanted = ("driver", options.driver) if options.driver is not None else ("stack", options.stack)
    stack, why = next(iter(reasons.items()))
    refusal = f"{kind}={wanted!r} cannot be used: {why}"
    if options.fallback == "error":
        available = ", ".join(repr(b.name) for b in backends() if b.kind == "stack" and b.available)
        raise OSError(
            errnos[0] if len(set(errnos)) == 1 else errno.EOPNOTSUPP,
            f"{refusal}; the stacks available here are {available} (see `sfloop backends`). Use one of them, or set "
            f"fallback to 'kernel' or 'warn' to take the kernel stack instead",
        )
    if options.fallback == "warn":
        # The stack level skips sfloop's own frames: this function, select_stack, Loop.__init__.
        warnings.warn(f"{refusal}; the loop runs on the kernel stack", RuntimeWarning, stacklevel=4)
    return StackChoice("kernel", {stack: refusal, "kernel": f"taken instead of {kind}={wanted!r}"}, fell_back=True)
