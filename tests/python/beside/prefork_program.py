"""A master that forks workers at one listening socket: ``python prefork_program.py PORT WORKERS``.

WORKERS is JSON: the name of each worker, and the options of its loop, or null for asyncio's own. A worker answers with
its name. Once it listens, it writes ``NAME PID``. The master ends them all when its standard input ends.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
from typing import Any

import sfloop


async def serve(sock: socket.socket, name: str) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(name.encode())
        writer.close()

    await asyncio.start_server(answer, sock=sock)
    os.write(1, f"{name} {os.getpid()}\n".encode())
    await asyncio.Event().wait()


def work(sock: socket.socket, name: str, options: Any) -> None:
    if options is None:
        asyncio.run(serve(sock, name))
    else:
        sfloop.run(serve(sock, name), spin="never", **options)


def main(port: int, workers: dict[str, Any]) -> None:
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("0.0.0.0", port))
    sock.listen(200)
    sock.setblocking(False)
    for name, options in workers.items():
        if os.fork() == 0:
            try:
                work(sock, name, options)
            finally:
                os._exit(1)
    sys.stdin.read()
    os.killpg(0, 9)


if __name__ == "__main__":
    main(int(sys.argv[1]), json.loads(sys.argv[2]))
