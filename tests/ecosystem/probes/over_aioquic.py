"""aioquic: a stream of its client and its server, with an own certificate."""

from __future__ import annotations

import asyncio
import ssl
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import trustme
from aioquic.asyncio import connect
from aioquic.asyncio import serve as aioquic_serve
from aioquic.quic.configuration import QuicConfiguration

from ecosystem.probing import COUNT, SIZE

ROLES = ("client", "server")


def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    async def run() -> None:
        while data := await reader.read(65536):
            writer.write(data)

    writer.task = asyncio.ensure_future(run())  # type: ignore[attr-defined]  # a reference, so that it is not collected


@asynccontextmanager
async def serve(host: str, port: int) -> AsyncIterator[None]:
    configuration = QuicConfiguration(is_client=False, alpn_protocols=["echo"])
    certificate = trustme.CA().issue_cert(host)
    with tempfile.TemporaryDirectory() as folder:
        chain, key = Path(folder) / "chain.pem", Path(folder) / "key.pem"
        for blob in certificate.cert_chain_pems:
            blob.write_to_path(chain, append=True)
        certificate.private_key_pem.write_to_path(key)
        configuration.load_cert_chain(chain, key)
    server = await aioquic_serve(host, port, configuration=configuration, stream_handler=_echo)
    yield
    server.close()


async def talk(host: str, port: int) -> None:
    configuration = QuicConfiguration(alpn_protocols=["echo"], verify_mode=ssl.CERT_NONE)
    async with connect(host, port, configuration=configuration) as connection:
        reader, writer = await connection.create_stream()
        for number in range(COUNT):
            payload = bytes([number % 256]) * SIZE
            writer.write(payload)
            assert await reader.readexactly(SIZE) == payload
