"""The layers of the source, and the layers that each may use.

A layer may always use itself. Everything else that is not listed is forbidden, so a new folder needs a place here.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath


@dataclass(frozen=True)
class Breach:
    """One line of source that breaks a rule."""

    path: PurePosixPath
    line: int
    what: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.what}"


#: The parts of our own stack. All of them work on one struct sf_tcpip and may call each other, except the loss
#: recovery.
_TCPIP = frozenset({"tcpip", "tcpip/net", "tcpip/sharing", "tcpip/udp", "tcpip/tcp", "tcpip/tcp/loss"})
_OF_TCPIP = frozenset({"base.h", "driver.h", "tcp_image.h", "storage", "wire"}) | _TCPIP
_OF_A_DRIVER = frozenset({"base.h", "driver.h", "storage", "drivers", "drivers/kernel"})

#: Folder in sfloop/native → what its C may include: a header of include/sf, all headers of a folder, or one header by
#: its path. The longest folder that contains a file decides.
C_LAYERS: dict[str, frozenset[str]] = {
    "wire": frozenset({"base.h"}),
    "storage": frozenset({"base.h"}),
    "drivers": frozenset({"base.h", "driver.h"}),
    "drivers/kernel": frozenset({"base.h", "driver.h", "storage", "drivers"}),
    "drivers/af_xdp": _OF_A_DRIVER,
    "drivers/packet": _OF_A_DRIVER,
    "drivers/shm": _OF_A_DRIVER,
    "drivers/ef_vi": _OF_A_DRIVER,
    "drivers/wrappers": _OF_A_DRIVER,
    "tcpip": _OF_TCPIP,
    "tcpip/net": _OF_TCPIP,
    "tcpip/sharing": _OF_TCPIP,
    "tcpip/udp": _OF_TCPIP,
    "tcpip/tcp": _OF_TCPIP,
    # Pure: no sending, no clock, no socket.
    "tcpip/tcp/loss": frozenset({"base.h", "wire/tcp.h"}),
    "libraries": frozenset({"base.h"}),
    "stacks": frozenset({"base.h", "stack.h"}),
    "stacks/kernel": frozenset({"base.h", "stack.h", "storage"}),
    "stacks/tcpip": frozenset({"base.h", "stack.h", "tcp_image.h", "stacks", "storage"}) | _TCPIP,
    "stacks/tcpdirect": frozenset({"base.h", "stack.h", "stacks", "storage", "libraries"}),
    "stacks/ethernet": frozenset({"base.h", "driver.h", "stack.h", "storage"}),
    "engine": frozenset({"base.h", "stack.h", "engine.h", "storage"}),
}

#: Layer whose code is pure → the headers of the system that it may include.
PURE_LAYERS: dict[str, frozenset[str]] = {
    "wire": frozenset({"errno.h", "stdbool.h", "stddef.h", "stdint.h", "stdlib.h", "string.h", "sys/uio.h"}),
    "tcpip/tcp/loss": frozenset({"errno.h", "stdbool.h", "stddef.h", "stdint.h", "stdlib.h", "string.h"}),
}
#: Functions of these headers and of base.h that pure code may not call, because their results depend on more than
#: the arguments.
IMPURE_CALL = r"\b(sf_now|sf_ticks|clock(?:_\w+)?|time|timer_\w+|nanosleep|s?rand(?:om)?|getenv|system)\("

#: Header of include/sf → the headers of include/sf that it may include. The two seams do not include each other.
SEAM_HEADERS: dict[str, frozenset[str]] = {
    "base.h": frozenset(),
    "driver.h": frozenset({"base.h"}),
    "stack.h": frozenset({"base.h"}),
    "tcp_image.h": frozenset({"base.h"}),
    "engine.h": frozenset({"base.h", "stack.h"}),
}

#: The headers that Cython may declare (`cdef extern from`). Those of the system and of Python are always allowed.
CYTHON_HEADERS = frozenset({"base.h", "driver.h", "stack.h", "engine.h", "engine/stack_cost.h", "libraries/openssl.h"})

#: The most lines of a file, by its suffix. There are no exceptions.
MOST_LINES = {".c": 600, ".h": 600, ".pyx": 1000, ".pxd": 1000, ".pxi": 1000, ".py": 400, ".pyi": 400}
#: The most lines that the body of a function may have. Aim for 40.
MOST_FUNCTION_LINES = 50

#: Layer of Python modules → the layers that it may import at run time. Imports for type checkers are not limited, so a
#: transport may mention Loop in annotations.
PYTHON_LAYERS: dict[str, frozenset[str]] = {
    "common": frozenset(),
    "native": frozenset({"common"}),
    "options": frozenset({"common", "native"}),
    "backends": frozenset({"common", "native", "options"}),
    "transports": frozenset({"common", "native"}),
    "mixins": frozenset({"common", "backends", "native", "options", "pythons", "transports"}),
    "loop": frozenset({"common", "backends", "mixins", "native", "options", "transports"}),
    "additions": frozenset(),
    "pythons": frozenset(),
    "running": frozenset({"common", "loop", "options"}),
    "testing": frozenset({"common", "backends", "loop", "mixins", "native", "options", "running", "transports"}),
    # The names of the public API, wherever they are defined.
    "package": frozenset({"common", "additions", "backends", "loop", "options", "running"}),
    # Programs that use the loop like any program.
    "bench": frozenset({"common", "additions", "native", "package", "testing"}),
    "demo": frozenset({"common", "additions", "package", "testing"}),
    "doctor": frozenset({"common", "native"}),
    "workers": frozenset({"package"}),
    "ping": frozenset({"common", "additions", "backends", "options", "package"}),
    "commands": frozenset({"common", "backends", "bench", "demo", "doctor", "options", "package", "ping", "running"}),
}

#: Module, or package with all its modules → its layer. The longest match decides.
PYTHON_MODULES: dict[str, str] = {
    "sfloop": "package",
    "sfloop.common": "common",
    "sfloop.native": "native",
    "sfloop.options": "options",
    "sfloop.backends": "backends",
    "sfloop.transports": "transports",
    "sfloop.mixins": "mixins",
    "sfloop.loop": "loop",
    "sfloop.pythons": "pythons",
    "sfloop.multicast": "additions",
    "sfloop.udp": "additions",
    "sfloop.ethernet": "additions",
    "sfloop.testing": "testing",
    "sfloop.runner": "running",
    "sfloop.policy": "running",
    "sfloop.bench": "bench",
    "sfloop.demo": "demo",
    "sfloop.doctor": "doctor",
    "sfloop.ping": "ping",
    "sfloop.workers": "workers",
    "sfloop.commands": "commands",
    "sfloop.__main__": "commands",
}


def python_layer(module: str) -> str | None:
    """The layer of a module; None if PYTHON_MODULES has none for a module of sfloop.

    The entry ``sfloop`` is for the package itself, and does not match new modules in it.
    """
    parts = module.split(".")
    for length in range(len(parts), 1, -1):
        layer = PYTHON_MODULES.get(".".join(parts[:length]))
        if layer is not None:
            return layer
    return PYTHON_MODULES["sfloop"] if module == "sfloop" else None
