"""aiohttp's client connects by itself, and its connections are imported."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from aiohttp import ClientSession, web
from harness.link import Side
from program import Program


async def answer(request: web.Request) -> web.Response:
    return web.Response(body=await request.read())


@contextmanager
def web_server(side: Side) -> Iterator[tuple[str, int]]:
    """A server on a side's kernel sockets that answers with the request's body."""
    ready, done = threading.Event(), threading.Event()
    addresses: list[tuple[str, int]] = []

    async def serve() -> None:
        app = web.Application(client_max_size=1 << 24)
        app.router.add_post("/", answer)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, side.address, 0).start()
        addresses.append(runner.addresses[0])
        ready.set()
        await asyncio.to_thread(done.wait)
        await runner.cleanup()

    def run() -> None:
        with side.entered():
            asyncio.run(serve())

    thread = threading.Thread(target=run)
    thread.start()
    try:
        assert ready.wait(10)
        yield addresses[0]
    finally:
        done.set()
        thread.join()


def test_a_client_of_aiohttp(program: Program) -> None:
    async def main(address: tuple[str, int]) -> None:
        host, port = address
        async with ClientSession() as session:
            for size in (0, 1, 1000, 500_000):
                async with session.post(f"http://{host}:{port}/", data=bytes(size)) as response:
                    assert await response.read() == bytes(size)
            assert [each["remote"] for each in program.loop.stats()["connections"]] == [address]
        assert program.loop.describe()["imports"] == {"imported": 1, "kept": {}}

    with web_server(program.link.far) as address:
        program.run(main(address))
