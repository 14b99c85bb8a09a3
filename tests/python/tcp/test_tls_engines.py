"""The engines for TLS records: which one is taken and why, and what each of them says of itself."""

from __future__ import annotations

import asyncio
import json
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from harness.loops import until
from harness.recording import Echo
from harness.tls import tls_pair

import sfloop
from sfloop.native.cores import tls_session

if sys.version_info < (3, 11):  # its sslproto leaves every transport to __del__, also those that are closed
    pytestmark = pytest.mark.filterwarnings("ignore:unclosed transport <asyncio.sslproto:ResourceWarning")


@pytest.fixture
def refuse() -> Iterator[Any]:
    yield tls_session.refuse
    tls_session.refuse()


CHAIN = [((), None), (("native",), "memory-bio"), (("native", "memory-bio"), "asyncio")]


@pytest.mark.parametrize(("refused", "engine"), CHAIN)
def test_the_next_engine_is_taken(
    refuse: Any, refused: Any, engine: str | None, server_context: ssl.SSLContext, client_context: ssl.SSLContext
) -> None:
    engine = engine or ("native" if tls_session.refused() is None else "memory-bio")
    refuse(*refused)
    calls: list[str] = []

    async def main() -> None:
        async with tls_pair(server_context, client_context, Echo) as (server, client):
            sys.setprofile(lambda frame, event, arg: calls.append(frame.f_code.co_name) if event == "call" else None)
            client.transport.write(b"x" * 1000)
            await until(lambda: len(client.data) == 1000)
            sys.setprofile(None)
            for end in server, client:
                records = getattr(end.transport._ssl_protocol, "_records", None)  # type: ignore[attr-defined]
                assert (records is not None) == (engine != "asyncio")

    loop = sfloop.new_event_loop()
    try:
        described = loop.describe()["tls"]
        loop.run_until_complete(main())
    finally:
        sys.setprofile(None)
        loop.close()
    assert described["engine"] == engine
    for each in refused:
        assert f"{each}: refused by a test" in described["reason"]
    if engine == "asyncio":
        assert {"_do_read", "feed_ssldata"} & set(calls)
    else:
        assert ssl.OPENSSL_VERSION in described["reason"]
        # No function of asyncio.sslproto or of ssl's Python half runs for a message.
        assert not {"_do_read", "_process_outgoing", "buffer_updated", "_write_appdata", "read"} & set(calls), calls


def test_the_option_has_the_last_word() -> None:
    loop = sfloop.new_event_loop(tls="asyncio")
    assert loop.describe()["tls"] == {"engine": "asyncio", "reason": "the option tls is 'asyncio'"}
    loop.close()


def test_the_library_is_named() -> None:
    if tls_session.refused() is not None:
        pytest.skip(f"the engine native cannot be used: {tls_session.refused()}")
    loop = sfloop.new_event_loop()
    reason = loop.describe()["tls"]["reason"]
    loop.close()
    version, _, path = reason.partition(", ")
    assert version == ssl.OPENSSL_VERSION
    with open("/proc/self/maps") as maps:
        assert any(line.rstrip().endswith(path.rpartition("/")[2]) for line in maps)


@pytest.mark.parametrize(("refused", "engine"), CHAIN)
def test_backends_and_the_doctor(refuse: Any, refused: Any, engine: str | None) -> None:
    refuse(*refused)
    engine = engine or ("native" if tls_session.refused() is None else "memory-bio")
    rows = [row for row in sfloop.backends() if row.kind == "tls"]
    assert [row.name for row in rows] == ["native", "memory-bio", "asyncio"]
    assert next(row for row in rows if row.available).name == engine
    assert all(row.reason == "refused by a test" for row in rows if row.name in refused)
    from sfloop.doctor.checks import tls
    from sfloop.doctor.machine import Machine

    (finding,) = tls.check(Machine())
    assert (finding.subject, finding.status) == (engine, "pass" if engine == "native" else "warn")
    assert ("refused by a test" in finding.reason) == bool(refused)


def test_the_commands_say_it() -> None:
    for arguments in ["backends"], ["doctor"]:
        ran = subprocess.run(
            [sys.executable, "-m", "sfloop", *arguments, "--json"],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        listed = json.loads(ran.stdout)
        rows = listed if isinstance(listed, list) else listed["findings"]
        assert any("tls" in (row.get("kind"), row.get("check")) and row["reason"] for row in rows)


#: What makes the module _ssl look as in an interpreter whose OpenSSL is not a library, and the reason that is given.
#: Interpreters that uv installs have the module without a file.
STATIC = [
    ("vars(_ssl).pop('__file__', None)", "is part of the interpreter"),
    ("_ssl.__file__ = tls_session.__file__", "has OpenSSL linked statically"),  # a file that needs no OpenSSL
    ("_ssl.__file__ = '/nonexistent/_ssl.so'", "is not loaded"),
]

ECHO_PROGRAM = """
import _ssl, asyncio, json, ssl, sys
import sfloop
from sfloop.native.cores import tls_session

{change}

async def echo(reader, writer):
    writer.write(await reader.readexactly(100_000))
    await writer.drain()
    await reader.read()
    writer.close()

async def main():
    far, near = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context(cafile=sys.argv[1])
    far.load_cert_chain(sys.argv[2])
    server = await asyncio.start_server(echo, "127.0.0.1", 0, ssl=far)
    address = server.sockets[0].getsockname()
    reader, writer = await asyncio.open_connection(*address, ssl=near, server_hostname="localhost")
    writer.write(b"x" * 100_000)
    assert await reader.readexactly(100_000) == b"x" * 100_000
    writer.close()
    await writer.wait_closed()
    server.close()
    print(json.dumps(asyncio.get_running_loop().describe()["tls"]))

sfloop.run(main())
"""


@pytest.mark.parametrize(("change", "reason"), STATIC)
def test_an_openssl_that_is_linked_statically(authority: trustme.CA, tmp_path: Path, change: str, reason: str) -> None:
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "server.pem"))
    program = [sys.executable, "-c", ECHO_PROGRAM.format(change=change), "ca.pem", "server.pem"]
    ran = subprocess.run(program, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert (ran.returncode, ran.stderr) == (0, "")
    described = json.loads(ran.stdout)
    assert described["engine"] == "memory-bio"
    assert reason in described["reason"].partition("native: ")[2]


def test_no_engine_without_ssl_objects() -> None:
    """A TLS protocol whose SSLObject is not of Python's class is left to asyncio."""

    class Other:
        _sslobj = object()

    class Protocol:
        _sslobj, _incoming, _outgoing = Other(), object(), object()

    from sfloop.native.cores import tls

    loop = sfloop.new_event_loop()

    async def main() -> None:
        server = await loop.create_server(asyncio.Protocol, "127.0.0.1", 0)
        transport, _ = await loop.create_connection(asyncio.Protocol, *server.sockets[0].getsockname())
        attached: Any = tls.Records.attach(Protocol(), transport, transport._core)  # type: ignore[attr-defined]
        assert attached is None
        transport.abort()
        server.close()
        await asyncio.sleep(0.01)

    loop.run_until_complete(main())
    loop.close()
