"""Joining, leaving and receiving multicast groups, on loopback, on sfloop and on asyncio's own loop."""

from __future__ import annotations

import asyncio
import errno
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from sfloop import multicast

# Groups of the organization-local scope (RFC 2365 section 6.2), which routers do not carry outside.
GROUP, OTHER_GROUP = "239.192.77.1", "239.192.77.2"
#: Of interface-local scope and not permanently assigned (RFC 4291 section 2.7): it never leaves the machine.
GROUP_V6 = "ff11::7701"
PROGRAM = str(Path(__file__).with_name("ipv6_multicast_program.py"))
NAMESPACE = [shutil.which("unshare") or "", "--user", "--map-root-user", "--net"]
QUIET = 0.05  # seconds without a datagram that pass for "none comes"

Run = Callable[[Coroutine[Any, Any, Any]], Any]


def has_ipv6_loopback() -> bool:
    path = Path("/proc/net/if_inet6")
    return path.exists() and any(line.split()[-1] == "lo" for line in path.read_text().splitlines())


needs_ipv6 = pytest.mark.skipif(not has_ipv6_loopback(), reason="the loopback interface has no IPv6 address here")


class Received(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self.datagrams: asyncio.Queue[bytes] = asyncio.Queue()

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.datagrams.put_nowait(data)

    async def next(self) -> bytes:
        return await asyncio.wait_for(self.datagrams.get(), 5)

    async def is_quiet(self) -> bool:
        await asyncio.sleep(QUIET)
        return self.datagrams.empty()


@pytest.fixture
def sender() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("127.0.0.1"))
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 0)
        yield sock


async def receiver(sock: socket.socket) -> tuple[asyncio.DatagramTransport, Received]:
    return await asyncio.get_running_loop().create_datagram_endpoint(Received, sock=sock)


def port_of(sock: Any) -> int:
    port: int = sock.getsockname()[1]
    return port


# ---- open_socket ----


@pytest.mark.parametrize("interface", ["lo", "127.0.0.1"])
def test_receives_its_group(run: Run, sender: socket.socket, interface: str) -> None:
    async def main() -> None:
        sock = multicast.open_socket(GROUP, 0, interface=interface)
        assert sock.getblocking() is False
        assert sock.getsockname()[0] == GROUP
        transport, protocol = await receiver(sock)
        sender.sendto(b"one", (GROUP, port_of(sock)))
        assert await protocol.next() == b"one"
        transport.close()
        await asyncio.sleep(0)

    run(main())


def test_receives_no_other_group_and_no_unicast(run: Run, sender: socket.socket) -> None:
    async def main() -> None:
        sock = multicast.open_socket(GROUP, 0, interface="lo")
        port = port_of(sock)
        other = multicast.open_socket(OTHER_GROUP, port, interface="lo")
        transport, protocol = await receiver(sock)
        other_transport, other_protocol = await receiver(other)
        sender.sendto(b"other", (OTHER_GROUP, port))
        sender.sendto(b"unicast", ("127.0.0.1", port))
        assert await other_protocol.next() == b"other"
        assert await protocol.is_quiet()
        sender.sendto(b"own", (GROUP, port))
        assert await protocol.next() == b"own"
        transport.close()
        other_transport.close()
        await asyncio.sleep(0)

    run(main())


def test_several_sockets_receive_the_same_group(run: Run, sender: socket.socket) -> None:
    async def main() -> None:
        first = multicast.open_socket(GROUP, 0, interface="lo")
        second = multicast.open_socket(GROUP, port_of(first), interface="lo")
        transports = [await receiver(sock) for sock in (first, second)]
        sender.sendto(b"both", (GROUP, port_of(first)))
        for transport, protocol in transports:
            assert await protocol.next() == b"both"
            transport.close()
        await asyncio.sleep(0)

    run(main())


@pytest.mark.parametrize("interface", ["lo", "127.0.0.1"])
def test_source_specific(run: Run, sender: socket.socket, interface: str) -> None:
    async def main() -> None:
        sock = multicast.open_socket(GROUP, 0, interface=interface, source="127.0.0.9")
        transport, protocol = await receiver(sock)
        sender.sendto(b"from .1", (GROUP, port_of(sock)))
        assert await protocol.is_quiet()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
            other.bind(("127.0.0.9", 0))
            other.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("127.0.0.1"))
            other.sendto(b"from .9", (GROUP, port_of(sock)))
        assert await protocol.next() == b"from .9"
        multicast.leave(transport, GROUP, interface=interface, source="127.0.0.9")
        transport.close()
        await asyncio.sleep(0)

    run(main())


@pytest.mark.skipif(not (NAMESPACE[0] and shutil.which("ip")), reason="needs unshare (util-linux) and ip (iproute2)")
def test_ipv6(loop_kind: str) -> None:
    """In a network namespace, because the loopback interface has no default route for IPv6 groups."""
    if subprocess.run([*NAMESPACE, "true"], capture_output=True, timeout=60, check=False).returncode != 0:
        pytest.skip("this system lets its users make no network namespaces")
    route = "ip link set lo up && ip -6 route add local ff00::/8 dev lo table local"
    command = [*NAMESPACE, "sh", "-c", f'{route} && exec "$@"', "-", sys.executable, "-W", "error", PROGRAM, loop_kind]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split() == ["by-name", "by-address", "by-scope", "source-specific"]


# ---- join and leave ----


@pytest.mark.parametrize("source", [None, "127.0.0.1"])
def test_join_and_leave_a_transport(run: Run, sender: socket.socket, source: str | None) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        transport, protocol = await loop.create_datagram_endpoint(
            Received, local_addr=("0.0.0.0", 0), family=socket.AF_INET
        )
        port = port_of(transport.get_extra_info("socket"))
        sender.sendto(b"before", (GROUP, port))
        assert await protocol.is_quiet()
        multicast.join(transport, GROUP, interface="lo", source=source)
        sender.sendto(b"joined", (GROUP, port))
        assert await protocol.next() == b"joined"
        multicast.leave(transport, GROUP, interface="lo", source=source)
        sender.sendto(b"left", (GROUP, port))
        assert await protocol.is_quiet()
        transport.close()
        await asyncio.sleep(0)

    run(main())


def test_join_on_a_closed_transport(run: Run) -> None:
    async def main() -> None:
        transport, _ = await receiver(multicast.open_socket(GROUP, 0, interface="lo"))
        transport.close()
        await asyncio.sleep(0.01)
        with pytest.raises(OSError) as raised:
            multicast.join(transport, OTHER_GROUP, interface="lo")
        assert raised.value.errno == errno.EBADF

    run(main())


@pytest.fixture
def sock() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        yield sock


def test_joining_twice(sock: socket.socket) -> None:
    multicast.join(sock, GROUP, interface="lo")
    with pytest.raises(OSError, match=f"cannot join multicast group {GROUP} on lo: .*already joined it") as raised:
        multicast.join(sock, GROUP, interface="lo")
    assert raised.value.errno == errno.EADDRINUSE
    multicast.leave(sock, GROUP, interface="lo")
    multicast.join(sock, GROUP, interface="lo", source="127.0.0.1")
    with pytest.raises(OSError, match=f"group {GROUP} from 127.0.0.1 on lo: .*already joined it from that source"):
        multicast.join(sock, GROUP, interface="lo", source="127.0.0.1")


@pytest.mark.parametrize("source", [None, "127.0.0.1"])
def test_leaving_what_was_not_joined(sock: socket.socket, source: str | None) -> None:
    with pytest.raises(OSError, match=f"cannot leave multicast group {GROUP}.*: this socket has not joined it"):
        multicast.leave(sock, GROUP, interface="lo", source=source)


def test_too_many_groups(sock: socket.socket) -> None:
    limit = int(Path("/proc/sys/net/ipv4/igmp_max_memberships").read_text())
    for number in range(limit):
        multicast.join(sock, f"239.192.78.{number}", interface="lo")
    with pytest.raises(OSError, match="igmp_max_memberships") as raised:
        multicast.join(sock, GROUP, interface="lo")
    assert raised.value.errno == errno.ENOBUFS


@pytest.mark.parametrize("group", ["127.0.0.1", "240.0.0.1", "::1", "fe80::1"])
def test_not_a_multicast_address(sock: socket.socket, group: str) -> None:
    for call in (lambda: multicast.join(sock, group), lambda: multicast.open_socket(group, 5000)):
        with pytest.raises(ValueError, match=f"group='{group}': not a multicast address; those are 224"):
            call()


@pytest.mark.parametrize("group", ["", "feed.example", "239.1.1", "239.1.1.256"])
def test_not_an_address(sock: socket.socket, group: str) -> None:
    with pytest.raises(ValueError, match=f"group='{group}': not an IP address"):
        multicast.join(sock, group)


def test_wrong_types(sock: socket.socket) -> None:
    with pytest.raises(TypeError, match="group=4: must be an IP address as a string"):
        multicast.join(sock, 4)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="interface=1: must be an interface's name"):
        multicast.join(sock, GROUP, interface=1)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="a datagram transport or a socket is needed, not int 3"):
        multicast.join(3, GROUP)  # type: ignore[arg-type]


def test_group_of_another_family(sock: socket.socket) -> None:
    with pytest.raises(ValueError, match="'ff11::7701' is an IPv6 address, but the socket is of family AF_INET"):
        multicast.join(sock, GROUP_V6, interface="lo")


@pytest.mark.parametrize("source", ["239.1.1.1", "0.0.0.0", "::1", "example"])
def test_bad_source(sock: socket.socket, source: str) -> None:
    with pytest.raises(ValueError, match=f"source='{source}': "):
        multicast.join(sock, GROUP, interface="lo", source=source)


def test_unknown_interface(sock: socket.socket) -> None:
    with pytest.raises(OSError, match="interface='nic9': no such interface; this machine has .*'lo'") as raised:
        multicast.join(sock, GROUP, interface="nic9")
    assert raised.value.errno == errno.ENODEV
    with pytest.raises(OSError, match="no interface has that address") as raised:
        multicast.join(sock, GROUP, interface="198.51.100.9")  # TEST-NET-2 (RFC 5737)
    assert raised.value.errno == errno.ENODEV
    with pytest.raises(ValueError, match="interface='::1': for an IPv4 group it must be a name or an IPv4 address"):
        multicast.join(sock, GROUP, interface="::1")


@needs_ipv6
def test_unknown_interface_v6() -> None:
    with pytest.raises(OSError, match=r"interface='2001:db8::9': no interface has that address.*::1 \(lo\)"):
        multicast.open_socket(GROUP_V6, 0, interface="2001:db8::9")
    with pytest.raises(ValueError, match="for an IPv6 group it must be a name or an IPv6 address"):
        multicast.open_socket(GROUP_V6, 0, interface="127.0.0.1")
    with pytest.raises(ValueError, match=r"group='ff12::1' has link scope: give its interface"):
        multicast.open_socket("ff12::1", 0)


def test_closed_socket(sock: socket.socket) -> None:
    sock.close()
    with pytest.raises(OSError, match="closed") as raised:
        multicast.join(sock, GROUP)
    assert raised.value.errno == errno.EBADF


def test_port_taken() -> None:
    with multicast.open_socket(GROUP, 0, interface="lo", reuse=False) as first:
        port = port_of(first)
        with pytest.raises(OSError, match=f"group {GROUP}, port {port} is taken.*reuse=True") as raised:
            multicast.open_socket(GROUP, port, interface="lo")
        assert raised.value.errno == errno.EADDRINUSE


@pytest.mark.parametrize("port", [-1, 65536, "5000", None, True])
def test_bad_port(port: Any) -> None:
    with pytest.raises(ValueError, match="port=.*: must be a UDP port, 0 to 65535"):
        multicast.open_socket(GROUP, port)


def test_receive_buffer() -> None:
    with multicast.open_socket(GROUP, 0, interface="lo", rcvbuf=65_536) as sock:
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) == 2 * 65_536
    for bad in (0, -1, True, "1M"):
        with pytest.raises(ValueError, match="rcvbuf=.*: must be a number of bytes"):
            multicast.open_socket(GROUP, 0, interface="lo", rcvbuf=bad)  # type: ignore[arg-type]


def test_the_example(loop_kind: str) -> None:
    example = Path(__file__).parents[2] / "examples" / "multicast_receiver.py"
    with multicast.open_socket(GROUP, 0, interface="lo") as sock:
        port = port_of(sock)
    prefix = ["-m", "sfloop", "run"] if loop_kind == "sfloop" else []
    arguments = [GROUP, str(port), "--interface", "lo", "--send", "200", "--seconds", "1"]
    done = subprocess.run(
        [sys.executable, *prefix, str(example), *arguments], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    first, second = done.stdout.splitlines()
    assert first.startswith(
        f"receiving {GROUP}:{port} on {'sfloop.loop.Loop' if loop_kind == 'sfloop' else 'asyncio.'}"
    )
    _, datagrams, size, lost = (int(number) for number in re.findall(r"\d+", second))
    assert datagrams > 50
    assert size == 64 * datagrams
    assert lost == 0
