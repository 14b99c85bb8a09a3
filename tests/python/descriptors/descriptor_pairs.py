"""Connected pairs of every kind of descriptor that can be polled."""

from __future__ import annotations

import contextlib
import os
import pty
import socket
from collections.abc import Iterator


@contextlib.contextmanager
def socket_pair() -> Iterator[tuple[int, int]]:
    a, b = socket.socketpair()
    with a, b:
        yield a.fileno(), b.fileno()


@contextlib.contextmanager
def tcp_pair() -> Iterator[tuple[int, int]]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        a = socket.create_connection(listener.getsockname())
        b, _ = listener.accept()
    with a, b:
        yield a.fileno(), b.fileno()


@contextlib.contextmanager
def pipe() -> Iterator[tuple[int, int]]:
    r, w = os.pipe()
    try:
        yield w, r
    finally:
        os.close(r)
        os.close(w)


@contextlib.contextmanager
def terminal() -> Iterator[tuple[int, int]]:
    master, slave = pty.openpty()
    import tty

    tty.setraw(slave)
    try:
        yield master, slave
    finally:
        os.close(master)
        os.close(slave)


KINDS = {"socketpair": socket_pair, "tcp": tcp_pair, "pipe": pipe, "terminal": terminal}


def detached_socket_pair() -> tuple[int, int]:
    a, b = socket.socketpair()
    return a.detach(), b.detach()
