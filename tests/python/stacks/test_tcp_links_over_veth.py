"""TCP over a veth pair: hosts that do not answer, other destinations, a link that goes down, and many connections."""

from __future__ import annotations

import asyncio
import errno
import socket
from typing import Any

import pytest
from harness.connections import short_exchange
from harness.link import NEAR, Link
from program import Program, echo, kernel_server


def test_a_host_that_is_not_there(program: Program) -> None:
    async def main() -> None:
        with pytest.raises(OSError) as raised:
            await asyncio.open_connection("198.18.7.77", 80)
        assert raised.value.errno == errno.EHOSTUNREACH

    program.run(main())


def test_other_destinations_are_the_kernels(program: Program) -> None:
    """Loopback, and an address behind another interface, are reached by the kernel."""

    async def main() -> None:
        with program.link.near.socket(socket.SOCK_STREAM) as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen()
            _, writer = await asyncio.open_connection(*listener.getsockname())
            assert writer.get_extra_info("socket").fileno() >= 0
            writer.close()
            await writer.wait_closed()
            # Our own address is reached by loopback too.
            listener2 = await asyncio.start_server(lambda _, w: w.close(), NEAR, 0)
            _, writer = await asyncio.open_connection(*listener2.sockets[0].getsockname())
            assert writer.get_extra_info("socket").fileno() >= 0
            writer.close()
            await writer.wait_closed()
            listener2.close()

    program.run(main())


def test_the_kernels_connections_go_on_beside_ours(program: Program) -> None:
    """Another program's TCP between the same hosts goes on while ours runs: its segments are not taken and get no
    RST."""

    async def main(address: Any) -> None:
        with program.link.near.socket(socket.SOCK_STREAM) as theirs:
            theirs.setblocking(False)
            await program.loop.sock_connect(theirs, address)
            reader, writer = await asyncio.open_connection(*address)
            for i in range(50):
                data = b"%d" % i * 100
                writer.write(data)
                await program.loop.sock_sendall(theirs, data)
                assert await reader.readexactly(len(data)) == data
                got = b""
                while len(got) < len(data):
                    got += await program.loop.sock_recv(theirs, 10_000)
                assert got == data
            writer.close()
            await writer.wait_closed()

    with kernel_server(program.link.far, echo) as address:
        program.run(main(address))


def test_the_link_goes_down_and_comes_back(program: Program) -> None:
    async def main(address: Any) -> None:
        reader, writer = await asyncio.open_connection(*address)
        writer.write(b"before")
        assert await reader.readexactly(6) == b"before"
        program.link.far.set_link("down")
        writer.write(b"during")
        await asyncio.sleep(0.3)
        program.link.far.set_link("up")
        assert await asyncio.wait_for(reader.readexactly(6), 15) == b"during"
        writer.close()
        await writer.wait_closed()

    with kernel_server(program.link.far, echo) as address:
        program.run(main(address))


def test_hundreds_of_connections_opened_and_closed(link: Link) -> None:
    program = Program(link, "af_xdp", "adaptive")

    async def main(address: Any) -> None:
        for _ in range(4):
            await asyncio.gather(*[short_exchange(address, b"%d" % i) for i in range(100)])

    with kernel_server(link.far, echo) as address:
        program.run(main(address))
    program.loop.close()
