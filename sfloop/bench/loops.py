"""The event loops that can be measured: which are installed, their versions, and how to make one."""

from __future__ import annotations

import asyncio
import importlib
import importlib.metadata
import importlib.util
import json
import os
import platform
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sfloop.bench.builds import Build

OWN = "sfloop"
#: Another build of sfloop, given by ``--against``.
AGAINST = "against"

#: A package that replaces another loop's transports: "LOOP+aiofastnet". It is measured in cases about transports.
ADD_ON = "aiofastnet"
COMBINED = (f"uvloop+{ADD_ON}", f"{OWN}+{ADD_ON}")

#: The loops to look for by default, in the order of the report. Each but asyncio is a package of that name.
KNOWN = (OWN, "uvloop", "rloop", "zuvloop", "rsloop", "blazio", "asyncio", *COMBINED)

#: Package of a known loop → its condition, if it has one.
PEERS = {
    "uvloop": "",
    "rloop": "",
    "zuvloop": "it needs CPython 3.14 or newer",
    "rsloop": "PyPI has only its source, in Rust",
    "blazio": "it needs CPython 3.12 or newer",
    ADD_ON: "",
}

#: Environment variable: a file in which `make bench` stores, by package, why a peer could not be installed.
MISSING_PEERS = "SFLOOP_BENCH_MISSING_PEERS"

#: The C reference servers: the least work for a server with the same system calls.
REFERENCES = {
    "c-spin": "C server, epoll_wait never sleeps",
    "c-block": "C server, blocks in epoll_wait",
}

#: C servers past the kernel, in cases in which sfloop goes past it.
BYPASSING = {"c-af_xdp": "C server on AF_XDP, never sleeps"}

#: C servers without epoll, in cases with one connection on loopback: the least work with Linux's sockets.
BARE = {"c-spin-recv": "C server that spins on recv or recvfrom, without epoll"}

#: All C servers.
C_SERVERS = REFERENCES | BARE | BYPASSING


@dataclass(frozen=True)
class Contender:
    """A contender: an event loop or a C reference server."""

    name: str
    version: str
    is_loop: bool
    #: The build of sfloop, unless it is the one that runs the bench.
    build: Build | None = None

    @property
    def is_sfloop(self) -> bool:
        """Whether the loop is sfloop's, of this build or another one."""
        return self.name == OWN or self.build is not None

    @property
    def is_combined(self) -> bool:
        """Whether an add-on has replaced the loop's transports."""
        return "+" in self.name

    @property
    def loop(self) -> str:
        """The loop's name for its programs."""
        return OWN if self.is_sfloop else self.name


class LoopNotUsable(Exception):
    """This Python cannot use a loop that was named. The text says which loop, and what to do."""


def loop_factory(name: str) -> Callable[[], asyncio.AbstractEventLoop]:
    """A function that makes a loop of this name: asyncio's own, or that of the module of this name.

    A module is used by its ``new_event_loop``, else by its ``EventLoopPolicy``, else by its ``Loop``. "LOOP+aiofastnet"
    is that loop with the transports of aiofastnet.

    Raises LoopNotUsable if the module does not exist or has none of these.
    """
    base, plus, add_on = name.partition("+")
    if plus:
        return _combined(base, add_on)
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
        f'the module "{name}" is not an event loop: it has none of new_event_loop, EventLoopPolicy and Loop; '
        f"known loops are {', '.join(KNOWN)}"
    )


def _combined(base: str, add_on: str) -> Callable[[], asyncio.AbstractEventLoop]:
    if add_on != ADD_ON:
        raise LoopNotUsable(f'"+{add_on}" is not a known add-on of a loop; use "{base}+{ADD_ON}"')
    make = loop_factory(base)
    try:
        import aiofastnet  # type: ignore[import-not-found, unused-ignore]
    except ImportError as error:
        raise LoopNotUsable(f"{add_on} cannot be imported ({error}); try: pip install {add_on}") from error

    def patched() -> asyncio.AbstractEventLoop:
        # Not aiofastnet.loop_factory(), because that makes the loop the thread's current one.
        loop: asyncio.AbstractEventLoop = aiofastnet.patch_loop(make())
        return loop

    return patched


def version_of(name: str) -> str:
    """The version of a loop's package; Python's own for asyncio."""
    if "+" in name:
        return " + ".join(version_of(part) for part in name.split("+"))
    if name == "asyncio":
        return platform.python_version()
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "unknown version"


def _not_installed(package: str) -> str:
    """Why a package is not installed, as far as that is known."""
    try:
        reasons = json.loads(Path(os.environ[MISSING_PEERS]).read_text())
    except (KeyError, OSError, ValueError):
        reasons = {}
    said = [reasons.get(package, ""), PEERS.get(package, "")]
    return ": ".join(["not installed", "; ".join(filter(None, said)) or f"pip install {package}"])


def _why_not(name: str) -> str | None:
    """Why a known loop is left out, or None if it can make a loop."""
    for package in name.split("+"):
        if package != "asyncio" and importlib.util.find_spec(package) is None:
            return _not_installed(package) if package == name else f"{package} is {_not_installed(package)}"
    try:
        loop_factory(name)().close()
    except Exception as error:  # leave out a broken peer with its reason; it must not end the bench
        return f"{type(error).__name__}: {error}"
    return None


def installed() -> tuple[list[Contender], dict[str, str]]:
    """(known loops that work here, name → reason of the others)."""
    usable, missing = [], {}
    for name in KNOWN:
        reason = _why_not(name)
        if reason is None:
            usable.append(Contender(name, version_of(name), is_loop=True))
        else:
            missing[name] = reason
    return usable, missing


def chosen(names: list[str]) -> list[Contender]:
    """The contenders of these names. Raises LoopNotUsable for a name that is neither a loop nor a reference."""
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
    """The contender for another build of sfloop."""
    return Contender(AGAINST, f"{build.version} {build.commit}".strip(), is_loop=True, build=build)


def references() -> list[Contender]:
    """The C reference servers."""
    return [Contender(name, "", is_loop=False) for name in C_SERVERS]
