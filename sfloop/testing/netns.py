"""Two network namespaces joined by a veth pair: a link between two programs that is not the loopback interface.

Needs root. Everything is deleted again, except if the process is killed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

__all__ = [
    "INTERFACE",
    "LOAD_ADDRESS",
    "SERVER_ADDRESS",
    "NamespaceError",
    "VethPair",
    "delete",
    "ip",
    "relayed_pair",
    "unavailable",
    "veth_pair",
]

# 198.18.0.0/15 is reserved for benchmarks (RFC 2544, appendix C.2.2).
INTERFACE = "veth0"
SERVER_ADDRESS = "198.18.0.1"
LOAD_ADDRESS = "198.18.0.2"


class NamespaceError(OSError):
    """The command ``ip`` could not make a namespace or an interface."""


@dataclass(frozen=True)
class VethPair:
    """Names of both namespaces. The interface in each is :data:`INTERFACE`, with that side's address."""

    server: str
    load: str

    @property
    def server_prefix(self) -> tuple[str, ...]:
        """The words to put before a command to run it in the server's namespace."""
        return ("ip", "netns", "exec", self.server)

    @property
    def load_prefix(self) -> tuple[str, ...]:
        """The words to put before a command to run it in the load's namespace."""
        return ("ip", "netns", "exec", self.load)


def unavailable() -> str | None:
    """Why namespaces cannot be made here, in one line; None: they can."""
    if shutil.which("ip") is None:
        return "the command ip, which makes the veth pair, is missing: apt-get install iproute2"
    if os.geteuid() != 0:
        return "making network namespaces and a veth pair needs root: run it with sudo"
    probe = f"sf-probe-{os.getpid()}"
    done = subprocess.run(["ip", "netns", "add", probe], capture_output=True, text=True, check=False)
    if done.returncode:
        return f"network namespaces cannot be made here: {done.stderr.strip()}"
    delete(probe)
    return None


@contextmanager
def veth_pair(prefix: str = "sf") -> Iterator[VethPair]:
    """Make two namespaces and a veth pair between them, and delete them at the end of the block.

    :param prefix: the beginning of the namespaces' names, which end with this process's id.
    :raises NamespaceError: the command ``ip`` failed.
    """
    pair = VethPair(f"{prefix}-server-{os.getpid()}", f"{prefix}-load-{os.getpid()}")
    with ExitStack() as stack:
        for name in (pair.server, pair.load):
            ip("netns", "add", name)
            stack.callback(delete, name)
        ip("-n", pair.server, "link", "add", INTERFACE, "type", "veth", "peer", "name", INTERFACE, "netns", pair.load)
        for name, address in ((pair.server, SERVER_ADDRESS), (pair.load, LOAD_ADDRESS)):
            ip("-n", name, "address", "add", f"{address}/30", "dev", INTERFACE)
            ip("-n", name, "link", "set", "lo", "up")
            ip("-n", name, "link", "set", INTERFACE, "up")
        yield pair


@contextmanager
def relayed_pair(prefix: str = "sf") -> Iterator[tuple[VethPair, str, tuple[str, str]]]:
    """Make a pair like :func:`veth_pair` with a third namespace between the two. It does not forward frames; the caller
    relays them.

    :return: (the pair, name of the third namespace, its two interfaces).
    :raises NamespaceError: the command ``ip`` failed.
    """
    pair = VethPair(f"{prefix}-server-{os.getpid()}", f"{prefix}-load-{os.getpid()}")
    relay, ends = f"{prefix}-relay-{os.getpid()}", ("relay0", "relay1")
    with ExitStack() as stack:
        for name in (pair.server, pair.load, relay):
            ip("netns", "add", name)
            stack.callback(delete, name)
        sides = ((pair.server, SERVER_ADDRESS), (pair.load, LOAD_ADDRESS))
        for end, (name, address) in zip(ends, sides, strict=True):
            ip("-n", relay, "link", "add", end, "type", "veth", "peer", "name", INTERFACE, "netns", name)
            ip("-n", relay, "link", "set", end, "up")
            ip("-n", name, "address", "add", f"{address}/30", "dev", INTERFACE)
            ip("-n", name, "link", "set", "lo", "up")
            ip("-n", name, "link", "set", INTERFACE, "up")
        yield pair, relay, ends


def ip(*arguments: str) -> None:
    """Run the command ``ip``.

    :raises NamespaceError: the command failed. The message has the command and its standard error.
    """
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise NamespaceError(f"ip {' '.join(arguments)} failed: {done.stderr.strip()}")


def delete(name: str) -> None:
    """Delete a namespace if it exists."""
    # The veth end inside is deleted with its namespace.
    subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)
