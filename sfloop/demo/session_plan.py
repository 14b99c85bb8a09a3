"""A plan of a simulated session, made before it begins so that sending costs little.

Both sources, the synthetic order flow and a recording, give the same result: packets with their times, the expected
final books, and the orders that the client must send.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from . import binaryfile, itch, moldudp64
from .book import ReferenceBooks
from .orderflow import OrderFlow
from .schedule import NS_PER_SECOND, Slot, losses, schedule
from .trigger import ExpectedOrder, expected_order

OPENING_GAP = NS_PER_SECOND // 2_000
"""ns between two packets of the opening, which are full."""


@dataclass
class Packet:
    """One downstream packet. The timestamps of its messages are written into ``data`` when it is sent."""

    due: int
    """ns after the start of the session."""
    sequence: int
    data: bytearray
    messages: list[tuple[int, int]]
    """(offset in ``data``, length) of each message."""
    lost: bool = False
    """Whether the simulator loses the packet on purpose."""
    orders: list[ExpectedOrder] = field(default_factory=list)

    @property
    def next_sequence(self) -> int:
        """The number of the first message after this packet."""
        return self.sequence + len(self.messages)


@dataclass
class SessionPlan:
    """A session that is ready to be sent."""

    session: bytes
    packets: list[Packet]
    books: ReferenceBooks
    counts: Counter[str]
    """Type letter → number of messages."""
    warm_up: int
    """Number of messages before the measurement begins."""

    @property
    def next_sequence(self) -> int:
        """The number after that of the last message."""
        return self.packets[-1].next_sequence

    def orders(self) -> Iterator[ExpectedOrder]:
        """Every order that the client must send."""
        for packet in self.packets:
            yield from packet.orders


def synthetic(seed: int, slots: list[Slot]) -> tuple[list[bytes], list[bytes]]:
    """(opening, trading) messages of an invented session. ``slots`` decide the number of trading messages."""
    flow = OrderFlow(seed)
    opening = [message.encode() for message in flow.opening()]
    closing = list(flow.closing())
    room = max(0, sum(slot.count for slot in slots) - len(closing))
    trading = itertools.chain(itertools.islice(flow.trading(), room), closing)
    return opening, [message.encode() for message in trading]


def recorded(path: Path, slots: list[Slot]) -> tuple[list[bytes], list[bytes]]:
    """(opening, trading) messages of a BinaryFILE: those before its first order, and the rest.

    Raises OSError or ValueError if the file cannot be read, has a message unknown to ITCH 5.0, or has no order.
    """
    opening: list[bytes] = []
    messages = binaryfile.read(path)
    for message in messages:
        if message[:1] in (itch.AddOrder.TYPE, itch.AddOrderMpid.TYPE):
            room = sum(slot.count for slot in slots) - 1
            return opening, [message, *itertools.islice(messages, room)]
        opening.append(message)
    raise ValueError(f"{path}: none of its {len(opening)} messages adds an order; is it an ITCH 5.0 BinaryFILE?")


def prepare(
    session: str, seed: int, seconds: float, warm_up: float, loss: float, recording: Path | None = None
) -> SessionPlan:
    """Plan a session of ``warm_up`` + ``seconds`` seconds. The same arguments give the same plan.

    ``loss`` is the probability with which a packet is lost on purpose. ``recording`` is a BinaryFILE to send instead of
    synthetic messages. Raises the errors of :func:`recorded`.
    """
    slots = schedule(seed, warm_up + seconds)
    opening, trading = recorded(recording, slots) if recording else synthetic(seed, slots)
    name = moldudp64.session_name(session)
    packets = list(_fill(name, opening))
    start = OPENING_GAP * (len(packets) + 1)
    first = 1 + len(opening)
    messages = iter(trading)
    warm_up_messages = len(opening)
    for slot in slots:
        block = list(itertools.islice(messages, slot.count))
        if not block:
            break
        if slot.due < warm_up * NS_PER_SECOND:
            warm_up_messages += len(block)
        packets.append(_packet(name, start + slot.due, first, block))
        first += len(block)
    for index in losses(seed, len(packets), loss):
        packets[index].lost = True
    books, counts = _foresee(packets)
    return SessionPlan(name, packets, books, counts, warm_up_messages)


def _packet(session: bytes, due: int, sequence: int, block: list[bytes]) -> Packet:
    places = []
    offset = moldudp64.HEADER.size
    for message in block:
        offset += moldudp64.LENGTH.size
        places.append((offset, len(message)))
        offset += len(message)
    return Packet(due, sequence, bytearray(moldudp64.encode(session, sequence, block)), places)


def _fill(session: bytes, messages: Iterable[bytes]) -> Iterator[Packet]:
    """Packets with as many messages as fit into a frame."""
    block: list[bytes] = []
    size, sequence, due = moldudp64.HEADER.size, 1, OPENING_GAP
    for message in messages:
        if block and size + moldudp64.LENGTH.size + len(message) > moldudp64.MAX_PACKET:
            yield _packet(session, due, sequence, block)
            sequence += len(block)
            block, size, due = [], moldudp64.HEADER.size, due + OPENING_GAP
        block.append(message)
        size += moldudp64.LENGTH.size + len(message)
    if block:
        yield _packet(session, due, sequence, block)


def _foresee(packets: list[Packet]) -> tuple[ReferenceBooks, Counter[str]]:
    """Apply every message to the reference books, and note the orders that the client must send."""
    books = ReferenceBooks()
    counts: Counter[str] = Counter()
    for packet in packets:
        for index, (offset, length) in enumerate(packet.messages):
            message = itch.decode(bytes(packet.data[offset : offset + length]))
            counts[message.TYPE.decode("ascii")] += 1
            books.apply(message)
            order = expected_order(packet.sequence + index, message, books)
            if order is not None:
                packet.orders.append(order)
    return books, counts
