"""Checks that a client received everything that the exchange sent, in order and once."""

from __future__ import annotations

from typing import Any

from .columns import Column

KERNEL_SHARE = 0.02
"""The share of packets that may come by the kernel instead of a driver: the first datagrams of a flow, and answers to
requests."""


def verify(loop: str, exchange: dict[str, Any], client: dict[str, Any]) -> list[str]:
    """The faults in both results of one round, as text; empty if there are none."""
    problems = [f"exchange: {problem}" for problem in exchange["problems"]]
    if client["loop"].partition(".")[0] != loop:
        problems.append(f"the client ran on {client['loop']} instead of {loop}")
    if client["messages"] != exchange["messages"]:
        problems.append(f"{exchange['messages']} messages were sent, the client saw {client['messages']}")
    for letter in sorted(exchange["messages_by_type"].keys() | client["messages_by_type"].keys()):
        sent, seen = exchange["messages_by_type"].get(letter, 0), client["messages_by_type"].get(letter, 0)
        if sent != seen:
            problems.append(f"{sent} messages of type {letter} were sent, the client saw {seen}")
    for stock in sorted(exchange["digests"].keys() | client["digests"].keys()):
        true, kept = exchange["digests"].get(stock, "empty"), client["digests"].get(stock, "empty")
        if true != kept:
            problems.append(f"the client's final book of {stock} is wrong: digest {kept[:12]}, should be {true[:12]}")
    if exchange["orders_missing"]:
        missing, expected = exchange["orders_missing"], exchange["orders_expected"]
        problems.append(f"{missing} of {expected} orders that the feed should have triggered never came")
    if client["recovered"] < exchange["messages_lost"]:
        problems.append(
            f"{exchange['messages_lost']} messages were lost on purpose, and only {client['recovered']} recovered"
        )
    if client["orders_executed"] != exchange["orders_expected"]:
        problems.append(
            f"{exchange['orders_expected']} orders must be executed, the client saw {client['orders_executed']}"
        )
    return problems


def verify_bypass(column: Column, exchange: dict[str, Any], client: dict[str, Any], by_kernel: int) -> list[str]:
    """Check that the column's driver carried the market data, and not the kernel.

    ``by_kernel`` is the number of UDP datagrams that programs in the client's network namespace received from the
    kernel.
    """
    problems = []
    if column.driver == "shm":
        for way, what, number in (
            ("sent", "packets", exchange["packets_sent"]),
            ("received", "requests", exchange["requests"]),
        ):
            frames = exchange["frames"][way]
            if frames < number:
                problems.append(f"the exchange {way} {number} {what}, and only {frames} frames went over the wire")
    elif column.driver is not None:
        packets = exchange["packets_sent"]
        if by_kernel > packets * KERNEL_SHARE:
            problems.append(f"{by_kernel} of {packets} packets reached the client through the kernel's sockets")
    return problems
