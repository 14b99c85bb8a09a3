"""Two network namespaces joined by a veth pair, with the sockets of both in the test's own process.

The test stays in its own namespace, because a socket belongs to the namespace in which it was made. Needs root;
``netns.unavailable()`` says whether namespaces can be made.
"""

from __future__ import annotations

import ctypes
import fcntl
import itertools
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from sfloop.testing.netns import delete, ip

__all__ = ["FAR", "INTERFACE", "NEAR", "Link", "Side", "veth_link"]

INTERFACE = "veth0"
# From 198.18.0.0/15, which is reserved for benchmarks (RFC 2544, appendix C.2.2).
NEAR = "198.18.7.1"
FAR = "198.18.7.2"
_CLONE_NEWNET = 0x40000000  # <linux/sched.h>
_SIOCETHTOOL = 0x8946  # <linux/sockios.h>
_ALL_PROTOCOLS = 3  # ETH_P_ALL of <linux/if_ether.h>

Socket = socket.socket  # an alias, because :class:`Side` has a method called socket

_libc = ctypes.CDLL(None, use_errno=True)
_numbers = itertools.count()


def _setns(descriptor: int) -> None:
    if _libc.setns(descriptor, _CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), f"setns: {os.strerror(ctypes.get_errno())}")


class Side:
    """One namespace and its end of the link.

    :param namespace: its name, as ``ip netns`` shows it.
    :param address: the IPv4 address of its interface.
    """

    def __init__(self, namespace: str, address: str) -> None:
        self.namespace = namespace
        self.address = address

    @contextmanager
    def entered(self) -> Iterator[None]:
        """In this block the calling thread is in the namespace. New sockets, and the interfaces that new loops open,
        belong to it.

        :raises OSError: the namespace does not exist, or the process may not enter it.
        """
        with ExitStack() as stack:
            home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
            stack.callback(os.close, home)
            there = os.open(f"/run/netns/{self.namespace}", os.O_RDONLY | os.O_CLOEXEC)
            stack.callback(os.close, there)
            _setns(there)
            stack.callback(_setns, home)
            yield

    def ip(self, *arguments: str) -> None:
        """Run the command ``ip`` in this namespace.

        :raises NamespaceError: the command failed.
        """
        ip("-n", self.namespace, *arguments)

    def set_link(self, *arguments: str) -> None:
        """Run ``ip link set`` for this end: ``side.set_link("mtu", "9000")``.

        :raises NamespaceError: the command failed.
        """
        self.ip("link", "set", INTERFACE, *arguments)

    def socket(self, kind: int = socket.SOCK_DGRAM, protocol: int = 0, family: int = socket.AF_INET) -> Socket:
        """Make a socket in this namespace, with a timeout of 2 s."""
        with self.entered():
            made = socket.socket(family, kind, protocol)
        made.settimeout(2)
        return made

    def udp(self, port: int = 0, address: str | None = None) -> Socket:
        """Make a UDP socket bound to this end's address, or to `address`."""
        made = self.socket()
        made.bind((self.address if address is None else address, port))
        return made

    def raw(self) -> Socket:
        """Make a socket that sends and receives whole Ethernet frames of this end."""
        made = self.socket(socket.SOCK_RAW, socket.htons(_ALL_PROTOCOLS), socket.AF_PACKET)
        made.bind((INTERFACE, _ALL_PROTOCOLS))
        return made

    def mac(self, interface: str = INTERFACE) -> bytes:
        """The MAC address of an interface of this end, 6 bytes."""
        with self.socket(socket.SOCK_RAW, 0, socket.AF_PACKET) as made:
            made.bind((interface, 0))
            return bytes(made.getsockname()[4])

    def set_offload(self, command: int, on: bool) -> None:
        """Switch an offload of this end on or off. `command` is from ``<linux/ethtool.h>``, such as
        ``ETHTOOL_STSO``."""
        value = bytearray(struct.pack("=II", command, int(on)))
        buffer = (ctypes.c_char * len(value)).from_buffer(value)
        request = struct.pack("16sP16x", INTERFACE.encode(), ctypes.addressof(buffer))
        with self.socket() as made:
            fcntl.ioctl(made, _SIOCETHTOOL, request)


class Link:
    """Both ends of a veth pair. Tests open a driver on the near end; the kernel serves the far end."""

    def __init__(self, near: Side, far: Side) -> None:
        self.near = near
        self.far = far

    def set_mtu(self, mtu: int) -> None:
        """Set the MTU of both ends: the largest IP packet in bytes.

        :raises NamespaceError: the interface rejects the value.
        """
        for side in (self.near, self.far):
            side.set_link("mtu", str(mtu))

    def set_offload(self, command: int, on: bool) -> None:
        """Switch an offload of the far end on or off."""
        self.far.set_offload(command, on)


@contextmanager
def veth_link(queues: int = 1, prefix: str = "sft") -> Iterator[Link]:
    """Make two namespaces and a veth pair between them. Delete them at the end of the block, also after an exception.

    The interface is called :data:`INTERFACE` in both. The addresses are :data:`NEAR` and :data:`FAR`, in a /24 network.
    The namespaces' names end with this process's id and a number, so several links may exist at a time.

    :param queues: receive and transmit queues of each end.
    :param prefix: the beginning of the namespaces' names.
    :raises NamespaceError: the command ``ip`` failed.
    """
    number = next(_numbers)
    near, far = (
        Side(f"{prefix}-{name}-{os.getpid()}-{number}", address) for name, address in (("near", NEAR), ("far", FAR))
    )
    count = ["numrxqueues", str(queues), "numtxqueues", str(queues)]
    with ExitStack() as stack:
        for side in (near, far):
            ip("netns", "add", side.namespace)
            stack.callback(delete, side.namespace)
        near.ip(
            *["link", "add", INTERFACE, *count, "type", "veth"],
            *["peer", "name", INTERFACE, *count, "netns", far.namespace],
        )
        for side in (near, far):
            side.ip("address", "add", f"{side.address}/24", "dev", INTERFACE)
            side.ip("link", "set", "lo", "up")
            side.set_link("up")
        yield Link(near, far)
