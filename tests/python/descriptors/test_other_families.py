"""Addresses of every family have the socket module's form."""

from __future__ import annotations

import asyncio
import ctypes
import os
import socket
import struct
import sys
from pathlib import Path
from typing import Any

import pytest
from harness.loops import until
from harness.observed import Run
from harness.recording import DatagramRecorder

EXPERIMENTAL = 0x88B5  # an Ethernet type for local experiments, which no other program sends
DUMP_LINKS = struct.pack("=LHHLL", 16 + 4, 18, 0x301, 1, 0) + bytes(4)  # RTM_GETLINK
NEEDS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="a packet socket needs CAP_NET_RAW")


def netlink() -> socket.socket:
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
    sock.bind((0, 0))
    sock.setblocking(False)
    return sock


def packet() -> socket.socket:
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(EXPERIMENTAL))
    sock.bind(("lo", EXPERIMENTAL))
    sock.setblocking(False)
    return sock


def send_token() -> bytes:
    token = os.urandom(8)
    with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0) as sender:
        sender.sendto(token, ("lo", EXPERIMENTAL))
    return token


@pytest.mark.sfloop_only("asyncio before 3.11.9 and 3.12.3 takes no raw socket", when=sys.version_info < (3, 13))
def test_a_netlink_transport(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        transport, protocol = await loop.create_datagram_endpoint(DatagramRecorder, sock=netlink())
        transport.sendto(DUMP_LINKS, (0, 0))
        await until(lambda: bool(protocol.received))
        assert protocol.received[0][1] == (0, 0)
        transport.abort()
        await asyncio.sleep(0)

    run(main())


@NEEDS_ROOT
def test_a_packet_transport(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        plain = packet()
        plain.settimeout(5)
        transport, protocol = await loop.create_datagram_endpoint(DatagramRecorder, sock=packet())
        token = send_token()
        while True:
            data, address = plain.recvfrom(2000)
            if data.endswith(token):
                break
        await until(lambda: any(data.endswith(token) for data, _ in protocol.received))
        assert next(where for data, where in protocol.received if data.endswith(token)) == address
        assert address[:2] == ("lo", EXPERIMENTAL)
        transport.abort()
        plain.close()
        await asyncio.sleep(0)

    run(main())


@pytest.mark.skipif(sys.version_info < (3, 11), reason="sock_recvfrom is new in Python 3.11")
@NEEDS_ROOT
def test_sock_recvfrom(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        with netlink() as sock:
            sock.send(DUMP_LINKS)
            assert (await loop.sock_recvfrom(sock, 65536))[1] == (0, 0)
        with packet() as sock:
            token = send_token()
            while True:
                data, address = await loop.sock_recvfrom(sock, 1 << 20)
                if data.endswith(token):
                    break
            assert address[:2] == ("lo", EXPERIMENTAL)
            assert len(address) == 5
        for family, name in (
            (socket.AF_INET, ("127.0.0.1", 0)),
            (socket.AF_INET6, ("::1", 0)),
            (socket.AF_UNIX, str(tmp_path / "x")),
            (socket.AF_UNIX, b"\0sfloop-test-%d" % os.getpid()),
        ):
            with (
                socket.socket(family, socket.SOCK_DGRAM) as sock,
                socket.socket(family, socket.SOCK_DGRAM) as sender,
            ):
                sock.setblocking(False)
                sock.bind(name if family != socket.AF_UNIX else b"\0sfloop-test-receiver-%d" % os.getpid())
                sender.bind(name)
                receiving = asyncio.ensure_future(loop.sock_recvfrom(sock, 100))
                await asyncio.sleep(0)
                sender.sendto(b"x", sock.getsockname())
                assert await receiving == (b"x", sender.getsockname())

    run(main())


class OfAnotherFamily(socket.socket):
    """Replaces a socket of a family that this machine may not have: its addresses are those of recvfrom() alone."""

    @property
    def family(self) -> int:  # type: ignore[override]
        return socket.AF_CAN

    def recvfrom(self, *args: Any) -> Any:
        data, _ = super().recvfrom(*args)
        return data, ("can0", 7)


@pytest.mark.parametrize("batches", [False, True])
def test_a_transport_of_a_family_that_only_the_socket_module_knows(run: Run, loop_kind: str, batches: bool) -> None:
    class Batches(DatagramRecorder):
        def datagrams_received(self, datagrams: Any) -> None:
            self.received += [(bytes(data), address) for data, address, _ in datagrams]

    if batches and loop_kind == "asyncio":
        return  # it has no batches

    async def main() -> None:
        loop = asyncio.get_running_loop()
        a, b = socket.socketpair(type=socket.SOCK_DGRAM)
        sock = OfAnotherFamily(socket.AF_UNIX, socket.SOCK_DGRAM, 0, fileno=b.detach())
        factory = Batches if batches else DatagramRecorder
        transport, protocol = await loop.create_datagram_endpoint(factory, sock=sock)
        for data in (b"1", b"2", b"3"):
            a.send(data)
        await until(lambda: len(protocol.received) == 3)
        assert protocol.received == [(data, ("can0", 7)) for data in (b"1", b"2", b"3")]
        transport.abort()
        await asyncio.sleep(0)
        a.close()

    run(main())


def sockname(sock: socket.socket) -> bytes:
    """Return the socket's address in the kernel's form."""
    libc = ctypes.CDLL(None, use_errno=True)
    space, length = ctypes.create_string_buffer(128), ctypes.c_uint32(128)
    assert libc.getsockname(sock.fileno(), space, ctypes.byref(length)) == 0
    return space.raw[: length.value]


@NEEDS_ROOT
@pytest.mark.parametrize("family", ["AF_INET", "AF_INET6", "AF_UNIX", "AF_NETLINK", "AF_PACKET", "AF_VSOCK"])
def test_an_address_as_the_socket_module_has_it(family: str) -> None:
    from sfloop.native.cores import address

    number = getattr(socket, family)
    try:
        sock = socket.socket(number, socket.SOCK_STREAM if family == "AF_VSOCK" else socket.SOCK_DGRAM)
    except OSError as error:
        pytest.skip(f"this machine has no {family}: {error}")
    with sock:
        sock.bind(
            {
                "AF_INET": ("127.0.0.1", 0),
                "AF_INET6": ("::1", 0, 5, 0),
                "AF_UNIX": b"\0sfloop-test-name-%d" % os.getpid(),
                "AF_NETLINK": (0, 1),
                "AF_PACKET": ("lo", 0x86DD),
                "AF_VSOCK": (getattr(socket, "VMADDR_CID_ANY", 0), getattr(socket, "VMADDR_PORT_ANY", 0)),
            }[family]
        )
        assert address.decodes(number)
        assert address.decode(sockname(sock), sock.fileno()) == sock.getsockname()


def test_a_short_address_is_not_read_beyond_its_end() -> None:
    from sfloop.native.cores import address

    told_longer_than_it_is = struct.pack("=HHiHBB", socket.AF_PACKET, 0x0008, 0, 1, 0, 255)
    assert address.decode(told_longer_than_it_is) == ("", 0x0800, 0, 1, b"")
    assert not address.decodes(socket.AF_CAN)
