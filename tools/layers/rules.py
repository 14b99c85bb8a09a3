"""The layers of the source, and for each the layers it may use.

A layer may always use itself. What is not listed is not allowed, so that a new folder has to be given its place here.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath


@dataclass(frozen=True)
class Breach:
    """One line of source that uses what its layer may not."""

    path: PurePosixPath
    line: int
    what: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.what}"


#: Folder under sfloop/native → what its C may include: a header of include/sf, or another folder's headers.
C_LAYERS: dict[str, frozenset[str]] = {
    "wire": frozenset({"base.h"}),
    "drivers": frozenset({"base.h", "driver.h", "epoll.h"}),
    "tcpip": frozenset({"base.h", "driver.h", "epoll.h", "wire"}),
    "vendor": frozenset({"base.h", "driver.h", "openssl.h"}),
    "frames": frozenset({"base.h", "driver.h", "epoll.h", "stack.h"}),
    "stacks": frozenset({"base.h", "epoll.h", "stack.h", "tcpip", "vendor"}),
    "engine": frozenset({"base.h", "stack.h", "engine.h"}),
    "measure": frozenset({"base.h", "stack.h", "measure.h"}),
}

#: Header of include/sf → the others of them that it may include. The seams do not see past each other.
SEAM_HEADERS: dict[str, frozenset[str]] = {
    "base.h": frozenset(),
    "driver.h": frozenset({"base.h"}),
    "epoll.h": frozenset(),
    "stack.h": frozenset({"base.h"}),
    "engine.h": frozenset({"base.h", "stack.h"}),
    "measure.h": frozenset({"stack.h"}),
    "openssl.h": frozenset(),
}

#: The headers that Cython may declare (`cdef extern from`); the system's and Python's own are free.
CYTHON_HEADERS = frozenset({"base.h", "driver.h", "stack.h", "engine.h", "measure.h", "openssl.h"})

#: Layer of Python modules → the layers it may import at run time. Imports for type checkers only are free: a transport
#: may say in its annotations that it belongs to a Loop.
PYTHON_LAYERS: dict[str, frozenset[str]] = {
    "native": frozenset(),
    "config": frozenset({"native"}),
    "transports": frozenset({"native"}),
    "loop": frozenset({"config", "native", "transports"}),
    "multicast": frozenset(),
    "running": frozenset({"config", "loop"}),
    "testing": frozenset({"config", "loop", "native", "running", "transports"}),
    # The names of the public API, from wherever they are.
    "package": frozenset({"config", "loop", "multicast", "running"}),
    # Programs that use the loop as any program does.
    "bench": frozenset({"multicast", "native", "package", "testing"}),
    "demo": frozenset({"multicast", "package", "testing"}),
    "doctor": frozenset({"native"}),
    "ping": frozenset({"config", "multicast", "package"}),
    "cli": frozenset({"bench", "config", "demo", "doctor", "package", "ping", "running"}),
}

#: Module, or package with everything in it → its layer. The longest that fits decides.
PYTHON_MODULES: dict[str, str] = {
    "sfloop": "package",
    "sfloop.native": "native",
    "sfloop.affinity": "config",
    "sfloop.amounts": "config",
    "sfloop.attributes": "config",
    "sfloop.config": "config",
    "sfloop.backends": "config",
    "sfloop.interfaces": "config",
    "sfloop.onload": "config",
    "sfloop.pythons": "config",
    "sfloop.tcplimits": "config",
    "sfloop.routing": "config",
    "sfloop.sharing": "config",
    "sfloop.transports": "transports",
    "sfloop.loop": "loop",
    "sfloop.acceleration": "loop",
    "sfloop.descriptors": "loop",
    "sfloop.ending": "loop",
    "sfloop.unixloop": "loop",
    "sfloop.sockets": "loop",
    "sfloop.connecting": "loop",
    "sfloop.sendfile": "loop",
    "sfloop.takeover": "loop",
    "sfloop.processes": "loop",
    "sfloop.nesting": "loop",
    "sfloop.rawframes": "loop",
    "sfloop.signals": "loop",
    "sfloop.multicast": "multicast",
    "sfloop.udp": "multicast",
    "sfloop.ethernet": "multicast",
    "sfloop.testing": "testing",
    "sfloop.runner": "running",
    "sfloop.policy": "running",
    "sfloop.launcher": "running",
    "sfloop.bench": "bench",
    "sfloop.demo": "demo",
    "sfloop.doctor": "doctor",
    "sfloop.ping": "ping",
    "sfloop.cli": "cli",
    "sfloop.__main__": "cli",
}


def python_layer(module: str) -> str | None:
    """The layer of a module; None for a module of sfloop that PYTHON_MODULES does not place.

    The package's own entry is for ``sfloop`` itself, and does not take in whatever is new inside it.
    """
    parts = module.split(".")
    for length in range(len(parts), 1, -1):
        layer = PYTHON_MODULES.get(".".join(parts[:length]))
        if layer is not None:
            return layer
    return PYTHON_MODULES["sfloop"] if module == "sfloop" else None
