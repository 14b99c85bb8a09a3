"""A test suite that uses pytest-asyncio, as a user of sfloop would write it: every test on asyncio and on sfloop.

The hook that names the loops is in conftest.py.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

SETTING: contextvars.ContextVar[str] = contextvars.ContextVar("setting")

pytestmark = pytest.mark.asyncio


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()
    await writer.wait_closed()


@pytest_asyncio.fixture
async def server() -> AsyncIterator[tuple[str, int]]:
    """The address of an echo server that runs on the test's own loop."""
    async with await asyncio.start_server(_echo, "127.0.0.1", 0) as echo:
        yield echo.sockets[0].getsockname()


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def module_loop() -> asyncio.AbstractEventLoop:
    return asyncio.get_running_loop()


async def test_the_loop_is_the_one_named(request: pytest.FixtureRequest) -> None:
    module = type(asyncio.get_running_loop()).__module__
    assert module.partition(".")[0] == ("sfloop" if "sfloop" in request.node.name else "asyncio")


async def test_streams(server: tuple[str, int]) -> None:
    payload = bytes(range(256)) * 4096
    reader, writer = await asyncio.open_connection(*server)
    writer.write(payload)
    writer.write_eof()
    assert await reader.read(-1) == payload
    writer.close()
    await writer.wait_closed()


async def test_many_connections_at_once(server: tuple[str, int]) -> None:
    async def one(number: int) -> bytes:
        reader, writer = await asyncio.open_connection(*server)
        writer.write(b"%d\n" % number)
        line = await reader.readline()
        writer.close()
        await writer.wait_closed()
        return line

    assert await asyncio.gather(*map(one, range(50))) == [b"%d\n" % number for number in range(50)]


async def test_timeout_leaves_the_connection_usable(server: tuple[str, int]) -> None:
    reader, writer = await asyncio.open_connection(*server)
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(reader.readline(), 0.02)
    writer.write(b"late\n")
    assert await reader.readline() == b"late\n"
    writer.close()
    await writer.wait_closed()


async def test_context_variables_reach_callbacks() -> None:
    SETTING.set("of the test")
    seen: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_later(0.001, lambda: seen.set_result(SETTING.get()))
    assert await seen == "of the test"


@pytest.mark.asyncio(loop_scope="module")
async def test_module_scope_shares_a_loop(module_loop: asyncio.AbstractEventLoop) -> None:
    assert asyncio.get_running_loop() is module_loop


@pytest.mark.parametrize("count", [1, 100])
async def test_parametrized_with_tasks(count: int) -> None:
    done: list[int] = []

    async def work(number: int) -> None:
        await asyncio.sleep(0)
        done.append(number)

    await asyncio.gather(*(work(number) for number in range(count)))
    assert sorted(done) == list(range(count))
