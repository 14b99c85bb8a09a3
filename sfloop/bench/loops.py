"""The event loops that can be measured: which are installed, in what version, and how to make one."""

from __future__ import annotations

import asyncio
import importlib
import importlib.metadata
import importlib.util
import platform
from collections.abc import Callable
from dataclasses import dataclass

from sfloop.bench.builds import Build

OWN = "sfloop"
#: Another build of sfloop, which ``--against`` names.
AGAINST = "against"

#: Loops looked for when none are named, in the order they are shown. Each but asyncio is a package of that name.
KNOWN = (OWN, "uvloop", "rloop", "zuvloop", "rsloop", "blazio", "asyncio")

#: The C reference servers: the least that a server can do on the same system calls.
REFERENCES = {
    "c-spin": "C server, epoll_wait never sleeps",
    "c-block": "C server, blocks in epoll_wait",
}

#: The same past the kernel, in the cases where sfloop goes past it too.
BYPASSING = {"c-af_xdp": "C server on AF_XDP, never sleeps"}

#: All C servers.
C_SERVERS = REFERENCES | BYPASSING


@dataclass(frozen=True)
class Contender:
    """One thing under measurement: an event loop or a C reference server."""

    name: str
    version: str
    is_loop: bool
    #: The build of sfloop that it is, if it is not the one that runs the bench.
    build: Build | None = None

    @property
    def is_sfloop(self) -> bool:
        """Whether it is sfloop: this build or another one."""
        return self.name == OWN or self.build is not None

    @property
    def loop(self) -> str:
        """What its programs are told to run on."""
        return OWN if self.is_sfloop else self.name


class LoopNotUsable(Exception):
    """A loop was named that this Python cannot use; the text says which and what to do."""


def loop_factory(name: str) -> Callable[[], asyncio.AbstractEventLoop]:
    """What makes a new loop of the given name: asyncio's own, or that of the module of this name.

    A module is used by its ``new_event_loop``, or else by its ``EventLoopPolicy`` or its ``Loop``.
    Raises LoopNotUsable when there is no such module or it offers none of these.
    """
    if name == "asyncio":
        return asyncio.SelectorEventLoop
    try:
        module = importlib.import_module(name)
    except ImportError as error:
        raise LoopNotUsable(f'the loop "{name}" cannot be imported ({error}); try: pip install {name}') from error
    if hasattr(module, "new_event_loop"):
        factory: Callable[[], asyncio.AbstractEventLoop] = module.new_event_loop
        return factory
    if hasattr(module, "EventLoopPolicy"):
        make: Callable[[], asyncio.AbstractEventLoop] = module.EventLoopPolicy().new_event_loop
        return make
    if hasattr(module, "Loop"):
        loop_class: Callable[[], asyncio.AbstractEventLoop] = module.Loop
        return loop_class
    raise LoopNotUsable(
        f'the module "{name}" is no event loop: it has none of new_event_loop, EventLoopPolicy and Loop; '
        f"known loops are {', '.join(KNOWN)}"
    )


def version_of(name: str) -> str:
    """The version of a loop's package; Python's own for asyncio."""
    if name == "asyncio":
        return platform.python_version()
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "unknown version"


def _why_not(name: str) -> str | None:
    """Why a known loop is left out, or None when it can make a loop."""
    if name != "asyncio" and importlib.util.find_spec(name) is None:
        return "not installed"
    try:
        loop_factory(name)().close()
    except Exception as error:  # a broken peer is left out with its reason; it must not end the bench
        return f"{type(error).__name__}: {error}"
    return None


def installed() -> tuple[list[Contender], dict[str, str]]:
    """The known loops that work here, and for the others the reason why they do not."""
    usable, missing = [], {}
    for name in KNOWN:
        reason = _why_not(name)
        if reason is None:
            usable.append(Contender(name, version_of(name), is_loop=True))
        else:
            missing[name] = reason
    return usable, missing


def chosen(names: list[str]) -> list[Contender]:
    """The contenders of the given names. Raises LoopNotUsable for a name that is neither a loop nor a reference."""
    contenders = []
    for name in dict.fromkeys(names):
        if name in C_SERVERS:
            contenders.append(Contender(name, "", is_loop=False))
            continue
        reason = None if name not in KNOWN else _why_not(name)
        if reason is not None:
            raise LoopNotUsable(
                f'the loop "{name}" cannot be used here ({reason}); allowed are the installed ones of '
                f"{', '.join(KNOWN)}, any module with new_event_loop, and {', '.join(C_SERVERS)}"
            )
        loop_factory(name)
        contenders.append(Contender(name, version_of(name), is_loop=True))
    return contenders


def other_build(build: Build) -> Contender:
    """The contender that another build of sfloop is."""
    return Contender(AGAINST, f"{build.version} {build.commit}".strip(), is_loop=True, build=build)


def references() -> list[Contender]:
    """The C reference servers."""
    return [Contender(name, "", is_loop=False) for name in C_SERVERS]
