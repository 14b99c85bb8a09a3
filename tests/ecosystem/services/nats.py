"""A NATS server."""

from __future__ import annotations

import json
import signal
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from .server import found, free_port, running, throw_away


@contextmanager
def nats(
    host: str = "127.0.0.1",
    port: int = 0,
    settings: Mapping[str, Any] | None = None,
    *,
    stop: signal.Signals = signal.SIGTERM,
) -> Iterator[tuple[str, int]]:
    """Run a server with these settings of its configuration file. Yields its address. Port 0 takes a free one.

    `stop` is the signal that ends it. JetStream, if the settings name it, stores its data in a throw-away directory.
    Raises SuiteError if there is no nats-server, or if it does not start.
    """
    program, number = found("nats-server", "nats-server"), port or free_port(host)
    with throw_away("nats") as folder:
        wanted: dict[str, Any] = {"listen": f"{host}:{number}", **(settings or {})}
        if "jetstream" in wanted:
            wanted["jetstream"] = {"store_dir": str(folder), **wanted["jetstream"]}
        file = folder / "server.conf"
        file.write_text(json.dumps(wanted))  # the configuration's syntax includes JSON
        with running([program, "--config", str(file)], folder, lambda: _answers(host, number), stop=stop):
            yield host, number


def _answers(host: str, port: int) -> bool:
    try:
        with socket.create_connection((host, port), 1) as connection:
            return connection.recv(5) == b"INFO "
    except OSError:
        return False
