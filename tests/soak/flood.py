"""Measures how a flood from one half-open connection slows a hundred others: the p99 of their echoes, with and without.

    python tests/soak/flood.py                         # af_xdp, packet, and the kernel as the control
    python tests/soak/flood.py --rounds 20 --seconds 2 --drivers af_xdp

The server is an sfloop program on one end of a veth pair. The other end has kernel connections, each with one message
under way, and in the same thread the flood: after one SYN, segments of that connection that are not in its window.
Rounds with the flood alternate with rounds in which the same frames go to another station's MAC address, so that
sending them costs as much. Printed are both p99s of each round and their ratio. Exit status 1 when the median ratio is
above --limit. It needs a quiet machine with two CPUs.
"""

from __future__ import annotations

import argparse
import json
import os
import select
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(1, str(HERE.parent / "python"))

from harness.frames import ethernet, ipv4_packet, tcp_segment  # noqa: E402
from harness.link import INTERFACE, NEAR, Link, Side, made_link, unavailable  # noqa: E402

DRIVERS = ("af_xdp", "packet", "kernel")
GHOST = "198.18.7.99"  # no host has it, so no host resets the server's answers to it
GHOST_PORT = 4000
STRANGER_MAC = b"\x02\0\0\0\x77\x01"
SYN, ACK = 2, 16
MESSAGE = bytes(range(256)) * 4
WARM_UP = 0.3  # seconds of a round that are not counted


# ---- the server ----


def serve(namespace: str, driver: str, cpu: int) -> None:
    """Echo until the input ends, then print the counters."""
    import asyncio

    import sfloop

    class Echo(asyncio.Protocol):
        def connection_made(self, transport: Any) -> None:
            self.transport = transport

        def data_received(self, data: bytes) -> None:
            self.transport.write(data)

    async def main() -> None:
        server = await loop.create_server(Echo, NEAR, 0, backlog=1000)
        print(server.sockets[0].getsockname()[1], flush=True)
        await loop.run_in_executor(None, sys.stdin.read)
        print(json.dumps(loop.stats()["stacks"].get("tcpip", {})), flush=True)

    options: dict[str, Any] = {"stack": "kernel"}
    if driver != "kernel":
        options = {"driver": driver, "interface": INTERFACE, "fallback": "error"}
    os.sched_setaffinity(0, {cpu})
    with Side(namespace, NEAR).entered():
        loop = sfloop.Loop(sfloop.Options(spin="always", **options))
        loop.run_until_complete(main())


@contextmanager
def running_server(namespace: str, driver: str, cpu: int) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, __file__, "--serve", json.dumps([namespace, driver, cpu])]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None
            pipe.close()


# ---- the load ----


class Flood:
    """Frames sent at a fixed rate."""

    def __init__(self, raw: socket.socket, frame: bytes, rate: float) -> None:
        self.raw, self.frame, self.interval = raw, frame, int(1e9 / rate)
        self.sent = 0
        self.due = time.perf_counter_ns()

    def send_due(self, now: int) -> None:
        if now >= self.due:
            self.raw.send(self.frame)
            self.sent += 1
            self.due += self.interval


class Load:
    """Connections that each wait for the echo of a message before they send the next."""

    def __init__(self, link: Link, port: int, connections: int) -> None:
        self.socks: dict[int, socket.socket] = {}
        self.poll = select.epoll()
        for _ in range(connections):
            sock = link.far.socket(socket.SOCK_STREAM)
            sock.connect((NEAR, port))
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.socks[sock.fileno()] = sock
            self.poll.register(sock, select.EPOLLIN)
        self.missing = dict.fromkeys(self.socks, 0)
        self.began = dict.fromkeys(self.socks, 0)

    def start(self, fd: int, now: int) -> None:
        self.missing[fd] = len(MESSAGE)
        self.began[fd] = now
        self.socks[fd].sendall(MESSAGE)

    def receive(self, fd: int) -> bool:
        """Read; return whether the whole echo has arrived."""
        data = self.socks[fd].recv(len(MESSAGE))
        at = len(MESSAGE) - self.missing[fd]
        if not data or data != MESSAGE[at : at + len(data)]:
            raise SystemExit("an echo is wrong, or the server has closed")
        self.missing[fd] -= len(data)
        return not self.missing[fd]

    def round(self, flood: Flood, seconds: float) -> list[int]:
        """Return the times of all echoes, in ns."""
        now = time.perf_counter_ns()
        counted, end = now + int(WARM_UP * 1e9), now + int((WARM_UP + seconds) * 1e9)
        times: list[int] = []
        under_way = set(self.socks)
        for fd in self.socks:
            self.start(fd, now)
        while under_way:
            flood.send_due(time.perf_counter_ns())
            for fd, _ in self.poll.poll(0):
                whole = self.receive(fd)
                now = time.perf_counter_ns()
                if whole and now < end:
                    if now >= counted:
                        times.append(now - self.began[fd])
                    self.start(fd, now)
                elif whole:
                    under_way.discard(fd)
                flood.send_due(now)
        return times

    def close(self) -> None:
        for sock in self.socks.values():
            sock.close()
        self.poll.close()


def p99(times: list[int]) -> float:
    return sorted(times)[len(times) * 99 // 100] / 1e3


def measure(driver: str, options: argparse.Namespace, cpu: int) -> float:
    """Return the median ratio of a driver."""
    ratios, floods = [], 0
    with ExitStack() as stack:
        link = stack.enter_context(made_link())
        link.near.ip(
            *["neighbour", "replace", GHOST, "lladdr", link.far.mac().hex(":"), "dev", INTERFACE, "nud", "permanent"]
        )
        server = stack.enter_context(running_server(link.near.namespace, driver, cpu))
        assert server.stdin is not None and server.stdout is not None
        port = int(server.stdout.readline())
        load = Load(link, port, options.connections)
        stack.callback(load.close)
        raw = stack.enter_context(link.far.raw())

        def frame(flags: int, mac: bytes, **numbers: int) -> bytes:
            segment = tcp_segment((GHOST, NEAR), (GHOST_PORT, port), flags, **numbers)
            return ethernet((mac, link.far.mac()), ipv4_packet((GHOST, NEAR), 6, segment))

        mac, outside = link.near.mac(), {"sequence": 0x40000000, "acknowledged": 1}
        raw.send(frame(SYN, mac))
        for number in range(options.rounds):
            found = {}
            for kind, to in (("alone", STRANGER_MAC), ("flood", mac))[:: 1 if number % 2 else -1]:
                flood = Flood(raw, frame(ACK, to, **outside), options.rate)
                found[kind] = p99(load.round(flood, options.seconds))
                floods += flood.sent if kind == "flood" else 0
            ratios.append(found["flood"] / found["alone"])
            print(f"{driver}: p99 {found['alone']:.1f} us alone, {found['flood']:.1f} us beside the flood", flush=True)
        server.stdin.close()
        counters = json.loads(server.stdout.readline())
    refused = {name: counters[name] for name in ("tcp_challenges", "tcp_challenge_limited") if counters}
    rate = floods / options.rounds / (options.seconds + WARM_UP)
    print(
        f"{driver}: {rate:.0f} segments a second {refused}; ratio {statistics.median(ratios):.3f} (median)", flush=True
    )
    return statistics.median(ratios)


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--drivers", nargs="+", choices=DRIVERS, default=DRIVERS)
    parser.add_argument("--rounds", type=int, default=10, help="of both kinds each (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=2.0, help="of a round (default: %(default)s)")
    parser.add_argument("--rate", type=float, default=10_000, help="segments a second (default: %(default)s)")
    parser.add_argument("--connections", type=int, default=100, help="that echo (default: %(default)s)")
    parser.add_argument("--limit", type=float, default=1.2, help="of the median ratio (default: %(default)s)")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> int:
    options = parse(arguments)
    if options.serve:
        serve(*json.loads(options.serve))
        return 0
    cpus = sorted(os.sched_getaffinity(0))
    reason = unavailable() or ("the server and the load need a CPU each" if len(cpus) < 2 else None)
    if reason:
        print(f"this cannot run here: {reason}", file=sys.stderr)
        return 1
    os.sched_setaffinity(0, {cpus[1]})
    ratios = {driver: measure(driver, options, cpus[0]) for driver in options.drivers}
    over = [driver for driver, ratio in ratios.items() if ratio > options.limit and driver != "kernel"]
    print("; ".join(f"{driver} {ratio:.3f}" for driver, ratio in ratios.items()), f"(limit {options.limit})")
    return 1 if over else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
