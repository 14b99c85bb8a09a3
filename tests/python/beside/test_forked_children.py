"""A child that outlives its parent holds nothing of the parent's drivers, and does not disturb them while both live."""

from __future__ import annotations

import asyncio
import itertools
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from harness import programs
from harness.link import INTERFACE, NEAR, Link

import sfloop

PROGRAM = Path(__file__).parent / "forking_program.py"
PORT = 5900
_numbers = itertools.count()
WIRE_NEAR, WIRE_FAR = "127.77.3.1", "127.77.3.2"
# Descriptors of a driver: XDP and tcx links, programs, maps; its sockets; the wire's files.
HELD = re.compile(r"bpf|/dev/shm/|\[eventpoll\]|\[timerfd\]")


class Forking:
    """The program and its child."""

    def __init__(self, command: list[str]) -> None:
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=programs.environment()
        )
        self.child = 0

    def read_line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def take_child(self) -> None:
        self.child = int(self.read_line())

    def child_lives(self) -> bool:
        with suppress(OSError):
            return Path(f"/proc/{self.child}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
        return False

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def end(self) -> None:
        self.kill()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            with suppress(BrokenPipeError):
                pipe.close()
        if self.child:
            with suppress(ProcessLookupError):
                os.kill(self.child, signal.SIGKILL)


@contextmanager
def forking(driver: str, interface: str, how: str, namespace: str | None = None) -> Iterator[Forking]:
    enter = ["ip", "netns", "exec", namespace] if namespace else []
    made = Forking([*enter, sys.executable, str(PROGRAM), driver, interface, how])
    try:
        yield made
    finally:
        made.end()


def kinds_of_sockets(child: int) -> set[str]:
    """Return the protocols of a process's open sockets, from the tables of its namespace."""
    inodes = set()
    for name in os.listdir(f"/proc/{child}/fd"):
        with suppress(OSError):
            inodes |= set(re.findall(r"socket:\[(\d+)\]", os.readlink(f"/proc/{child}/fd/{name}")))
    found = set()
    for table in ("packet", "netlink", "raw", "xdp"):
        with suppress(OSError):
            text = Path(f"/proc/{child}/net/{table}").read_text()
            found |= {table for line in text.splitlines() if inodes & set(line.split())}
    return found


def held_by(child: int) -> list[str]:
    """Return the child's open descriptors of the driver."""
    names = []
    for name in os.listdir(f"/proc/{child}/fd"):
        with suppress(FileNotFoundError):  # closed meanwhile
            names.append(os.readlink(f"/proc/{child}/fd/{name}"))
    mapped = [line for line in Path(f"/proc/{child}/maps").read_text().splitlines() if "/dev/shm/sfloop" in line]
    mapped += [line for line in Path(f"/proc/{child}/maps").read_text().splitlines() if "socket:" in line]
    return [name for name in names if HELD.search(name) and "eventpoll" not in name] + mapped


def until(holds: Callable[[], Any], limit: float = 5.0) -> float:
    """Wait until `holds` is true, and return how long it took."""
    started = time.monotonic()
    while not holds():
        assert time.monotonic() - started < limit
        time.sleep(0.005)
    return time.monotonic() - started


def check_holds_nothing(child: int) -> None:
    """The parent may answer long before the child runs at all and closes the first descriptor."""
    with suppress(AssertionError):
        until(lambda: not held_by(child) and not kinds_of_sockets(child))
    assert held_by(child) == []
    assert kinds_of_sockets(child) == set()


def ask(sock: socket.socket, address: tuple[str, int], payload: bytes) -> bool:
    """Return whether the echo answers within some attempts. A datagram may be lost while the address is resolved."""
    for _ in range(5):
        sock.sendto(payload, address)
        with suppress(TimeoutError):
            while True:
                if sock.recv(100) == payload:
                    return True
    return False


def check_parent_works(made: Forking, sock: socket.socket) -> None:
    for i in range(100):
        assert ask(sock, (NEAR, PORT), b"%d" % i), f"datagram {i} is not answered"
    assert made.child_lives()


def check_freed(made: Forking, link: Link, driver: str, client: socket.socket) -> None:
    """After the parent's death another program's socket receives the port's datagrams, and a new loop opens."""
    assert made.child_lives()
    # The parent's own socket, which the child inherits as from any program, is bound to any address.
    with link.near.socket() as plain:
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        plain.bind((NEAR, PORT))
        for i in range(5):
            client.sendto(b"after %d" % i, (NEAR, PORT))
        assert [plain.recv(100) for _ in range(5)] == [b"after %d" % i for i in range(5)]
    started = time.monotonic()
    with link.near.entered():
        options = sfloop.Options(driver=driver, interface=INTERFACE, fallback="error")  # type: ignore[arg-type]
        loop = sfloop.Loop(options)
    took = time.monotonic() - started
    loop.close()
    assert took < 2, f"a restart took {took:.1f} s"


WAYS = ["fork", "thread", "grandchild", "using", "closing", "subprocess", "forkserver", "callback"]


@pytest.mark.parametrize(
    ("driver", "how"),
    [*(("af_xdp", how) for how in WAYS), ("packet", "fork"), ("packet", "thread"), ("packet", "closing")],
)
def test_the_parent_is_killed(link: Link, driver: str, how: str) -> None:
    with forking(driver, INTERFACE, how, link.near.namespace) as made, link.far.udp() as client:
        client.settimeout(1)
        made.take_child()
        check_parent_works(made, client)
        check_holds_nothing(made.child)
        made.kill()
        check_freed(made, link, driver, client)


@pytest.mark.parametrize("driver", ["af_xdp", "packet"])
def test_the_parent_ends(link: Link, driver: str) -> None:
    with forking(driver, INTERFACE, "callback", link.near.namespace) as made, link.far.udp() as client:
        client.settimeout(1)
        made.take_child()
        check_parent_works(made, client)
        assert made.process.stdin is not None
        made.process.stdin.close()
        assert made.process.wait(10) == 0
        check_freed(made, link, driver, client)


def test_several_drivers_and_wrappers(link: Link) -> None:
    with forking("packet", INTERFACE, "many", link.near.namespace) as made, link.far.udp() as client:
        client.settimeout(1)
        made.take_child()
        check_parent_works(made, client)
        check_holds_nothing(made.child)
        made.kill()
        check_freed(made, link, "packet", client)


@pytest.mark.parametrize("driver", ["af_xdp", "packet"])
def test_the_child_looks_at_views(link: Link, driver: str) -> None:
    """A fork in a callback that holds views of received datagrams: neither process crashes."""
    with forking(driver, INTERFACE, "views", link.near.namespace) as made, link.far.udp() as client:
        client.settimeout(1)
        assert made.read_line() == "ready"
        assert ask(client, (NEAR, PORT), b"x")
        made.take_child()
        for _ in range(20):
            assert ask(client, (NEAR, PORT), b"y")
        time.sleep(0.1)
        assert made.child_lives()


# ---- the wire ----


@pytest.fixture
def wire() -> str:
    return f"f{os.getpid()}-{next(_numbers)}"


def open_far(wire: str) -> sfloop.Loop:
    return sfloop.Loop(sfloop.Options(driver="shm", interface=f"{wire}@{WIRE_FAR}", fallback="error", linger=0.1))


def peer_of(loop: sfloop.Loop) -> str | None:
    loop.call_later(0.03, loop.stop)
    loop.run_forever()
    peer: str | None = loop.describe()["driver"]["peer"]
    return peer


@pytest.mark.parametrize("how", WAYS)
def test_a_wire(wire: str, how: str) -> None:
    loop = open_far(wire)
    answers: list[bytes] = []

    class Asks(asyncio.DatagramProtocol):
        def datagram_received(self, data: bytes, addr: Any) -> None:
            answers.append(data)

    async def ask_often() -> None:
        transport, _ = await loop.create_datagram_endpoint(Asks, local_addr=(WIRE_FAR, 0))
        for i in range(100):
            transport.sendto(b"%d" % i, (WIRE_NEAR, PORT))
            while len(answers) <= i:
                await asyncio.sleep(0)
        transport.close()

    try:
        with forking("shm", f"{wire}@{WIRE_NEAR}", how) as made:
            made.take_child()
            until(lambda: peer_of(loop) == WIRE_NEAR)
            loop.run_until_complete(asyncio.wait_for(ask_often(), 10))
            check_holds_nothing(made.child)
            made.kill()
            assert made.child_lives()
            assert until(lambda: peer_of(loop) is None) < 1
            again = sfloop.Loop(sfloop.Options(driver="shm", interface=f"{wire}@{WIRE_NEAR}", fallback="error"))
            until(lambda: peer_of(loop) == WIRE_NEAR)
            again.close()
    finally:
        loop.close()
    assert not [name for name in os.listdir("/dev/shm") if wire in name]
