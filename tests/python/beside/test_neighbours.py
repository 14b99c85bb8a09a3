"""Neighbour entries come and go while the program sends: its packets wait for ARP and are not lost."""

from __future__ import annotations

import asyncio
import socket
from contextlib import closing

from beside import Program
from harness.link import FAR, INTERFACE, NEAR

ROUNDS = 10
SOON = 0.15  # less than the least RTO


def forget(program: Program) -> None:
    program.link.near.ip("neigh", "flush", "dev", INTERFACE)


async def answers(
    program: Program, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, peer: socket.socket
) -> None:
    """Send requests and answers, each after the entry was deleted."""
    loop = asyncio.get_running_loop()
    for i in range(ROUNDS):
        await loop.run_in_executor(None, forget, program)
        await asyncio.sleep(0.005)  # until the stack has heard of it
        writer.write(b"%04d" % i)
        assert await asyncio.wait_for(loop.sock_recv(peer, 4), SOON) == b"%04d" % i
        await loop.sock_sendall(peer, b"answer")
        assert await reader.readexactly(6) == b"answer"


def test_a_client(program: Program) -> None:
    async def main() -> None:
        with closing(program.link.far.socket(socket.SOCK_STREAM)) as listener:
            listener.bind((FAR, 0))
            listener.listen()
            reader, writer = await asyncio.open_connection(*listener.getsockname())
            peer, _ = listener.accept()
            with closing(peer):
                peer.setblocking(False)
                await answers(program, reader, writer, peer)
                writer.close()

    program.run(main())


def test_a_server(program: Program) -> None:
    async def main() -> None:
        served: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await served.put((reader, writer))

        server = await asyncio.start_server(serve, NEAR, 0)
        with closing(program.link.far.socket(socket.SOCK_STREAM)) as peer:
            peer.setblocking(False)
            await asyncio.get_running_loop().sock_connect(peer, server.sockets[0].getsockname())
            reader, writer = await served.get()
            await answers(program, reader, writer, peer)
            writer.close()
        server.close()

    program.run(main())


def test_datagrams(program: Program) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with closing(program.link.far.udp()) as peer:
            peer.setblocking(False)
            transport, _ = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, remote_addr=peer.getsockname())
            for i in range(ROUNDS):
                await loop.run_in_executor(None, forget, program)
                await asyncio.sleep(0.005)
                for j in range(3):
                    transport.sendto(b"%d %d" % (i, j))
                for j in range(3):
                    assert await asyncio.wait_for(loop.sock_recv(peer, 10), SOON) == b"%d %d" % (i, j)
            transport.close()

    program.run(main())
