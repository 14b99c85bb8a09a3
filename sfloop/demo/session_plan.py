"""Everything that a simulated session will send, prepared before it begins so that sending costs little.

Both sources, the synthetic order flow and a recorded one, end up as the same thing: packets with their times, the books
as they must be at the end, and the orders that the client must send on the way.
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
"""ns between two packets of the opening, which are filled to the brim."""


@dataclass
class Packet:
    """One downstream packet. Its messages' timestamps are written into ``data`` when it is sent."""

    due: int
    """ns after the start of the session."""
    sequence: int
    data: bytearray
    messages: list[tuple[int, int]]
    """(offset in ``data``, length) of each message."""
    lost: bool = False
    """Whether the simulator is to lose the packet on purpose."""
    orders: list[ExpectedOrder] = field(default_factory=list)

    @property
    def next_sequence(self) -> int:
        """The number of the first message after this packet."""
        return self.sequence + len(self.messages)


@dataclass
class SessionPlan:
    """A session, ready to be sent."""

    session: bytes
    packets: list[Packet]
    books: ReferenceBooks
    counts: Counter[str]
    """Messages by type letter."""
    warm_up: int
    """How many messages come before those whose latency counts."""

    @property
    def next_sequence(self) -> int:
        """The number after the last message's."""
        return self.packets[-1].next_sequence

    def orders(self) -> Iterator[ExpectedOrder]:
        """Every order that the client must send."""
        for packet in self.packets:
            yield from packet.orders


def synthetic(seed: int, slots: list[Slot]) -> tuple[list[bytes], list[bytes]]:
    """(opening, trading) messages of a made-up session: as many of the latter as ``slots`` have room for."""
    flow = OrderFlow(seed)
    opening = [message.encode() for message in flow.opening()]
    closing = list(flow.closing())
    room = max(0, sum(slot.count for slot in slots) - len(closing))
    trading = itertools.chain(itertools.islice(flow.trading(), room), closing)
    return opening, [message.encode() for message in trading]


def recorded(path: Path, slots: list[Slot]) -> tuple[list[bytes], list[bytes]]:
    """(opening, trading) messages from a BinaryFILE: what comes before its first order, and what follows.

    Raises OSError or ValueError when the file cannot be read, has a message that ITCH 5.0 does not, or has no order.
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
    """The plan of a session of ``warm_up`` + ``seconds`` seconds, the same for the same arguments.

    ``loss`` is the probability with which a packet is lost on purpose; ``recording`` is a BinaryFILE to send instead of
    synthetic messages. Raises what :func:`recorded` does.
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
    """Packets with as many messages as a frame holds."""
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
    """Apply every message to the reference books, noting the orders that the client must send."""
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
