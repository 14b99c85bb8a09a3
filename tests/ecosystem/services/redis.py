"""A Redis server."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

from .server import found, free_port, running, throw_away


@contextmanager
def redis(host: str = "127.0.0.1", port: int = 0) -> Iterator[tuple[str, int]]:
    """Run a server that keeps nothing. Yields its address. Port 0 takes a free one.

    Raises SuiteError if there is no redis-server, or if it does not start.
    """
    program, number = found("redis-server", "redis-server"), port or free_port(host)
    with throw_away("redis") as folder:
        settings = {
            "bind": host,
            "port": str(number),
            "dir": str(folder),
            "save": "",
            "appendonly": "no",
            "protected-mode": "no",
            "enable-debug-command": "yes",
        }
        command = [program, *(word for name, value in settings.items() for word in (f"--{name}", value))]
        with running(command, folder, lambda: _answers(host, number)):
            yield host, number


def _answers(host: str, port: int) -> bool:
    try:
        with socket.create_connection((host, port), 1) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(64) == b"+PONG\r\n"
    except OSError:
        return False
