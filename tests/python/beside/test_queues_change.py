"""`ethtool -L` gives the interface more queues while a loop runs: its connections and sockets go on."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from harness.link import FAR, INTERFACE, Link, Side, made_link, unavailable

import sfloop

CONNECTIONS = 20


@pytest.fixture
def link() -> Iterator[Link]:
    reason = unavailable()
    if reason:
        pytest.skip(reason)
    with made_link(queues=4) as made:
        yield made


def set_queues(side: Side, count: int) -> None:
    command = ["ip", "netns", "exec", side.namespace, "ethtool", "-L", INTERFACE, "rx", str(count), "tx", str(count)]
    subprocess.run(command, capture_output=True, check=True)


@contextmanager
def kernel_echo(side: Side) -> Iterator[int]:
    """Run a TCP echo on kernel sockets, with a thread for each connection; yield its port."""
    with side.socket(socket.SOCK_STREAM) as listener:
        listener.bind((FAR, 0))
        listener.listen(CONNECTIONS)
        listener.settimeout(20)
        threads = []

        def serve(conn: socket.socket) -> None:
            with conn:
                conn.settimeout(20)
                while data := conn.recv(65536):
                    conn.sendall(data)

        def accept() -> None:
            for _ in range(CONNECTIONS):
                threads.append(threading.Thread(target=serve, args=(listener.accept()[0],)))
                threads[-1].start()

        accepting = threading.Thread(target=accept)
        accepting.start()
        yield listener.getsockname()[1]
        accepting.join()
        for thread in threads:
            thread.join()


async def keep_asking(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, done: asyncio.Event) -> int:
    rounds = 0
    while not done.is_set() or rounds < 10:
        writer.write(b"%8d" % rounds)
        assert await reader.readexactly(8) == b"%8d" % rounds
        rounds += 1
        await asyncio.sleep(0.002)
    return rounds


@pytest.mark.parametrize("spin", ["adaptive", "never"])
def test_connections_go_on(link: Link, spin: str) -> None:
    for side in (link.far, link.near):
        set_queues(side, 1)
    with link.near.entered():
        loop = sfloop.Loop(sfloop.Options(driver="af_xdp", interface=INTERFACE, spin=spin, fallback="error"))  # type: ignore[arg-type]

    async def main(port: int) -> None:
        done = asyncio.Event()
        streams = [await asyncio.open_connection(FAR, port) for _ in range(CONNECTIONS)]
        assert {writer.get_extra_info("stack") for _, writer in streams} == {"tcpip"}
        asking = [asyncio.ensure_future(keep_asking(*stream, done)) for stream in streams]
        for count in (2, 4):
            await asyncio.sleep(0.1)
            for side in (link.near, link.far):
                await asyncio.to_thread(set_queues, side, count)
        while f"{4} queues" not in loop.describe()["driver"]["mode"]:
            await asyncio.sleep(0.01)
        done.set()
        assert min(await asyncio.gather(*asking)) >= 10
        for _, writer in streams:
            writer.close()

    try:
        with kernel_echo(link.far) as port, link.near.entered():
            loop.run_until_complete(asyncio.wait_for(main(port), 20))
    finally:
        loop.close()
