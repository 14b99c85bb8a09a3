"""A loop with a frame driver on the near end of a veth pair, and kernel servers for it to connect to."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from harness.link import INTERFACE, Link, Side
from harness.onlink import OnLink

import sfloop


class Program(OnLink):
    """A loop on the near end of the link, which lives in the near namespace as a program would."""

    def __init__(self, link: Link, driver: str, spin: str, interface: str = INTERFACE, **options: Any) -> None:
        self.link = link
        self.options = sfloop.Options(driver=driver, interface=interface, spin=spin, fallback="error", **options)  # type: ignore[arg-type]
        with link.near.entered():
            self.loop = sfloop.Loop(self.options)

    def frames(self) -> tuple[int, int]:
        driver = self.counters()["driver"]
        return driver["rx_frames"], driver["tx_frames"]


def echo(conn: socket.socket) -> None:
    """For kernel_server()."""
    while data := conn.recv(1 << 16):
        conn.sendall(data)


@contextmanager
def kernel_server(side: Side, serve: Callable[[socket.socket], None]) -> Iterator[tuple[str, int]]:
    """Run a server on a side's kernel sockets, with a thread for each connection."""
    listener = side.socket(socket.SOCK_STREAM)
    listener.bind((side.address, 0))
    listener.listen(128)
    listener.settimeout(0.2)
    done = threading.Event()
    threads: list[threading.Thread] = []

    def handle(conn: socket.socket) -> None:
        with conn:
            conn.settimeout(30)
            serve(conn)

    def accept() -> None:
        while not done.is_set():
            try:
                conn, _ = listener.accept()
            except TimeoutError:
                continue
            threads.append(threading.Thread(target=handle, args=(conn,)))
            threads[-1].start()

    accepting = threading.Thread(target=accept)
    accepting.start()
    try:
        yield listener.getsockname()
    finally:
        done.set()
        accepting.join()
        listener.close()
        for thread in threads:
            thread.join(30)
