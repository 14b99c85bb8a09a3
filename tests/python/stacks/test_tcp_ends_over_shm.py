"""The end of TCP connections over a wire in shared memory: half-closed, reset, ended by either program.

Each test shows both programs whole, although some lines recur, because the order of the two ends is the test.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct

import pytest
import wire
from far_servers import Far, bypassed, far_server
from harness.capabilities import none_effective
from harness.connections import short_exchange

import sfloop

#: Times that a thousand connections are opened and closed: few here; 20 for the long run.
CYCLES = int(os.environ.get("SFLOOP_TEST_CYCLES", "1"))


def test_half_close(near: sfloop.Loop, far: Far) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        data = await reader.read()  # to the end
        writer.write(b"%d" % len(data))
        writer.close()

    address = far_server(far, serve)

    async def main() -> None:
        reader, writer = await asyncio.open_connection(*address)
        writer.write(b"x" * 100_000)
        writer.write_eof()
        assert await reader.read() == b"100000"
        writer.close()
        await writer.wait_closed()

    near.run_until_complete(asyncio.wait_for(main(), 20))


def test_reset_by_the_peer(near: sfloop.Loop, far: Far) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(1)
        linger = struct.pack("ii", 1, 0)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        writer.transport.abort()

    address = far_server(far, serve)

    async def main() -> None:
        reader, writer = await asyncio.open_connection(*address)
        writer.write(b"x")
        with pytest.raises(ConnectionResetError):
            await reader.read()
        writer.close()
        with pytest.raises(ConnectionResetError):
            await writer.wait_closed()

    near.run_until_complete(asyncio.wait_for(main(), 20))


def test_what_was_written_before_the_end_of_the_program_arrives(name: str) -> None:
    """The program does not wait for the transport to be closed: closing the loop delivers the data, as the kernel
    would."""
    got: list[bytes] = []
    with wire.running_in_thread(wire.open_side(name, wire.FAR)) as far:

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            got.append(await reader.read())
            writer.close()

        address = far_server(far, serve)

        async def main() -> None:
            _, writer = await asyncio.open_connection(*address)
            writer.write(b"z" * 200_000)
            writer.close()

        sfloop.run(main(), driver="shm", interface=f"{name}@{wire.NEAR}", fallback="error")
        far(asyncio.sleep(0.2))
    assert [len(data) for data in got] == [200_000]


def test_a_thousand_connections_opened_and_closed(near: sfloop.Loop, far: Far) -> None:
    address = far_server(far, backlog=1000)

    async def main() -> None:
        for _ in range(CYCLES):
            await asyncio.gather(*[short_exchange(address, b"%d" % i) for i in range(1000)])
            assert near.stats()["connections"] == []
        # Our connections are closed, but their unsent data leaves only while this loop runs.
        await near.run_in_executor(None, far, wire.served())

    near.run_until_complete(asyncio.wait_for(main(), 30 * CYCLES))


def test_no_privilege_is_needed(name: str) -> None:
    """Neither side has a capability, from before it is made on."""
    with none_effective(), wire.running_in_thread(wire.open_side(name, wire.FAR)) as far:
        with pytest.raises(PermissionError):
            socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
        address = far_server(far)
        near = wire.open_side(name, wire.NEAR)

        async def main() -> None:
            reader, writer = await asyncio.open_connection(*address)
            assert bypassed(writer)
            writer.write(b"hello")
            assert await reader.readexactly(5) == b"hello"
            writer.close()
            await writer.wait_closed()

        near.run_until_complete(asyncio.wait_for(main(), 20))
        near.close()


def test_the_other_side_dies(near: sfloop.Loop, name: str) -> None:
    with wire.running_in_thread(wire.open_side(name, wire.FAR)) as far:
        address = far_server(far)
        reader, writer = near.run_until_complete(asyncio.wait_for(asyncio.open_connection(*address), 10))
    # The far loop is closed, so its open connections were reset.
    with pytest.raises((ConnectionResetError, BrokenPipeError, asyncio.IncompleteReadError)):
        near.run_until_complete(asyncio.wait_for(reader.readexactly(1), 10))
    writer.transport.abort()
