"""Two network namespaces joined by a veth pair: a wire between server and load that is not the loopback interface."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from sfloop.bench.errors import BenchError
from sfloop.bench.model import Place

# 198.18.0.0/15 is set aside for benchmarks (RFC 2544, appendix C.2.2).
SERVER_ADDRESS = "198.18.0.1"
LOAD_ADDRESS = "198.18.0.2"


def unavailable() -> str | None:
    """Why namespaces cannot be made here, in one line; None when they can."""
    if shutil.which("ip") is None:
        return "the veth pair is made with the command ip, which is missing: apt-get install iproute2"
    if os.geteuid() != 0:
        return "making network namespaces and a veth pair needs root: run this case with sudo"
    probe = f"sfb-probe-{os.getpid()}"
    done = subprocess.run(["ip", "netns", "add", probe], capture_output=True, text=True, check=False)
    if done.returncode:
        return f"network namespaces cannot be made here: {done.stderr.strip()}"
    subprocess.run(["ip", "netns", "del", probe], capture_output=True, check=False)
    return None


def _ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchError(f"ip {' '.join(arguments)} failed: {done.stderr.strip()}")


def _delete(name: str) -> None:
    # The veth end inside goes with its namespace.
    subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)


@contextmanager
def veth_pair() -> Iterator[Place]:
    """Makes both namespaces and the pair, and removes them at the end."""
    server, load = f"sfb-server-{os.getpid()}", f"sfb-load-{os.getpid()}"
    with ExitStack() as stack:
        for name in (server, load):
            _ip("netns", "add", name)
            stack.callback(_delete, name)
        _ip("-n", server, "link", "add", "veth0", "type", "veth", "peer", "name", "veth0", "netns", load)
        for name, address in ((server, SERVER_ADDRESS), (load, LOAD_ADDRESS)):
            _ip("-n", name, "address", "add", f"{address}/30", "dev", "veth0")
            _ip("-n", name, "link", "set", "lo", "up")
            _ip("-n", name, "link", "set", "veth0", "up")
        yield Place(SERVER_ADDRESS, ("ip", "netns", "exec", server), ("ip", "netns", "exec", load))
