"""The examples of examples/ that use other packages, unchanged: on asyncio, on sfloop, and past the kernel over shared
memory, against servers of the same packages."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"

HTTP_SERVER = """
    from aiohttp import web

    async def hello(request):
        return web.Response(text="hello " * 50)

    async def main(host):
        app = web.Application()
        app.router.add_get("/", hello)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, host, PORT).start()
        print("ready", flush=True)
        await asyncio.Event().wait()
"""

WEBSOCKET_SERVER = """
    import json, time
    from websockets.asyncio.server import serve

    async def feed(connection):
        assert json.loads(await connection.recv()) == {"subscribe": "prices"}
        while True:
            await connection.send(json.dumps({"price": 101.25, "sent_ns": time.time_ns()}))
            await asyncio.sleep(0.0005)

    async def main(host):
        async with serve(feed, host, PORT):
            print("ready", flush=True)
            await asyncio.Event().wait()
"""

PORT = 18080
# The program, its server, its arguments, and its output.
PROGRAMS = {
    "http_client": (HTTP_SERVER, "http", ["--requests", "30"], r"30 replies, median \d+\.\d µs, p99 \d+\.\d µs\n"),
    "websocket_ticker": (WEBSOCKET_SERVER, "ws", ["--messages", "30"], r"30 messages, median age \d+\.\d µs, .*\n"),
}


@contextmanager
def serving(command: list[str], directory: Path, source: str, host: str) -> Iterator[None]:
    program = directory / "server.py"
    program.write_text(
        f"import asyncio\nPORT = {PORT}\n{textwrap.dedent(source)}\nasyncio.run(main({host!r}))\n", encoding="utf-8"
    )
    with subprocess.Popen([*command, str(program)], stdout=subprocess.PIPE, text=True, cwd=directory) as server:
        try:
            assert server.stdout is not None and server.stdout.readline() == "ready\n"
            yield
        finally:
            server.kill()


def run(command: list[str], directory: Path, name: str, host: str) -> None:
    _, scheme, arguments, printed = PROGRAMS[name]
    done = subprocess.run(
        [*command, str(EXAMPLES / f"{name}.py"), f"{scheme}://{host}:{PORT}/", *arguments],
        capture_output=True, text=True, timeout=60, cwd=directory, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(printed, done.stdout), done.stdout


PYTHON = [sys.executable]
SFLOOP = [sys.executable, "-m", "sfloop", "run"]


@pytest.mark.parametrize("name", PROGRAMS)
def test_kernel_sockets(tmp_path: Path, name: str) -> None:
    host = "127.0.0.1"
    with serving(PYTHON, tmp_path, PROGRAMS[name][0], host):
        run(PYTHON, tmp_path, name, host)
        run(SFLOOP, tmp_path, name, host)


@pytest.mark.parametrize("name", PROGRAMS)
def test_past_the_kernel(tmp_path: Path, name: str) -> None:
    """Client and server are on two ends of a wire in shared memory: TCP is sfloop's own when the client permits it."""
    wire = f"example{os.getpid()}"

    def side(address: str) -> list[str]:
        return [*SFLOOP, "--driver", "shm", "--interface", f"{wire}@{address}", "--fallback", "error"]

    with serving(side("127.77.0.2"), tmp_path, PROGRAMS[name][0], "127.77.0.2"):
        run([*side("127.77.0.1"), "--trace", "frames"], tmp_path, name, "127.77.0.2")
    trace = tmp_path / "frames"
    frames = trace.read_text().splitlines() if trace.exists() else []
    carried = sum(f"127.77.0.2:{PORT}" in frame for frame in frames)
    # aiohttp's client makes and connects its sockets itself and passes them on (sock=): those are the kernel's.
    assert carried > 30 if name != "http_client" else carried == 0
