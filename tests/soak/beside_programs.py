"""
The programs of the scene in beside.py: ``python beside_programs.py ROLE ARGUMENTS``, ARGUMENTS in JSON. Each ends with
its input or is killed.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import select
import socket
import stat
import sys
import threading
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "python"))

from beside_records import (
    BROADCAST,
    DATAGRAM,
    FEED,
    FORKED,
    JOINED,
    LEAVING,
    MACVLAN,
    MAGIC,
    OURS,
    PLAIN,
    READY,
    ROUTED,
    SECOND,
    SHARED,
    Log,
)
from harness.link import FAR, INTERFACE, NEAR, Side

GROUP, SECOND_GROUP, ALL = "239.77.1.1", "239.77.1.2", "198.18.7.255"
CONTAINER, STATION = "172.31.9.2", "198.18.7.9"
FEED_PORT, OUR_PORT, PLAIN_PORT, ALL_PORT, SHARED_PORT = 7001, 7002, 7003, 7004, 7005
TCP_PORT, PLAIN_TCP_PORT, SHARED_TCP_PORT = 7010, 7011, 7012
TICK = 0.004
IN_FLIGHT = 0.15  # seconds for which a receiver goes on before it closes
SO_RCVBUFFORCE = 33
ETH_P_ALL = 3  # as tcpdump: a socket of one protocol comes after a macvlan device, which takes its frames
BUFFER = 8 << 20

DESTINATIONS = {
    FEED: (GROUP, FEED_PORT),
    SECOND: (SECOND_GROUP, FEED_PORT),
    OURS: (NEAR, OUR_PORT),
    PLAIN: (NEAR, PLAIN_PORT),
    BROADCAST: (ALL, ALL_PORT),
    ROUTED: (CONTAINER, OUR_PORT),
    MACVLAN: (STATION, OUR_PORT),
    SHARED: (NEAR, SHARED_PORT),
}
WHERE = {  # where a receiver binds, and the group that it joins
    FEED: (GROUP, FEED_PORT, GROUP),
    SECOND: (SECOND_GROUP, FEED_PORT, SECOND_GROUP),
    OURS: ("0.0.0.0", OUR_PORT, ""),
    PLAIN: (NEAR, PLAIN_PORT, ""),
    BROADCAST: ("0.0.0.0", ALL_PORT, ""),
    ROUTED: (CONTAINER, OUR_PORT, ""),
    MACVLAN: (STATION, OUR_PORT, ""),
    SHARED: ("0.0.0.0", SHARED_PORT, ""),
}


def receiver(stream: int) -> socket.socket:
    """Return a UDP socket in this thread's namespace."""
    address, port, group = WHERE[stream]
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setblocking(False)
    sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER)
    if stream in (FEED, SECOND, BROADCAST):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if stream == SHARED:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.bind((address, port))
    if group:
        membership = socket.inet_aton(group) + socket.inet_aton(NEAR)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)
    return sock


def drain(sock: socket.socket, log: Log) -> None:
    try:
        while True:
            log.datagram(sock.recv(2048))
    except BlockingIOError:
        return


def input_ended() -> bool:
    return bool(select.select([sys.stdin], [], [], 0)[0])


async def until_input_ends() -> None:
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        writer.write(await reader.readexactly(16))
        await writer.drain()
        await reader.read()
    except (OSError, asyncio.IncompleteReadError):
        pass
    finally:
        writer.close()


# ---- the far side ----


def send(log: str, namespace: str) -> None:
    """Send a datagram of each stream at each tick. The shared port's datagrams come from several source ports."""
    record = Log(log)
    side = Side(namespace, FAR)
    with side.entered():
        socks = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(8)]
    for sock in socks:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(FAR))
    number, due = 0, time.monotonic()
    while number % 64 or not input_ended():
        record.add(1, number)
        for stream, address in DESTINATIONS.items():
            sock = socks[number % 8] if stream == SHARED else socks[0]
            sock.sendto(DATAGRAM.pack(MAGIC, stream, number), address)
        number += 1
        due = max(due + TICK, time.monotonic() - 10 * TICK)
        time.sleep(max(0, due - time.monotonic()))


def connect(log: str, namespace: str) -> None:
    """Connect to each server, one connection after the other, and log a line with the times and the error of each."""
    servers = {
        "container": (CONTAINER, TCP_PORT),
        "macvlan": (STATION, TCP_PORT),
        "plain": (NEAR, PLAIN_TCP_PORT),
        "sfloop": (NEAR, TCP_PORT),
        "shared": (NEAR, SHARED_TCP_PORT),
    }
    done = threading.Event()
    out = open(log, "w", buffering=1)

    def run(name: str, address: tuple[str, int]) -> None:
        while not done.wait(random.uniform(0.01, 0.06)):
            began, error = time.monotonic_ns(), ""
            with Side(namespace, FAR).socket(socket.SOCK_STREAM) as sock:
                sock.settimeout(6)
                try:
                    sock.connect(address)
                    sock.sendall(b"0123456789abcdef")
                    answer = sock.recv(16, socket.MSG_WAITALL)
                    if answer != b"0123456789abcdef":
                        error = f"answered {answer!r}"
                except OSError as failure:
                    error = repr(failure)
            out.write(json.dumps([name, began, time.monotonic_ns(), error]) + "\n")

    threads = [threading.Thread(target=run, args=item) for item in servers.items()]
    for thread in threads:
        thread.start()
    sys.stdin.read()
    done.set()
    for thread in threads:
        thread.join()


# ---- the near side ----


def plain(log: str, streams: dict[str, str], servers: dict[str, list[Any]]) -> None:
    """Receive on plain sockets in several namespaces: `streams` maps streams to namespaces, `servers` namespaces to
    (address, port)."""
    record = Log(log)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        for stream, namespace in streams.items():
            with Side(namespace, "").entered():
                sock = receiver(int(stream))
            loop.add_reader(sock, drain, sock, record)
        for namespace, address in servers.items():
            listener = Side(namespace, "").socket(socket.SOCK_STREAM)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(tuple(address))
            await asyncio.start_server(echo, sock=listener, backlog=128)
        record.add(READY, 0)
        print("ready", flush=True)
        await until_input_ends()

    asyncio.run(main())


def join(log: str, namespace: str) -> None:
    """Join a group, or bind for a broadcast, for a moment, again and again."""
    record = Log(log)
    print("ready", flush=True)
    while not input_ended():
        stream = random.choice((FEED, SECOND, SECOND, BROADCAST))
        with Side(namespace, NEAR).entered():
            sock = receiver(stream)
        record.add(JOINED, stream)
        leave_at, left = time.monotonic() + random.uniform(0.1, 1), False
        while not left:
            left = time.monotonic() > leave_at
            if left:
                record.add(LEAVING, stream)
                time.sleep(IN_FLIGHT)
            select.select([sock], [], [], 0.02)
            drain(sock, record)
        sock.close()
        time.sleep(random.uniform(0, 0.3))


def capture(log: str, namespace: str) -> None:
    """Log the incoming datagrams that an AF_PACKET socket sees."""
    record = Log(log)
    with Side(namespace, NEAR).entered():
        sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        sock.bind((INTERFACE, ETH_P_ALL))
    sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER)
    sock.settimeout(0.1)
    print("ready", flush=True)
    while not input_ended():
        try:
            frame, address = sock.recvfrom(4096)
        except TimeoutError:
            continue
        if address[2] != socket.PACKET_OUTGOING and frame[42 : 42 + len(MAGIC)] == MAGIC:
            record.datagram(frame[42 : 42 + DATAGRAM.size])


class Inbox(asyncio.DatagramProtocol):
    def __init__(self, log: Log, answers: bool) -> None:
        self.log, self.answers = log, answers

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.log.datagram(data)
        if self.answers:
            self.transport.sendto(data, addr)


def fork_child(record: Log) -> None:
    """A child that outlives this program; it has closed the program's own sockets, and holds nothing else knowingly."""
    child = os.fork()
    if child:
        record.add(FORKED, child)
        return
    for name in os.listdir("/proc/self/fd"):
        try:
            fd = int(name)
            if fd > 2 and stat.S_ISSOCK(os.fstat(fd).st_mode):
                with socket.socket(fileno=os.dup(fd)) as copy:
                    ours = copy.family == socket.AF_INET
                if ours:
                    os.close(fd)
        except OSError:
            continue
    for fd in range(3):
        os.close(fd)
    time.sleep(3)
    os._exit(0)


def program(log: str, namespace: str, driver: str, second: bool, fork_after: float) -> None:
    """Run sfloop's program. The second one opens only what it shares, and stops receiving before it ends."""
    import sfloop

    record = Log(log)
    options: dict[str, Any] = {"stack": "kernel"} if driver == "kernel" else {"driver": driver, "interface": INTERFACE}
    with Side(namespace, NEAR).entered():
        loop = sfloop.Loop(sfloop.Options(spin="never", **options))
        loop.run_until_complete(serve(loop, record, second, fork_after))
        loop.close()


async def serve(loop: Any, record: Log, second: bool, fork_after: float) -> None:
    for stream in (FEED, SECOND, SHARED) if second else (FEED, SECOND, OURS, BROADCAST, SHARED):
        await loop.create_datagram_endpoint(lambda: Inbox(record, stream == OURS), sock=receiver(stream))  # noqa: B023
    if not second:
        await asyncio.start_server(echo, "0.0.0.0", TCP_PORT)
    server = await asyncio.start_server(echo, "0.0.0.0", SHARED_TCP_PORT, reuse_port=True)
    record.add(READY, loop.describe()["stack"] == "tcpip")
    print("ready", flush=True)
    if fork_after:
        loop.call_later(fork_after, fork_child, record)
    loop.create_task(keep_stats(loop, record.file.name + ".json"))
    await until_input_ends()
    record.add(LEAVING, 0)
    await asyncio.sleep(IN_FLIGHT)
    server.close()


async def keep_stats(loop: Any, path: str) -> None:
    """Keep the loop's counters and flows of the last moment before the end, for the search after a fault."""
    with open(path, "w") as file:
        while True:
            described = loop.describe()
            text = json.dumps({"stats": loop.stats(), "flows": described["flows"], "reasons": described["reasons"]})
            file.seek(0)
            file.write(text)
            file.truncate()
            file.flush()
            await asyncio.sleep(0.5)


ROLES = {"send": send, "connect": connect, "plain": plain, "join": join, "capture": capture, "program": program}

if __name__ == "__main__":
    ROLES[sys.argv[1]](**json.loads(sys.argv[2]))  # type: ignore[operator]
