"""The TLS load generator gets every answer, whenever it arrives."""

from __future__ import annotations

import asyncio
import json
import random
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from sfloop.bench.build import Programs
from sfloop.bench.cases.tls import certificates


async def late_echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer each message after a random time, so that some answers arrive at every point of the client's turn."""
    with suppress(ConnectionError, asyncio.IncompleteReadError):
        while True:
            message = await reader.readexactly(64)
            await asyncio.sleep(random.random() * 0.02)
            writer.write(message)
    writer.close()


@contextmanager
def late_server(certificate: str) -> Iterator[int]:
    """Serve in a thread; yield the port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(asyncio.start_server(late_echo, "127.0.0.1", 0, ssl=context))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        loop.call_soon_threadsafe(server.close)
        asyncio.run_coroutine_threadsafe(asyncio.sleep(0.1), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def test_no_answer_is_overlooked_while_the_client_looks_at_the_time(programs: Programs) -> None:
    with certificates("127.0.0.1") as (certificate, ca), late_server(certificate) as port:
        line = [str(programs.sfbench), "tls", "--port", str(port), "--warmup", "0", "--timeout", "5"]
        options = ["--size", "64", "--connections", "100", "--messages", "12000", "--ca", ca]
        found = subprocess.run([*line, *options], capture_output=True, text=True, timeout=90, check=False)
    assert found.returncode == 0, found.stderr
    assert json.loads(found.stdout)["count"] == 12_000
