"""A program that forks, for test_forked_children.py: ``python forking_program.py DRIVER INTERFACE HOW``.

The program answers UDP at port 5900 by the driver on its interface (of shm: the wire and this side's address). It makes
a child that outlives it, in the way that HOW says, and prints the child's process id. It ends with its input.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import multiprocessing
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import sfloop
from sfloop.ethernet import EthernetProtocol, Flow

PORT = 5900


class Echo(asyncio.DatagramProtocol):
    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.transport.sendto(data, addr)


class ForksWithViews(sfloop.udp.BatchProtocol):
    """Forks while it holds views of the driver's memory, which the child looks at."""

    zero_copy = True

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.child = asyncio.get_running_loop().create_future()

    def datagrams_received(self, batch: Any) -> None:
        if not self.child.done():
            self.child.set_result(fork(lambda: [len(bytes(data)) for data, _, _ in batch] == [1] or os._exit(9)))
        for data, addr, _ in batch:
            self.transport.sendto(bytes(data), addr)


def wait_forever() -> None:
    time.sleep(120)


def fork(work: Callable[[], Any] = wait_forever) -> int:
    """Return a child that does the work and lives on."""
    child = os.fork()
    if child == 0:
        for descriptor in range(3):
            os.close(descriptor)
        try:
            work()
            wait_forever()
        finally:
            os._exit(1)
    return child


def fork_grandchild() -> int:
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writer, str(fork()).encode())
        os._exit(0)
    os.waitpid(child, 0)
    return int(os.read(reader, 20))


async def kernel_echo() -> None:
    """Serve UDP on a loop of the child's own."""
    loop = asyncio.get_running_loop()
    one, _ = await loop.create_datagram_endpoint(Echo, local_addr=("127.0.0.1", 0))
    done = loop.create_future()

    class Asks(asyncio.DatagramProtocol):
        def datagram_received(self, data: bytes, addr: Any) -> None:
            done.set_result(data)

    two, _ = await loop.create_datagram_endpoint(Asks, remote_addr=one.get_extra_info("sockname"))
    two.sendto(b"x")
    assert await asyncio.wait_for(done, 5) == b"x"


def use_own_loop() -> None:
    loop = sfloop.Loop(sfloop.Options(stack="kernel"))
    loop.run_until_complete(kernel_echo())
    loop.close()


def look_at_inherited(loop: Any) -> None:
    """Ask the child's copy of the loop for everything: it has no driver."""
    assert loop.describe()["driver"] is None
    loop.stats()
    use_own_loop()
    loop.describe()


async def fork_by(how: str, loop: Any) -> int:
    if how == "thread":  # while the loop runs in this one
        with concurrent.futures.ThreadPoolExecutor(1) as threads:
            return await loop.run_in_executor(threads, fork)
    if how in ("fork", "forkserver"):
        context = multiprocessing.get_context(how)
        loop.pool = concurrent.futures.ProcessPoolExecutor(1, mp_context=context)
        found: int = await loop.run_in_executor(loop.pool, os.getpid)
        return found
    if how == "subprocess":  # descriptors are closed by exec
        return subprocess.Popen(["sleep", "120"], close_fds=False).pid
    if how == "grandchild":
        return fork_grandchild()
    if how == "using":
        return fork(lambda: look_at_inherited(loop))
    return fork()


async def serve_udp(loop: Any, protocol: Any, address: str) -> Any:
    """Serve at a port that others may bind to as well, because a child that lives on has the socket, too."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((address, PORT))
    sock.setblocking(False)
    return (await loop.create_datagram_endpoint(protocol, sock=sock))[1]


async def main(loop: Any, address: str, how: str) -> None:
    udp = await serve_udp(loop, ForksWithViews if how == "views" else Echo, address)
    await asyncio.start_server(lambda reader, writer: writer.close(), address, PORT + 1)
    if how == "views":
        print("ready", flush=True)
    child = await (udp.child if how == "views" else fork_by(how, loop))
    print(child, flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


def fork_outside(loop: Any) -> int:
    """Fork while the loop does not run. The child closes the loop and uses its own."""

    def close_inherited() -> None:
        loop.close()
        use_own_loop()

    return fork(close_inherited)


async def many(interface: str) -> None:
    """Open several drivers in one process: a loop with a traced one, and endpoints for raw frames."""
    loop: Any = asyncio.get_running_loop()
    await serve_udp(loop, Echo, "0.0.0.0")
    for port in (5903, 5904):
        flow = Flow("udp", ("198.18.7.1", port))
        await loop.create_ethernet_endpoint(EthernetProtocol, interface, driver="packet", filters=[flow])
    print(fork(), flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    driver, interface, how = sys.argv[1:]
    wrappers: dict[str, Any] = {"trace": os.devnull, "pcap": os.devnull, "faults": "delay=1us"} if how == "many" else {}
    made = sfloop.Loop(
        sfloop.Options(driver=driver, interface=interface, fallback="error", **wrappers)  # type: ignore[arg-type]
    )
    if how == "many":
        made.run_until_complete(many(interface))
    elif how == "closing":
        children = [fork_outside(made)]

        async def serve() -> None:
            await serve_udp(made, Echo, interface.partition("@")[2] or "0.0.0.0")
            print(children[0], flush=True)
            await made.run_in_executor(None, sys.stdin.read)

        made.run_until_complete(serve())
    else:
        own = interface.partition("@")[2] or "0.0.0.0"
        made.run_until_complete(main(made, own, how))
