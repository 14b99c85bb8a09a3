"""Two network namespaces joined by a veth pair, whose sockets a test makes in its own process.

A test stays in its own namespace: a socket belongs to the namespace that it was made in. Needs root;
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
# Of 198.18.0.0/15, which is set aside for benchmarks (RFC 2544, appendix C.2.2).
NEAR = "198.18.7.1"
FAR = "198.18.7.2"
_CLONE_NEWNET = 0x40000000  # <linux/sched.h>
_SIOCETHTOOL = 0x8946  # <linux/sockios.h>
_ALL_PROTOCOLS = 3  # ETH_P_ALL of <linux/if_ether.h>

Socket = socket.socket  # :class:`Side` has a method of the module's name

_libc = ctypes.CDLL(None, use_errno=True)
_numbers = itertools.count()


def _setns(descriptor: int) -> None:
    if _libc.setns(descriptor, _CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), f"setns: {os.strerror(ctypes.get_errno())}")


class Side:
    """One namespace and the end of the link that is in it.

    :param namespace: its name, as ``ip netns`` shows it.
    :param address: IPv4 address of the interface there.
    """

    def __init__(self, namespace: str, address: str) -> None:
        self.namespace = namespace
        self.address = address

    @contextmanager
    def entered(self) -> Iterator[None]:
        """In this block the calling thread is in the namespace: its new sockets, and the interfaces that its new loops
        open, are there.

        :raises OSError: the namespace is gone, or the process has not the right to enter it.
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
        """The command ``ip`` in this namespace.

        :raises NamespaceError: it failed.
        """
        ip("-n", self.namespace, *arguments)

    def set_link(self, *arguments: str) -> None:
        """``ip link set`` for this end: ``side.set_link("mtu", "9000")``.

        :raises NamespaceError: it failed.
        """
        self.ip("link", "set", INTERFACE, *arguments)

    def socket(self, kind: int = socket.SOCK_DGRAM, protocol: int = 0, family: int = socket.AF_INET) -> Socket:
        """A socket in this namespace, with a time-out of 2 s."""
        with self.entered():
            made = socket.socket(family, kind, protocol)
        made.settimeout(2)
        return made

    def udp(self, port: int = 0, address: str | None = None) -> Socket:
        """A UDP socket that is bound to this end's address, or to the one given."""
        made = self.socket()
        made.bind((self.address if address is None else address, port))
        return made

    def raw(self) -> Socket:
        """A socket that sends and receives whole Ethernet frames of this end."""
        made = self.socket(socket.SOCK_RAW, socket.htons(_ALL_PROTOCOLS), socket.AF_PACKET)
        made.bind((INTERFACE, _ALL_PROTOCOLS))
        return made

    def mac(self, interface: str = INTERFACE) -> bytes:
        """The MAC address of an interface of this side, 6 bytes."""
        with self.socket(socket.SOCK_RAW, 0, socket.AF_PACKET) as made:
            made.bind((interface, 0))
            return bytes(made.getsockname()[4])

    def set_offload(self, command: int, on: bool) -> None:
        """Turns an offload of this end on or off, by its command of ``<linux/ethtool.h>`` (``ETHTOOL_STSO``)."""
        value = bytearray(struct.pack("=II", command, int(on)))
        buffer = (ctypes.c_char * len(value)).from_buffer(value)
        request = struct.pack("16sP16x", INTERFACE.encode(), ctypes.addressof(buffer))
        with self.socket() as made:
            fcntl.ioctl(made, _SIOCETHTOOL, request)


class Link:
    """Both sides. A driver is opened on the near one as a rule, and the far one is the kernel's."""

    def __init__(self, near: Side, far: Side) -> None:
        self.near = near
        self.far = far

    def set_mtu(self, mtu: int) -> None:
        """Sets the largest IP packet of both ends, in bytes.

        :raises NamespaceError: the interface does not take it.
        """
        for side in (self.near, self.far):
            side.set_link("mtu", str(mtu))

    def set_offload(self, command: int, on: bool) -> None:
        """Turns an offload of the far end on or off."""
        self.far.set_offload(command, on)


@contextmanager
def veth_link(queues: int = 1, prefix: str = "sft") -> Iterator[Link]:
    """Makes two namespaces and the veth pair between them; deletes them when the block is left, also after a failure.

    In each the interface is :data:`INTERFACE`; the addresses are :data:`NEAR` and :data:`FAR`, in a network of 24 bits.
    The namespaces' names end with this process's id and a number, so that several of them may be open at a time.

    :param queues: receive and transmit queues of each end.
    :param prefix: the beginning of the namespaces' names.
    :raises NamespaceError: the command ``ip`` could not do it.
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
