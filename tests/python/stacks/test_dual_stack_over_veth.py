"""UDP endpoints that serve both families, on the tcpip stack and, as a control, on the kernel stack.

At the other end of a veth pair are kernel sockets. On the tcpip stack the driver carries IPv4."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Iterator
from typing import Any

import pytest
import wire
from dual import FAR6, NEAR6, Program, dual_socket, far_socket, mapped, unused_port
from harness.link import FAR, INTERFACE, NEAR, Link

from sfloop import udp

GROUP, GROUP6 = "239.255.7.9", "ff15::7:9"


@pytest.fixture(params=["kernel", "af_xdp", "packet"])
def program(link: Link, request: pytest.FixtureRequest) -> Iterator[Program]:
    made = Program(link, request.param, spin="never")
    yield made
    wire.open_transports.clear()
    made.loop.close()


def test_a_client_of_both_families(program: Program) -> None:
    async def main() -> None:
        transport, inbox = await program.endpoint(local_addr=("::", 0))
        port = transport.get_extra_info("sockname")[1]
        assert transport.get_extra_info("sockname") == ("::", port, 0, 0)
        assert transport.get_extra_info("peername") is None
        assert transport.get_extra_info("socket").family == socket.AF_INET6
        with far_socket(program) as v4, far_socket(program, FAR6) as v6:
            for size in (0, 1, 500, 1472, 1473, 5000):
                transport.sendto(b"4" * size, mapped(v4.getsockname()))
                data, sender = v4.recvfrom(65536)
                assert (data, sender) == (b"4" * size, (NEAR, port))
                v4.sendto(data, sender)
                assert await inbox.get() == (data, mapped(v4.getsockname()))
                transport.sendto(b"6" * size, v6.getsockname())
                data, sender6 = v6.recvfrom(65536)
                assert (data, sender6) == (b"6" * size, (NEAR6, port, 0, 0))
                v6.sendto(data, sender6)
                assert await inbox.get() == (data, v6.getsockname())
        program.carried(transport, 4, 3)  # fragments, and the first datagram to an unknown neighbour, are the kernel's
        if program.driver:
            assert program.counters()["tx_side_ipv6"] == 6
        transport.close()

    program.run(main())


def test_a_server_of_both_families(program: Program) -> None:
    async def main() -> None:
        transport, _ = await program.endpoint(wire.Echo, local_addr=("::", 0))
        port = transport.get_extra_info("sockname")[1]
        local = [socket.socket(family, socket.SOCK_DGRAM) for family in (socket.AF_INET, socket.AF_INET6)]
        clients = [
            (far_socket(program), NEAR),
            (far_socket(program, FAR6), NEAR6),
            (local[0], "127.0.0.1"),
            (local[1], "::1"),
        ]
        for client, address in clients:
            with client:
                client.connect((address, port))
                client.setblocking(False)
                for size in (1, 1400, 4000):
                    client.send(b"x" * size)
                    assert await asyncio.wait_for(program.loop.sock_recv(client, 65536), 5) == b"x" * size
        program.carried(transport, 2, 1)
        transport.close()

    program.run(main())


FORMS = ("local", "remote", "both", "any", "reuse_port", "sock")


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_an_endpoint(program: Program, form: str) -> None:
    async def main() -> None:
        with far_socket(program) as far:
            name = mapped(far.getsockname())
            given: dict[str, Any] = {
                "local": {"local_addr": (f"::ffff:{NEAR}", 0)},
                "remote": {"remote_addr": name[:2]},
                "both": {"local_addr": (f"::ffff:{NEAR}", 0), "remote_addr": name[:2]},
                "any": {"family": socket.AF_INET6},
                "reuse_port": {"local_addr": ("::", 0), "reuse_port": True},
            }.get(form) or {"sock": dual_socket("::ffff:0.0.0.0")}
            connected = form in ("remote", "both")
            transport, inbox = await program.endpoint(**given)
            for i in range(5):
                transport.sendto(b"%d" % i, None if connected else name)
                data, sender = far.recvfrom(100)
                assert (data, sender[0]) == (b"%d" % i, NEAR)
                far.sendto(data, sender)
                assert await inbox.get() == (data, name)
            own = {"any": "::", "reuse_port": "::", "sock": "::ffff:0.0.0.0"}.get(form, f"::ffff:{NEAR}")
            assert transport.get_extra_info("sockname") == (own, sender[1], 0, 0)
            assert transport.get_extra_info("peername") == (name if connected else None)
            program.carried(transport, 4, 4)
            transport.close()

    program.run(main())


def test_errors_of_ipv4_peers(program: Program) -> None:
    """A connected endpoint is told, and another one only if it has asked."""

    async def main() -> None:
        with far_socket(program) as far, far_socket(program, FAR6) as far6:
            closed, closed6 = mapped(far.getsockname()), far6.getsockname()
        transport, inbox = await program.endpoint(remote_addr=closed[:2])
        transport.sendto(b"x")
        assert isinstance(await asyncio.wait_for(inbox.errors.get(), 5), ConnectionRefusedError)
        transport.close()
        transport, inbox = await program.endpoint(local_addr=("::", 0))
        transport.sendto(b"x", closed)
        transport.sendto(b"x", closed6)
        await asyncio.sleep(0.05)
        assert inbox.errors.empty()
        transport.close()
        for level, name, peer in ((0, 11, closed), (41, 25, closed6)):  # IP_RECVERR, IPV6_RECVERR
            sock = dual_socket()
            sock.setsockopt(level, name, 1)
            transport, inbox = await program.endpoint(sock=sock)
            transport.sendto(b"x", peer)
            assert isinstance(await asyncio.wait_for(inbox.errors.get(), 5), ConnectionRefusedError)
            transport.sendto(b"x", closed6 if peer is closed else closed)
            await asyncio.sleep(0.05)
            assert inbox.errors.empty()
            transport.close()

    program.run(main())


@pytest.mark.parametrize("bound", ["::", f"::ffff:{GROUP}"])
@pytest.mark.parametrize("late", [False, True])
def test_groups(program: Program, bound: str, late: bool) -> None:
    """An IPv6 socket joins IPv4 groups as an IPv4 socket does."""

    def join(sock: Any) -> None:
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, socket.inet_aton(GROUP) + socket.inet_aton(NEAR))
        if bound == "::":
            member = socket.inet_pton(socket.AF_INET6, GROUP6) + struct.pack("@I", socket.if_nametoindex(INTERFACE))
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, member)

    async def main() -> None:
        sock = dual_socket(bound, unused_port())
        port = sock.getsockname()[1]
        if not late:
            join(sock)
        transport, inbox = await program.endpoint(sock=sock)
        if late:
            join(transport.get_extra_info("socket"))
        with far_socket(program) as sender, far_socket(program, FAR6) as sender6:
            sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(FAR))
            for i in range(50):
                sender.sendto(b"%d" % i, (GROUP, port))
            assert [await inbox.get() for _ in range(50)] == [
                (b"%d" % i, mapped(sender.getsockname())) for i in range(50)
            ]
            if bound == "::":
                sender6.sendto(b"six", (GROUP6, port))
                assert await inbox.get() == (b"six", sender6.getsockname())
            program.carried(transport, 40, 0)
            await asyncio.sleep(0.01)
            assert inbox.queue.empty()
        transport.close()

    program.run(main())


def test_options_of_each_family(program: Program) -> None:
    """IP_TOS and IP_TTL are for IPv4, IPV6_TCLASS is not."""

    async def main() -> None:
        transport, _ = await program.endpoint(local_addr=("::", 0))
        sock = transport.get_extra_info("socket")
        with far_socket(program) as far:
            far.setsockopt(socket.IPPROTO_IP, socket.IP_RECVTOS, 1)
            far.setsockopt(socket.IPPROTO_IP, 12, 1)  # IP_RECVTTL

            async def header() -> tuple[int, int]:
                await asyncio.sleep(0.02)
                for _ in range(2):  # the neighbour is known for the second one
                    transport.sendto(b"x", mapped(far.getsockname()))
                    _, control, _, _ = far.recvmsg(100, 200)
                    await asyncio.sleep(0.01)
                found = {kind: data for _, kind, data in control}
                return found[socket.IP_TOS][0], struct.unpack("@i", found[socket.IP_TTL])[0]

            assert await header() == (0, 64)
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, 0x20)
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, 9)
            assert await header() == (0, 64)
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, 0x40)
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 7)
            assert await header() == (0x40, 7)
        program.carried(transport, 0, 4)
        transport.close()

    program.run(main())


class Batches(udp.BatchProtocol):
    timestamps = True

    def __init__(self) -> None:
        self.datagrams: list[tuple[bytes, Any]] = []

    def datagrams_received(self, batch: Any) -> None:
        self.datagrams += [(bytes(data), address) for data, address, _ in batch]


@pytest.mark.parametrize("views", [False, True])
def test_batches(program: Program, views: bool) -> None:
    async def main() -> None:
        transport, protocol = await program.endpoint(Batches, local_addr=("::", 0))
        protocol.zero_copy = views
        transport.set_protocol(protocol)
        port = transport.get_extra_info("sockname")[1]
        with far_socket(program) as v4, far_socket(program, FAR6) as v6:
            v4.sendto(b"first", (NEAR, port))
            v6.sendto(b"first", (NEAR6, port))
            while len(protocol.datagrams) < 2:
                await asyncio.sleep(0.001)
            for i in range(100):
                v4.sendto(b"%d" % i, (NEAR, port))
                v6.sendto(b"%d" % i, (NEAR6, port))
            while len(protocol.datagrams) < 202:
                await asyncio.sleep(0.001)
            for address in (mapped(v4.getsockname()), v6.getsockname()):
                received = [data for data, sender in protocol.datagrams if sender == address]
                assert received == [b"first", *(b"%d" % i for i in range(100))]
        program.carried(transport, 100, 0)
        transport.close()

    program.run(main())


@pytest.mark.parametrize("first", ["v4", "dual"])
def test_ipv4_sockets_are_preferred(program: Program, first: str) -> None:
    """Two endpoints of the loop have the same port. The IPv4 socket gets the datagrams of IPv4."""

    async def main() -> None:
        port, made = unused_port(), {}
        for kind in (first, "v4" if first == "dual" else "dual"):
            if kind == "dual":
                sock = dual_socket(port=port, SO_REUSEADDR=1)
            else:
                sock = socket.socket(type=socket.SOCK_DGRAM)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                sock.bind(("", port))
            made[kind] = await program.endpoint(sock=sock)
        with far_socket(program) as v4, far_socket(program, FAR6) as v6:
            for i in range(10):
                v4.sendto(b"%d" % i, (NEAR, port))
                v6.sendto(b"%d" % i, (NEAR6, port))
            for i in range(10):
                assert await made["v4"][1].get() == (b"%d" % i, v4.getsockname())
                assert await made["dual"][1].get() == (b"%d" % i, v6.getsockname())
            made["v4"][0].close()
            await asyncio.sleep(0.05)
            v4.sendto(b"left over", (NEAR, port))
            assert await made["dual"][1].get() == (b"left over", mapped(v4.getsockname()))
        made["dual"][0].close()

    program.run(main())


@pytest.mark.parametrize("other", ["v4", "dual", "only6"])
def test_other_programs_sockets(program: Program, other: str) -> None:
    """Another program's socket of the same port gets the datagrams that the kernel gives to it."""

    async def main() -> None:
        sock = dual_socket(port=unused_port(), SO_REUSEADDR=1)
        port = sock.getsockname()[1]
        transport, inbox = await program.endpoint(sock=sock)
        family = socket.AF_INET if other == "v4" else socket.AF_INET6
        with far_socket(program) as v4, program.link.near.socket(family=family) as outside:
            if other == "only6":
                outside.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            outside.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            outside.bind(("", port))
            await asyncio.sleep(0.1)
            for i in range(10):
                v4.sendto(b"%d" % i, (NEAR, port))
            if other == "only6":
                assert [(await inbox.get())[0] for _ in range(10)] == [b"%d" % i for i in range(10)]
            else:
                assert [outside.recv(100) for _ in range(10)] == [b"%d" % i for i in range(10)]
                await asyncio.sleep(0.01)
                assert inbox.queue.empty()
        transport.close()

    program.run(main())


def test_sockets_that_stay_on_the_kernel(program: Program) -> None:
    """``describe()`` gives the reason."""

    async def main() -> None:
        only = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        only.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        only.bind(("::", 0))
        reasons = {}
        for given, why in (
            ({"sock": only}, "the kernel carries IPv6, and the socket is for IPv6 only (IPV6_V6ONLY)"),
            ({"local_addr": (NEAR6, 0)}, "the kernel carries IPv6"),
            ({"local_addr": ("::", 0)}, "the kernel carries IPv6"),  # its other half is on the stack
        ):
            transport, inbox = await program.endpoint(**given)
            name = transport.get_extra_info("sockname")
            reasons[name[:2]] = why
            with far_socket(program, FAR6) as far:
                far.sendto(b"x", (NEAR6, name[1]))
                assert await inbox.get() == (b"x", far.getsockname())
            wire.open_transports.append(transport)
            stack = "tcpip" if given == {"local_addr": ("::", 0)} and program.driver else "kernel"
            assert transport.get_extra_info("stack") == stack
        server = await program.loop.create_server(asyncio.Protocol, "::", 0)
        port = server.sockets[0].getsockname()[1]
        flows = program.loop.describe()["flows"]
        listed = {(flow["address"], flow["port"]): flow["why"] for flow in flows if flow["by"] == "kernel"}
        wanted = {**reasons, ("::", port): "the kernel carries IPv6, and the socket is for IPv6 only (IPV6_V6ONLY)"}
        assert listed == (wanted if program.driver else {})
        server.close()
        for transport in wire.open_transports:
            transport.close()

    program.run(main())


def test_without_a_fallback(link: Link) -> None:
    """A socket that leaves no IPv4 to the stack is an error, and is closed."""
    program = Program(link, "packet", fallback="error")

    async def main() -> None:
        only = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        only.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        only.bind(("::", 0))
        with pytest.raises(OSError, match="IPV6_V6ONLY"):
            await program.endpoint(sock=only)
        assert only.fileno() == -1
        for local in ("::", "::1", "127.0.0.1", f"::ffff:{NEAR}"):
            transport, _ = await program.endpoint(local_addr=(local, 0))
            transport.close()

    program.run(main())
    program.loop.close()
