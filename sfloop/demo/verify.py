"""Whether a client saw what the exchange sent: all of it, in order, and once."""

from __future__ import annotations

from typing import Any


def verify(loop: str, exchange: dict[str, Any], client: dict[str, Any]) -> list[str]:
    """What is wrong in the two sides' results of one round, in plain words; nothing if all is well."""
    problems = [f"exchange: {problem}" for problem in exchange["problems"]]
    if client["loop"].partition(".")[0] != loop:
        problems.append(f"the client was to run on {loop} and ran on {client['loop']}")
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
            f"{exchange['orders_expected']} orders were to be executed, the client heard of {client['orders_executed']}"
        )
    return problems
