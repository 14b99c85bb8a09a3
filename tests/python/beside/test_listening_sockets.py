"""Servers at a listening socket that the program brings (`sock=`, a descriptor as of systemd) are served past the
kernel. What was in the socket's queue before is the kernel's."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from beside import DRIVERS
from harness.link import INTERFACE, NEAR, Link
from harness.programs import environment

PORT = 7830
PROGRAM = Path(__file__).parent / "listening_program.py"


@contextmanager
def program(link: Link, how: str, driver: str) -> Iterator[subprocess.Popen[str]]:
    options = json.dumps({"driver": driver, "interface": INTERFACE, "fallback": "error"})
    with link.near.entered():
        process = subprocess.Popen(
            [sys.executable, str(PROGRAM), how, str(PORT), options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment(),
        )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def line_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def answer_to(made: socket.socket) -> Any:
    made.settimeout(5)
    made.sendall(b"?")
    received = b""
    while data := made.recv(100):
        received += data
    return json.loads(received)


def ask(link: Link) -> Any:
    with link.far.socket(socket.SOCK_STREAM) as made:
        made.settimeout(5)
        made.connect((NEAR, PORT))
        return answer_to(made)


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize("how", ["sock", "fd", "unix"])
def test_a_listening_socket_is_served_past_the_kernel(link: Link, driver: str, how: str) -> None:
    with program(link, how, driver) as server:
        assert line_of(server) == "ready"
        assert [ask(link) for _ in range(3)] == [["tcpip", 1], ["tcpip", 2], ["tcpip", 3]]


@pytest.mark.parametrize("driver", DRIVERS)
def test_what_was_in_its_queue_is_served_by_the_kernel(link: Link, driver: str) -> None:
    with program(link, "queue", driver) as server, link.far.socket(socket.SOCK_STREAM) as early:
        assert line_of(server) == "queue"
        early.settimeout(5)
        early.connect((NEAR, PORT))
        assert server.stdin is not None
        print(file=server.stdin, flush=True)
        assert line_of(server) == "ready"
        assert answer_to(early) == ["kernel", 0]
        assert ask(link) == ["tcpip", 1]


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_listening_socket_serves_loopback_too(link: Link, driver: str) -> None:
    with program(link, "sock", driver) as server:
        assert line_of(server) == "ready"
        with link.near.entered():
            made = socket.create_connection(("127.0.0.1", PORT), timeout=5)
        with made:
            assert answer_to(made) == ["kernel", 0]
