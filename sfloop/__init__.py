"""sfloop: an asyncio event loop for Linux that busy-polls instead of sleeping in epoll.

Four ways to run a program on sfloop::

    sfloop.run(main())                                         # in place of asyncio.run
    asyncio.Runner(loop_factory=sfloop.new_event_loop)         # Python 3.11 and later
    asyncio.set_event_loop_policy(sfloop.Policy())             # Python versions with event loop policies
    python -m sfloop run app.py                                # without a change to the program

Each of them takes the options of :class:`sfloop.Options` and reads the ``SFLOOP_*`` environment variables.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if sys.platform != "linux":
    raise ImportError(
        f"sfloop runs on Linux only: it is built on epoll, recvmmsg and kernel-bypass NIC queues. This is "
        f"{sys.platform!r}; use asyncio's own loop or uvloop here"
    )

# These two modules are light. `backends` is imported eagerly because the submodule of the same name would otherwise
# replace the function as the package's attribute when the submodule is imported first.
from sfloop.backends import Backend, backends
from sfloop.options.options import Options

if TYPE_CHECKING:
    from sfloop.loop import Loop
    from sfloop.policy import EventLoopPolicy, Policy, install
    from sfloop.runner import Runner, new_event_loop, run

    from . import ethernet, multicast, testing, udp

    __version__: str

__all__ = [
    "Backend",
    "EventLoopPolicy",
    "Loop",
    "Options",
    "Policy",
    "Runner",
    "__version__",
    "backends",
    "ethernet",
    "install",
    "multicast",
    "new_event_loop",
    "run",
    "testing",
    "udp",
]

# Names that need asyncio or the native engine. Each is imported on first use.
_HOME = {
    "EventLoopPolicy": "sfloop.policy",
    "Loop": "sfloop.loop",
    "Policy": "sfloop.policy",
    "Runner": "sfloop.runner",
    "ethernet": "sfloop.ethernet",
    "install": "sfloop.policy",
    "multicast": "sfloop.multicast",
    "new_event_loop": "sfloop.runner",
    "run": "sfloop.runner",
    "testing": "sfloop.testing",
    "udp": "sfloop.udp",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        value: Any = version("sfloop")
    elif name in _HOME:
        from importlib import import_module

        module = import_module(_HOME[name])
        value = module if name in ("ethernet", "multicast", "testing", "udp") else getattr(module, name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
