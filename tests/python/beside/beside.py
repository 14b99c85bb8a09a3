"""A program on a driver, and other programs of the same host: plain sockets in the same namespace."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from harness.link import INTERFACE, Link, Side
from harness.onlink import OnLink
from harness.waiting import until as until

import sfloop

DRIVERS = ("af_xdp", "packet")


class Program(OnLink):
    """A loop on the near end of the link, in the near namespace. `stack="kernel"` is the control."""

    def __init__(self, link: Link, driver: str, **options: Any) -> None:
        self.link = link
        if driver == "kernel":
            options["stack"] = "kernel"
        else:
            options = {"driver": driver, "interface": INTERFACE} | options
        options.setdefault("fallback", "error")
        options.setdefault("spin", "never")
        with link.near.entered():
            self.loop = sfloop.Loop(sfloop.Options(**options))

    def flow(self, protocol: str, address: str, port: int) -> dict[str, Any]:
        """Return the flow of the address and the port: it names the stack that receives their packets."""
        return next(
            flow
            for flow in self.loop.describe()["flows"]
            if (flow["protocol"], flow["address"], flow["port"]) == (protocol, address, port)
        )

    def close(self) -> None:
        self.loop.close()


class Inbox(asyncio.DatagramProtocol):
    """Keeps the datagrams it receives."""

    def __init__(self) -> None:
        self.got: list[bytes] = []

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.got.append(data)


async def arrived(got: list[bytes], count: int, limit: float = 3.0) -> list[bytes]:
    """Return the datagrams received when `count` have arrived or the time is over, and a moment later."""
    end = time.monotonic() + limit
    while len(got) < count and time.monotonic() < end:
        await asyncio.sleep(0.005)
    await asyncio.sleep(0.05)
    return got


def membership(group: str, interface: str) -> bytes:
    return socket.inet_aton(group) + socket.inet_aton(interface)


def feed_socket(side: Any, bind: str, port: int, *groups: str) -> socket.socket:
    """Return a plain socket as any program makes one: SO_REUSEADDR, bound, joined."""
    made: socket.socket = side.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    made.bind((bind, port))
    for group in groups:
        made.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership(group, side.address))
    made.setblocking(False)
    return made


def sender(side: Any) -> socket.socket:
    made: socket.socket = side.socket()
    made.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(side.address))
    made.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    return made


@contextmanager
def opened(link: Link, driver: str, **options: Any) -> Iterator[Program]:
    program = Program(link, driver, **options)
    try:
        yield program
    finally:
        program.close()


@contextmanager
def running(side: Side, code: str) -> Iterator[None]:
    """Run a Python program in the side's namespace during this block."""
    process = subprocess.Popen(["ip", "netns", "exec", side.namespace, sys.executable, "-c", code])
    try:
        yield
    finally:
        process.kill()
        process.wait()


@contextmanager
def in_thread(serve: Callable[[threading.Event], None]) -> Iterator[None]:
    """Run a function in a thread during this block. It has to return soon after the event is set."""
    done = threading.Event()
    thread = threading.Thread(target=serve, args=(done,))
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
