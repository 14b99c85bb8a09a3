"""A server at a listening socket that it has been given: ``python listening_program.py HOW PORT OPTIONS``.

HOW is ``sock``, ``queue``, ``fd``, or ``unix``: a descriptor that the program takes for one of AF_UNIX, as uvicorn
does. OPTIONS is JSON: the options of the loop. A connection is answered with JSON: the stack that carries it, and how
many connections the stack ``tcpip`` has accepted.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys

import sfloop

#: Where systemd puts the first socket (SD_LISTEN_FDS_START of sd_listen_fds(3)).
FIRST = 3


def listening(port: int) -> socket.socket:
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.bind(("0.0.0.0", port))
    made.listen(16)
    made.setblocking(False)
    return made


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(1)
    accepted = asyncio.get_running_loop().stats()["stacks"]["tcpip"]["tcp_accepted"]  # type: ignore[attr-defined]
    writer.write(json.dumps([writer.get_extra_info("stack"), accepted]).encode())
    writer.close()


async def serve(sock: socket.socket, how: str) -> None:
    if how == "queue":
        print("queue", flush=True)
        sys.stdin.readline()  # a client connects meanwhile: the kernel has queued it before there is a server
    await asyncio.start_server(answer, sock=sock)
    print("ready", flush=True)
    await asyncio.Event().wait()


def main(how: str, port: int, options: str) -> None:
    if how == "fd":
        made = listening(port)
        os.dup2(made.fileno(), FIRST)
        os.set_inheritable(FIRST, True)
        environment = {**os.environ, "LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid())}
        os.execve(sys.executable, [sys.executable, __file__, "activated", str(port), options], environment)
    if how == "activated":
        assert os.environ["LISTEN_PID"] == str(os.getpid())
        sock = socket.socket(fileno=FIRST)
        sock.setblocking(False)
    elif how == "unix":
        sock = socket.fromfd(listening(port).detach(), socket.AF_UNIX, socket.SOCK_STREAM)
        sock.setblocking(False)
    else:
        sock = listening(port)
    sfloop.run(serve(sock, how), spin="never", **json.loads(options))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
