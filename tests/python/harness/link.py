"""Two network namespaces joined by a veth pair: the driver has the near end, the kernel's sockets are the far end.

A test stays in its own namespace and makes its sockets in another: a socket belongs to the namespace it was made in.
"""

from __future__ import annotations

import ctypes
import fcntl
import itertools
import os
import shutil
import socket
import struct
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

INTERFACE = "veth0"
NEAR = "198.18.7.1"
FAR = "198.18.7.2"
CLONE_NEWNET = 0x40000000
SIOCETHTOOL = 0x8946
ETHTOOL_STXCSUM = 0x17
ETHTOOL_STSO = 0x1F

_libc = ctypes.CDLL(None, use_errno=True)
_numbers = itertools.count()


def unavailable() -> str | None:
    """Why these tests cannot run here, in one line; None when they can."""
    if shutil.which("ip") is None:
        return "the command ip is missing (iproute2)"
    if os.geteuid() != 0:
        return "network namespaces and XDP programs need root"
    return None


def ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"ip {' '.join(arguments)}: {done.stderr.strip()}"


def _setns(descriptor: int) -> None:
    if _libc.setns(descriptor, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


class Side:
    """One namespace and the end of the link that is in it."""

    def __init__(self, namespace: str, address: str) -> None:
        self.namespace = namespace
        self.address = address

    @contextmanager
    def entered(self) -> Iterator[None]:
        """This thread is in the namespace."""
        with ExitStack() as stack:
            home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
            stack.callback(os.close, home)
            there = os.open(f"/run/netns/{self.namespace}", os.O_RDONLY | os.O_CLOEXEC)
            stack.callback(os.close, there)
            _setns(there)
            stack.callback(_setns, home)
            yield

    def ip(self, *arguments: str) -> None:
        ip("-n", self.namespace, *arguments)

    def set_link(self, *arguments: str) -> None:
        self.ip("link", "set", INTERFACE, *arguments)

    def socket(self, kind: int = socket.SOCK_DGRAM, protocol: int = 0, family: int = socket.AF_INET) -> socket.socket:
        with self.entered():
            made = socket.socket(family, kind, protocol)
        made.settimeout(2)
        return made

    def udp(self, port: int = 0, address: str | None = None) -> socket.socket:
        made = self.socket()
        made.bind((self.address if address is None else address, port))
        return made

    def raw(self) -> socket.socket:
        """Sends and receives whole Ethernet frames."""
        made = self.socket(socket.SOCK_RAW, socket.htons(3), socket.AF_PACKET)
        made.bind((INTERFACE, 3))
        return made

    def mac(self, interface: str = INTERFACE) -> bytes:
        with self.socket(socket.SOCK_RAW, 0, socket.AF_PACKET) as made:
            made.bind((interface, 0))
            return bytes(made.getsockname()[4])

    def set_offload(self, command: int, on: bool) -> None:
        value = bytearray(struct.pack("=II", command, int(on)))
        buffer = (ctypes.c_char * len(value)).from_buffer(value)
        request = struct.pack("16sP16x", INTERFACE.encode(), ctypes.addressof(buffer))
        with self.socket() as made:
            fcntl.ioctl(made, SIOCETHTOOL, request)


class Link:
    """Both sides. `near` is the one that a driver is opened on."""

    def __init__(self, near: Side, far: Side) -> None:
        self.near = near
        self.far = far

    def set_mtu(self, mtu: int) -> None:
        for side in (self.near, self.far):
            side.set_link("mtu", str(mtu))

    def set_offload(self, command: int, on: bool) -> None:
        self.far.set_offload(command, on)


@contextmanager
def made_link(queues: int = 1) -> Iterator[Link]:
    """Makes both namespaces and the pair, and removes them at the end."""
    number = next(_numbers)
    near, far = (
        Side(f"sft-{name}-{os.getpid()}-{number}", address) for name, address in (("near", NEAR), ("far", FAR))
    )
    count = ["numrxqueues", str(queues), "numtxqueues", str(queues)]
    with ExitStack() as stack:
        for side in (near, far):
            ip("netns", "add", side.namespace)
            stack.callback(subprocess.run, ["ip", "netns", "del", side.namespace], capture_output=True, check=False)
        near.ip(
            *["link", "add", INTERFACE, *count, "type", "veth"],
            *["peer", "name", INTERFACE, *count, "netns", far.namespace],
        )
        for side in (near, far):
            side.ip("address", "add", f"{side.address}/24", "dev", INTERFACE)
            side.ip("link", "set", "lo", "up")
            side.set_link("up")
        yield Link(near, far)


def drain(made: socket.socket) -> list[bytes]:
    """What has arrived, without waiting."""
    made.setblocking(False)
    taken = []
    with suppress(BlockingIOError):
        while True:
            taken.append(made.recv(65536))
    made.settimeout(2)
    return taken
