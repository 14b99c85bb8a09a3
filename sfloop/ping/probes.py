"""Probes: each is a coroutine that makes a series of round trips on the running loop and returns its outcome.

They use the loop like any program. The loop decides whether the kernel or a bypass stack carries them. Each coroutine
is written out from opening to closing, although the probes of UDP and TCP end alike, so that it reads as one program.
"""

from __future__ import annotations

import asyncio
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from sfloop.ping.icmp import EchoSocket
from sfloop.ping.rounds import Outcome, Rounds

Address = tuple[Any, ...]
#: Seconds to wait for the connection of a series.
_CONNECT_TIMEOUT: Final = 10


@dataclass(frozen=True)
class Series:
    """The parameters of a series."""

    family: socket.AddressFamily
    address: Address
    #: The local address to send from; None: the kernel chooses.
    source: Address | None
    count: int
    interval: float
    size: int
    timeout: float
    warmup: int

    def rounds(self, send: Callable[[bytes], object]) -> Rounds:
        return Rounds(
            send, count=self.count, interval=self.interval, size=self.size, timeout=self.timeout, warmup=self.warmup
        )


@contextmanager
def _interruptible(rounds: Rounds) -> Iterator[None]:
    """In this block Ctrl-C ends the series, so that its part is reported."""
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGINT, rounds.finish)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGINT)


async def finish(rounds: Rounds) -> Outcome:
    """Run a series to its end."""
    with _interruptible(rounds):
        rounds.start()
        return await rounds.done


class _UdpProbe(asyncio.DatagramProtocol):
    rounds: Rounds

    def datagram_received(self, data: bytes, addr: object) -> None:
        self.rounds.reply(data)

    def error_received(self, exc: Exception) -> None:
        self.rounds.finish(f"{exc} (start `sfloop ping --serve` there)")


async def udp(series: Series) -> Outcome:
    """Measure UDP datagrams with an echo server."""
    loop = asyncio.get_running_loop()
    transport, probe = await loop.create_datagram_endpoint(
        _UdpProbe, local_addr=series.source, remote_addr=series.address, family=series.family
    )
    try:
        probe.rounds = series.rounds(transport.sendto)
        probe.rounds.outcome.stack = transport.get_extra_info("stack")
        return await finish(probe.rounds)
    finally:
        transport.close()


class _TcpProbe(asyncio.Protocol):
    rounds: Rounds

    def __init__(self, size: int) -> None:
        self._size = size
        self._pieces = b""

    def data_received(self, data: bytes) -> None:
        if self._pieces or len(data) != self._size:
            self._pieces = data = self._pieces + data
            if len(data) < self._size:
                return
            self._pieces = b""
        self.rounds.reply(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self.rounds.finish(f"the connection was lost: {exc or 'the peer closed it'}")


async def tcp(series: Series) -> Outcome:
    """Measure messages on one TCP connection with an echo server."""
    loop = asyncio.get_running_loop()
    connecting = loop.create_connection(
        lambda: _TcpProbe(series.size),
        series.address[0], series.address[1], family=series.family, local_addr=series.source,
    )  # fmt: skip
    # Wait longer, because a SYN to an unresolved neighbour may be lost, and the next one follows after a second.
    transport, probe = await asyncio.wait_for(connecting, max(series.timeout, _CONNECT_TIMEOUT))
    try:
        probe.rounds = series.rounds(transport.write)
        probe.rounds.outcome.stack = transport.get_extra_info("stack")
        return await finish(probe.rounds)
    finally:
        transport.close()


async def tcp_connect(series: Series) -> Outcome:
    """Measure TCP handshakes: from ``create_connection`` to ``connection_made``. Works with any open port."""
    loop = asyncio.get_running_loop()
    outcome = Outcome()
    interrupted = loop.create_future()
    loop.add_signal_handler(signal.SIGINT, interrupted.cancel)
    try:
        for number in range(series.count + series.warmup):
            if interrupted.done():
                break
            outcome.sent += number >= series.warmup
            started = time.monotonic_ns()
            connecting = loop.create_connection(
                asyncio.Protocol,
                series.address[0], series.address[1], family=series.family, local_addr=series.source,
            )  # fmt: skip
            try:
                transport, _ = await asyncio.wait_for(connecting, series.timeout)
            except asyncio.TimeoutError:
                continue
            except OSError as error:
                outcome.error = str(error)
                break
            outcome.stack = transport.get_extra_info("stack")
            if number >= series.warmup:
                outcome.times.append(time.monotonic_ns() - started)
            transport.close()
            await asyncio.sleep(series.interval)
    finally:
        loop.remove_signal_handler(signal.SIGINT)
    return outcome


async def icmp(series: Series) -> Outcome:
    """Measure ICMP echo requests through the kernel's sockets. The other host's kernel answers."""
    loop = asyncio.get_running_loop()
    echo = EchoSocket.open(series.family, series.address)
    try:
        rounds = series.rounds(echo.send)

        def receive() -> None:
            payload = echo.receive()
            if payload is not None:
                rounds.reply(payload)

        loop.add_reader(echo.sock, receive)
        try:
            return await finish(rounds)
        finally:
            loop.remove_reader(echo.sock)
    finally:
        echo.sock.close()
