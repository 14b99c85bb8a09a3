"""ib_async with nest_asyncio, against a server of the API in a thread."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections.abc import Iterator

import pytest
from ib_async import IB, Stock, Ticker, util

from ecosystem.support import gateway

HOST = "127.0.0.1"


@pytest.fixture(autouse=True)
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """The thread's loop, which ib_async's blocking calls run."""
    made = asyncio.new_event_loop()
    asyncio.set_event_loop(made)
    yield made
    made.close()
    asyncio.set_event_loop(None)


@pytest.fixture
def port() -> Iterator[int]:
    """The port of a server in a thread of its own."""
    ready, found, done = threading.Event(), [], asyncio.Event()
    serving = asyncio.new_event_loop()

    async def serve() -> None:
        async with gateway.gateway(HOST, 0) as number:
            found.append(number)
            ready.set()
            await done.wait()

    thread = threading.Thread(target=serving.run_until_complete, args=(serve(),))
    thread.start()
    assert ready.wait(10)
    yield found[0]
    serving.call_soon_threadsafe(done.set)
    thread.join(10)
    serving.close()


def test_the_loop_is_the_one_under_test(loop: asyncio.AbstractEventLoop) -> None:
    async def kind() -> str:
        return type(asyncio.get_running_loop()).__module__.partition(".")[0]

    assert util.run(kind()) == os.environ["SFLOOP_TEST_LOOP"]


def test_blocking_calls(port: int) -> None:
    ib = IB()
    ib.connect(HOST, port, clientId=1)
    assert ib.managedAccounts() == [gateway.ACCOUNT]
    assert [ib.reqCurrentTime().timestamp() for _ in range(20)] == [gateway.NOW] * 20
    ib.disconnect()
    assert not ib.isConnected()


def test_blocking_calls_in_a_coroutine(port: int, loop: asyncio.AbstractEventLoop) -> None:
    util.startLoop()  # nest_asyncio

    async def main() -> None:
        ib = IB()
        await ib.connectAsync(HOST, port, clientId=2)
        others = asyncio.ensure_future(asyncio.sleep(0.01, "others run, too"))
        assert ib.reqCurrentTime().timestamp() == gateway.NOW
        ib.sleep(0.1)
        assert others.done()
        ib.disconnect()

    loop.run_until_complete(main())


def test_ticks_arrive_in_a_nested_run(port: int, loop: asyncio.AbstractEventLoop) -> None:
    util.startLoop()
    prices: list[float] = []

    def seen(tickers: set[Ticker]) -> None:
        prices.extend(tick.price for ticker in tickers for tick in ticker.ticks)

    async def main() -> None:
        ib = IB()
        await ib.connectAsync(HOST, port, clientId=3)
        ib.pendingTickersEvent += seen
        ib.reqMktData(Stock("ANY", "SMART", "USD", conId=1))
        while len(prices) < gateway.TICKS:
            assert ib.waitOnUpdate(timeout=5)
        ib.disconnect()

    loop.run_until_complete(main())
    assert prices == list(range(1, gateway.TICKS + 1))


def test_requests_at_once(port: int, loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        ib = IB()
        await ib.connectAsync(HOST, port, clientId=4)
        names = [f"article {number} " * 50 for number in range(100)]
        articles = await asyncio.gather(*(ib.reqNewsArticleAsync("ANY", name) for name in names))
        assert [article.articleText for article in articles] == names
        ib.disconnect()

    loop.run_until_complete(main())


def test_connecting_again(port: int, loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        ib = IB()
        for client in range(5, 8):
            await ib.connectAsync(HOST, port, clientId=client)
            assert await ib.reqCurrentTimeAsync()
            ib.disconnect()
            assert not ib.isConnected()

    loop.run_until_complete(main())


def test_no_server(loop: asyncio.AbstractEventLoop) -> None:
    with socket.create_server((HOST, 0)) as listening:
        port = listening.getsockname()[1]
    with pytest.raises(ConnectionRefusedError):
        IB().connect(HOST, port, clientId=8)
