"""sfloop.udp.BatchProtocol: whole batches, timestamps, views instead of copies."""

from __future__ import annotations

import asyncio
import gc
import socket
import time
from collections.abc import Sequence
from typing import Any

import pytest
from harness.observed import Contexts, Run

from sfloop import udp


class Batches(udp.BatchProtocol):
    def __init__(self) -> None:
        self.batches: list[list[tuple[Any, Any, int | None]]] = []

    def datagrams_received(self, batch: Sequence[udp.Datagram]) -> None:
        self.batches.append([(bytes(data), address, received) for data, address, received in batch])

    @property
    def datagrams(self) -> list[tuple[Any, Any, int | None]]:
        return [datagram for batch in self.batches for datagram in batch]


class Timed(Batches):
    timestamps = True


class Viewed(Batches):
    zero_copy = True

    def __init__(self) -> None:
        super().__init__()
        self.types: set[type] = set()

    def datagrams_received(self, batch: Sequence[udp.Datagram]) -> None:
        self.types.update(type(data) for data, _, _ in batch)
        super().datagrams_received(batch)


async def receive(protocol: Batches, payloads: list[bytes]) -> tuple[Any, Any]:
    """Send the payloads while the loop does not run, and wait until they have arrived."""
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(lambda: protocol, local_addr=("127.0.0.1", 0))
    with socket.socket(type=socket.SOCK_DGRAM) as sender:
        sender.bind(("127.0.0.1", 0))
        for payload in payloads:
            sender.sendto(payload, transport.get_extra_info("sockname"))
        address = sender.getsockname()
        while len(protocol.datagrams) < len(payloads):
            await asyncio.sleep(0.001)
    return transport, address


@pytest.mark.parametrize("kind", [Batches, Timed, Viewed])
def test_all_arrive_in_order(run: Run, kind: type[Batches]) -> None:
    payloads = [b"%d" % i * (i % 50) for i in range(150)]

    async def main() -> None:
        protocol = kind()
        transport, address = await receive(protocol, payloads)
        transport.close()
        assert [data for data, _, _ in protocol.datagrams] == payloads
        assert {sender for _, sender, _ in protocol.datagrams} == {address}
        if isinstance(protocol, Viewed):
            assert protocol.types == {memoryview}

    run(main())


@pytest.mark.sfloop_only("asyncio has no batches")
def test_batches_are_batches(run: Run) -> None:
    async def main() -> None:
        protocol = Batches()
        transport, _ = await receive(protocol, [b"x"] * 150)
        transport.close()
        assert [len(batch) for batch in protocol.batches] == [64, 64, 22]

    run(main())


@pytest.mark.sfloop_only("asyncio has no timestamps")
def test_timestamps(run: Run) -> None:
    async def main() -> None:
        before = time.time_ns()
        timed, untimed = Timed(), Batches()
        for protocol in (timed, untimed):
            transport, _ = await receive(protocol, [b"x"] * 70)
            transport.close()
        after = time.time_ns()
        times = [received for _, _, received in timed.datagrams]
        assert all(received is not None and before <= received <= after for received in times)
        assert times == sorted(times, key=lambda ns: ns or 0)
        assert {received for _, _, received in untimed.datagrams} == {None}

    run(main())


@pytest.mark.sfloop_only("asyncio's datagrams are bytes")
def test_views_end_with_the_callback(run: Run, contexts: Contexts) -> None:
    class Keeping(udp.BatchProtocol):
        zero_copy = True
        kept: Any = None

        def datagrams_received(self, batch: Sequence[udp.Datagram]) -> None:
            self.kept = batch[0][0]

    async def main() -> None:
        loop = asyncio.get_running_loop()
        transport, protocol = await loop.create_datagram_endpoint(Keeping, local_addr=("127.0.0.1", 0))
        transport.sendto(b"text", transport.get_extra_info("sockname"))
        while protocol.kept is None:
            await asyncio.sleep(0)
        with pytest.raises(ValueError, match="released"):
            bytes(protocol.kept)
        transport.close()

    run(main())
    assert contexts == []


@pytest.mark.sfloop_only("asyncio's datagrams are bytes")
def test_a_view_of_a_view_that_is_kept(loop: asyncio.AbstractEventLoop, run: Run, contexts: Contexts) -> None:
    """The view is reported, and its memory stays valid, even after the loop is closed."""
    kept: list[memoryview] = []

    class Keeping(udp.BatchProtocol):
        zero_copy = True

        def datagrams_received(self, batch: Sequence[udp.Datagram]) -> None:
            kept.append(memoryview(batch[0][0])[1:])

    async def main() -> None:
        transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(Keeping, local_addr=("127.0.0.1", 0))
        transport.sendto(b"text", transport.get_extra_info("sockname"))
        while not kept:
            await asyncio.sleep(0)
        transport.close()
        await asyncio.sleep(0)

    run(main())
    assert [str(context["exception"])[:45] for context in contexts] == ["datagrams_received() has kept a view of a dat"]
    contexts.clear()
    loop.close()
    assert bytes(kept[0]) == b"ext"
    kept.clear()
    gc.collect()


def test_an_exception_does_not_stop_the_transport(run: Run, contexts: Contexts) -> None:
    class Failing(Batches):
        def datagrams_received(self, batch: Sequence[udp.Datagram]) -> None:
            super().datagrams_received(batch)
            if len(self.batches) == 1:
                raise ZeroDivisionError

    async def main() -> None:
        protocol = Failing()
        transport, _ = await receive(protocol, [b"1"])
        transport.sendto(b"2", transport.get_extra_info("sockname"))
        while len(protocol.datagrams) < 2:
            await asyncio.sleep(0.001)
        transport.close()

    run(main())
    assert [type(context["exception"]) for context in contexts] == [ZeroDivisionError]
    contexts.clear()
