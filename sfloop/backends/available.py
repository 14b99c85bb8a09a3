"""The network stacks, frame drivers and TLS engines that this build and machine have."""

from __future__ import annotations

import functools
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final, Literal

__all__ = ["Backend", "Kind", "State", "backends", "state_of"]


Kind = Literal["stack", "driver", "tls"]


@dataclass(frozen=True)
class Backend:
    """A network stack, a frame driver or a TLS record engine, and whether a loop can use it here."""

    kind: Kind
    name: str
    available: bool
    #: The reason why it is not available, or its requirement, such as "needs an interface's name".
    reason: str
    #: A description, one line.
    description: str


_NOT_BUILT: Final = "not built in this version of sfloop"

# <linux/capability.h>
_CAPABILITIES: Final = {"CAP_NET_ADMIN": 12, "CAP_NET_RAW": 13, "CAP_BPF": 39}
_CAP_SYS_ADMIN: Final = 21
_AF_XDP: Final = 44  # <linux/socket.h>, because no version of Python's socket module has it

#: (whether the stack or driver can be used here, the reason why not or its requirement)
State = tuple[bool, str]


@dataclass(frozen=True)
class _Entry:
    """A row of the table of what needs a look at this build and this machine before it can be used."""

    kind: Kind
    name: str
    #: Examines this build and this machine; changes nothing.
    state: Callable[[], State]
    #: Empty: the registry in C has it.
    description: str = ""


def _not_built() -> State:
    return False, _NOT_BUILT


def _built() -> State:
    return True, "part of this build"


def _kernel_state() -> State:
    return True, "always available"


def _tcpdirect_state() -> State:
    from sfloop.native.libraries import tcpdirect  # imported here, because it needs the native core

    return tcpdirect.library_state()


def _tcpip_state() -> State:
    usable = (entry.name for entry in _TABLE if entry.kind == "driver" and entry.state()[0])
    return True, f"UDP over the drivers {', '.join(usable)}"


def _shm_state() -> State:
    return True, "needs no privileges"


def _onload_state() -> State:
    from sfloop.backends import onload
    from sfloop.native.libraries import onload as library

    if library.find() is not None:
        return True, "this process runs under Onload"
    return False, onload.how_to_get_it()


def _packet_state() -> State:
    missing = _missing_capabilities()
    if missing:
        return False, f"this process lacks {', '.join(missing)}: run it as root, or with these capabilities"
    return True, "any interface; needs an interface's name"


def _af_xdp_state() -> State:
    state = _packet_state()
    if state[0]:
        try:
            socket.socket(_AF_XDP, socket.SOCK_RAW).close()
        except OSError as error:
            return False, f"the kernel cannot open an AF_XDP socket ({error.strerror}); it needs CONFIG_XDP_SOCKETS"
    return state


#: Environment variable: the path of a driver that was built outside sfloop.
_EF_VI_VARIABLE: Final = "SFLOOP_EF_VI_LIBRARY"
_EF_VI_NOT_BUILT: Final = "not built, because Onload's headers and libciul1.a were missing; see docs/ef_vi.md"


@functools.cache
def _ef_vi_built() -> str | None:
    """The driver's path. It is a shared object beside the engine and not a Python module, but the import system finds
    it."""
    import importlib.util

    built = importlib.util.find_spec("sfloop.native.ef_vi")
    return built.origin if built is not None else None


def _ef_vi_state() -> State:
    path = os.environ.get(_EF_VI_VARIABLE) or _ef_vi_built()
    return _load_ef_vi(path) if path else (False, _EF_VI_NOT_BUILT)


@functools.cache
def _load_ef_vi(path: str) -> State:
    from sfloop.native.cores.core import load_driver  # imported here, because it needs asyncio

    try:
        load_driver("ef_vi", path)
    except OSError as error:
        return False, str(error.strerror)
    return True, "a Solarflare NIC; needs its interface's name"


def _tls_state(engine: str) -> State:
    from sfloop.native.cores import tls_session  # imported here, because it needs asyncio and ssl

    refusal, what = next(row[1:] for row in tls_session.engines() if row[0] == engine)
    return refusal is None, what if refusal is None else refusal


_TABLE: Final = (
    _Entry("stack", "kernel", _kernel_state),
    _Entry("stack", "tcpdirect", _tcpdirect_state),
    _Entry("stack", "tcpip", _tcpip_state),
    _Entry(
        "stack", "onload", _onload_state, "kernel sockets accelerated by Onload (libonload) on a Solarflare NIC"
    ),  # not in the registry: its sockets are the kernel stack's
    _Entry("driver", "shm", _shm_state),
    _Entry("driver", "af_xdp", _af_xdp_state),
    _Entry("driver", "packet", _packet_state),
    # Not in the registry: a shared object that is loaded when it is asked for.
    _Entry("driver", "ef_vi", _ef_vi_state, "a virtual interface of a Solarflare NIC, by Onload's ef_vi"),
    _Entry("driver", "dpdk", _not_built, "a DPDK poll-mode driver"),
    _Entry("tls", "native", partial(_tls_state, "native"), "TLS records by calls of Python's own OpenSSL"),
    _Entry("tls", "memory-bio", partial(_tls_state, "memory-bio"), "TLS records natively, by Python's ssl objects"),
    _Entry("tls", "asyncio", partial(_tls_state, "asyncio"), "TLS records by asyncio.sslproto, in Python"),
)
_KINDS: Final[tuple[Kind, ...]] = ("stack", "driver", "tls")


def state_of(kind: Kind, name: str) -> State:
    """Return whether a stack, a driver or an engine can be used here, and why not. One without a row in the table works
    on every machine if it was built."""
    return next((entry.state for entry in _TABLE if (entry.kind, entry.name) == (kind, name)), _built)()


def backends() -> tuple[Backend, ...]:
    """List every stack, frame driver and TLS record engine, stacks first. Each says whether it is available in this
    build on this machine and, if not, why. A loop uses the first TLS engine that is available."""
    from sfloop.native.cores.core import registered  # imports asyncio, which a look at the package does not need

    built = registered()
    rows = {(entry.kind, entry.name): entry for entry in _TABLE}
    for kind in _KINDS:
        for name in built.get(kind, {}):
            rows.setdefault((kind, name), _Entry(kind, name, _built))
    return tuple(
        Backend(entry.kind, entry.name, *entry.state(), entry.description or built[entry.kind][entry.name])
        for entry in sorted(rows.values(), key=lambda entry: _KINDS.index(entry.kind))
    )


def _missing_capabilities() -> list[str]:
    with open("/proc/self/status") as status:
        effective = next((int(line.split()[1], 16) for line in status if line.startswith("CapEff:")), 0)
    if effective >> _CAP_SYS_ADMIN & 1 and effective >> _CAPABILITIES["CAP_NET_ADMIN"] & 1:
        return [] if effective >> _CAPABILITIES["CAP_NET_RAW"] & 1 else ["CAP_NET_RAW"]
    return [name for name, bit in _CAPABILITIES.items() if not effective >> bit & 1]
