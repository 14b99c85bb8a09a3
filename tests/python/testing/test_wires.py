"""sfloop.testing.wire, WireLoop and Faults: sfloop's TCP/IP in memory."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import pytest

from sfloop import testing
from sfloop.testing import Clock, Faults, Wire

PORT = 9000


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1 << 16):
        writer.write(data)
    writer.close()


async def exchange(address: str, size: int) -> tuple[bytes, float]:
    """Return the answer of an echo server, and its delay by the loop's clock."""
    reader, writer = await asyncio.open_connection(address, PORT)
    assert writer.get_extra_info("stack") == "tcpip"  # no kernel in between
    began = asyncio.get_running_loop().time()
    writer.write(bytes(range(256)) * (size // 256))
    writer.write_eof()
    data = await reader.read()
    writer.close()
    await writer.wait_closed()
    return data, asyncio.get_running_loop().time() - began


def run_exchange(wire: Wire, size: int = 1 << 18) -> float:
    server = wire.run_far(asyncio.start_server(echo, wire.far_address, PORT))
    data, took = wire.run_near(exchange(wire.far_address, size))
    assert data == bytes(range(256)) * (size // 256)
    server.close()
    return took


@pytest.fixture(autouse=True)
def nothing_leaks() -> Iterator[None]:
    with testing.no_leaks():
        yield


@pytest.mark.parametrize("with_clock", [False, True])
def test_echo(with_clock: bool) -> None:
    with testing.wire(clock=Clock() if with_clock else None) as wire:
        assert wire.near.describe()["driver"]["peer"] == wire.far_address
        assert run_exchange(wire) < 10


def test_datagrams_between_two_coroutines() -> None:
    class Inbox(asyncio.DatagramProtocol):
        def __init__(self) -> None:
            self.came: asyncio.Queue[tuple[bytes, Any]] = asyncio.Queue()

        def datagram_received(self, data: bytes, addr: Any) -> None:
            self.came.put_nowait((data, addr))

    async def talk(mine: str, to: str, first: bool) -> list[bytes]:
        loop = asyncio.get_running_loop()
        transport, inbox = await loop.create_datagram_endpoint(Inbox, local_addr=(mine, PORT))
        got = []
        for i in range(5):
            if first:
                transport.sendto(b"%d" % i, (to, PORT))
            data, sender = await asyncio.wait_for(inbox.came.get(), 60)
            assert sender == (to, PORT)
            got.append(data)
            if not first:
                transport.sendto(data, sender)
        transport.close()
        return got

    faults, clock = Faults(delay=0.5), Clock(0)
    with testing.wire(clock=clock, faults=faults, near_address="127.77.1.1", far_address="127.77.1.2") as wire:
        ends = (wire.near_address, wire.far_address)
        assert ends == ("127.77.1.1", "127.77.1.2")
        near, far = wire.run(talk(*ends, True), talk(*reversed(ends), False))
        assert near == far == [b"0", b"1", b"2", b"3", b"4"]
        assert clock.time() == pytest.approx(5)


BAD = Faults(loss=0.2, duplicate=0.05, reorder=0.1, delay=(0.01, 0.03), seed=11)


def test_a_bad_line_takes_no_time_and_is_the_same_each_time() -> None:
    began, took = time.monotonic(), []
    for seed in (11, 11, 12):
        faults = Faults(**{**BAD.__dict__, "seed": seed})
        with testing.wire(clock=Clock(0), faults=faults) as wire:
            took.append(run_exchange(wire))
            assert wire.near.stats()["stacks"]["tcpip"]["driver"]["tx_frames"] > 10
    assert took[0] == took[1] != took[2]
    assert took[0] > 0.2
    assert time.monotonic() - began < 15


def test_faults_without_a_clock_take_their_time() -> None:
    with testing.wire(faults=(Faults(delay=0.03), Faults())) as wire:
        assert run_exchange(wire, 256) >= 0.03


def test_total_loss_is_a_time_out() -> None:
    async def connect(address: str) -> None:
        await asyncio.open_connection(address, PORT)

    clock = Clock(0)
    with testing.wire(clock=clock, faults=(Faults(loss=1), Faults())) as wire:
        with pytest.raises(TimeoutError):
            wire.run_near(connect(wire.far_address))
        assert 30 < clock.time() < 1000


def test_one_that_raises_ends_the_other() -> None:
    cancelled = []

    async def fails() -> None:
        await asyncio.sleep(0.001)
        raise ZeroDivisionError

    async def waits() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.append(True)

    with testing.wire() as wire:
        with pytest.raises(ZeroDivisionError):
            wire.run(waits(), fails())
        assert cancelled == [True]


def test_what_is_left_open_is_closed() -> None:
    async def leave_open(address: str) -> None:
        reader, writer = await asyncio.open_connection(address, PORT)
        writer.write(b"x")
        assert await reader.read(1) == b"x"
        kept.append(writer)

    kept: list[asyncio.StreamWriter] = []
    with testing.wire(clock=Clock()) as wire:
        server = wire.run_far(asyncio.start_server(echo, wire.far_address, PORT))
        wire.run_near(leave_open(wire.far_address))
        writer = kept.pop()
        writer.transport.abort()
        server.close()


@pytest.mark.parametrize("faults", [None, BAD])
def test_a_loop_with_itself(faults: Faults | None) -> None:
    loop = testing.WireLoop(faults=faults)
    clock = Clock(0)

    async def main() -> float:
        server = await asyncio.start_server(echo, "127.0.0.1", PORT)
        data, took = await exchange("127.0.0.1", 1 << 16)
        assert len(data) == 1 << 16
        server.close()
        await server.wait_closed()
        await asyncio.sleep(3600)
        return took

    began = time.monotonic()
    with clock.on(loop):
        took = loop.run_until_complete(main())
    loop.close()
    assert (took > 0.02) == (faults is not None)
    assert clock.time() >= 3600
    assert time.monotonic() - began < 10


def test_without_the_clock_again() -> None:
    """The stacks go on from the clock's last time."""
    loop = testing.WireLoop(faults=Faults(delay=0.01))

    async def main() -> None:
        server = await asyncio.start_server(echo, "127.0.0.1", PORT)
        assert len((await exchange("127.0.0.1", 512))[0]) == 512
        server.close()
        await server.wait_closed()

    for _ in range(2):
        loop.run_until_complete(main())
        with Clock().on(loop):
            loop.run_until_complete(main())
    loop.close()


def test_refusals() -> None:
    for wrong in ({"loss": 1.5}, {"corrupt": -0.1}, {"delay": 11}, {"delay": (2, 1)}, {"rate": 0}, {"seed": -1}):
        with pytest.raises(ValueError, match=f"{next(iter(wrong))}=.*must be"):
            Faults(**wrong)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="driver: the loops of a wire do not take"), testing.wire(driver="packet"):
        pass
    with pytest.raises(ValueError, match="not an IPv4 address"), testing.wire(near_address="wrong"):
        pass
    every = Faults(loss=0.123456789, duplicate=1, corrupt=1e-9, reorder=0.5, delay=(0, 10), rate=1e12, seed=10**18)
    with testing.wire(faults=every):  # every word is understood
        pass
