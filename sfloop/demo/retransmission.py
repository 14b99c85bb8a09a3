"""The simulator's MoldUDP64 request server: repeats messages by unicast on request."""

from __future__ import annotations

import random
import socket
from typing import Protocol

from . import moldudp64
from .feed import LOOPBACK
from .session_plan import Packet


class RequestSocket(Protocol):
    """The socket for requests: a non-blocking UDP socket, or an object like one."""

    def recvfrom(self, size: int, /) -> tuple[bytes, tuple[str, int]]: ...
    def sendto(self, data: bytes, peer: tuple[str, int], /) -> object: ...
    def getsockname(self) -> tuple[str, int]: ...
    def close(self) -> None: ...


def request_socket(address: str = LOOPBACK) -> socket.socket:
    """A non-blocking UDP socket on a free port of ``address``."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setblocking(False)
    sock.bind((address, 0))
    return sock


class RequestServer:
    """Answers each request packet with one downstream packet that begins with the first message requested.

    As the specification says, an answer has as many messages as fit into a packet, and the receiver asks again for the
    rest. Requests are ignored with probability ``loss``, to simulate lost requests and answers.
    """

    def __init__(self, session: bytes, seed: int, loss: float, sock: RequestSocket | None = None) -> None:
        self._session = session
        self._loss = loss
        self._rng = random.Random(f"requests {seed}")
        self._messages: list[tuple[Packet, int, int]] = []
        self._socket = sock or request_socket()
        self.address: tuple[str, int] = self._socket.getsockname()
        self.requests = 0
        self.ignored = 0
        self.refused: list[str] = []
        """Faults of requests that a correct receiver would not send."""
        self.asked_for: set[int] = set()
        self.answered: set[int] = set()

    def add(self, packet: Packet) -> None:
        """Store the messages of a packet that was sent or lost."""
        self._messages += [(packet, offset, length) for offset, length in packet.messages]

    def poll(self) -> None:
        """Answer the next request, if there is one."""
        try:
            request, peer = self._socket.recvfrom(2048)
        except BlockingIOError:
            return
        try:
            session, first, count = moldudp64.decode_request(request)
            if session != self._session:
                raise ValueError(f"request for session {session!r}, but this is {self._session!r}")
            if not 1 <= first <= len(self._messages) or not 1 <= count <= moldudp64.MAX_COUNT:
                raise ValueError(f"request for {count} messages from {first} on; there are 1 to {len(self._messages)}")
        except ValueError as error:
            self.refused.append(str(error))
            return
        self.requests += 1
        self.asked_for.update(range(first, min(first + count, len(self._messages) + 1)))
        if self._rng.random() < self._loss:
            self.ignored += 1
            return
        block = self._block(first, count)
        self.answered.update(range(first, first + len(block)))
        self._socket.sendto(moldudp64.encode(self._session, first, block), peer)

    def _block(self, first: int, count: int) -> list[bytes]:
        block: list[bytes] = []
        size = moldudp64.HEADER.size
        for packet, offset, length in self._messages[first - 1 : first - 1 + count]:
            size += moldudp64.LENGTH.size + length
            if block and size > moldudp64.MAX_PACKET:
                break
            block.append(bytes(packet.data[offset : offset + length]))
        return block

    def close(self) -> None:
        self._socket.close()
