"""Destination addresses that only look right: the socket module's errors, for any earlier address."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest
from harness.connections import address_of, udp
from harness.loops import until
from harness.observed import Contexts, LogLines, Run
from harness.recording import DatagramRecorder


class Host(str):
    """Equal to a plain str, but of another class."""


def by_the_socket_module(host: str, address: Any) -> BaseException | None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        try:
            sock.sendto(b"", address)
        except BaseException as exc:
            return exc
    return None


def addresses(host: str, port: int) -> list[Any]:
    found: list[Any] = [
        (host + "\0", port),
        (host + "\0.example.com", port),
        (host, float(port)),
        (host, str(port)),
        (host, None),
        (host, port + 65536),
        (host, port - 65536),
        (host, 2**70),
        (host, [port]),
        ([host], port),
        [host, port],
        (host,),
        ("\ud800", port),
    ]
    if ":" in host:
        found += [(host, port, 0.0), (host, port, -1), (host, port, 1 << 20), (host, port, 0, 0, 0)]
    else:
        found.append((host, port, 0))
    return found


@pytest.mark.parametrize("warm", [False, True])
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_wrong_addresses_are_judged_by_the_socket_module(
    run: Run, contexts: Contexts, asyncio_log: LogLines, host: str, warm: bool
) -> None:
    async def main() -> None:
        async with udp(DatagramRecorder, local_addr=(host, 0)) as server:
            target = address_of(server)
            for wrong in addresses(*target[:2]):
                expected = by_the_socket_module(host, wrong)
                assert expected is not None
                async with udp(DatagramRecorder, local_addr=(host, 0)) as client:
                    if warm:
                        client.transport.sendto(b"right", target)
                    try:
                        client.transport.sendto(b"wrong", wrong)
                    except type(expected):
                        pass
                    else:
                        assert [type(context.pop("exception")) for context in contexts] == [type(expected)], wrong
                        contexts.clear()
            await asyncio.sleep(0.01)
            assert {data for data, _ in server.received} == ({b"right"} if warm else set())

    run(main())


def test_addresses_that_are_right_in_other_types(run: Run) -> None:
    async def main() -> None:
        async with udp(DatagramRecorder) as server, udp(DatagramRecorder) as client:
            host, port = address_of(server)
            for _ in range(2):
                client.transport.sendto(b"1", (host, port))
                client.transport.sendto(b"2", (Host(host), port))
                client.transport.sendto(b"3", (host, Port(port)))
                client.transport.sendto(b"4", Pair((host, port)))
            await until(lambda: len(server.received) == 8)
            # In this order, because a stack other than the kernel sends all of them by itself.
            assert [data for data, _ in server.received] == [b"1", b"2", b"3", b"4"] * 2

    run(main())


class Port(int):
    """An int of a subclass, as an IntEnum's."""


class Pair(tuple[Any, ...]):
    """A tuple of a subclass, as a NamedTuple's."""
