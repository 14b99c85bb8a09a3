"""Changes of the network while connections come and go: neighbours, routes and addresses of both hosts."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable

from harness.link import INTERFACE, NEAR, Side
from two_ways import TwoWays

MOVING = "198.18.7.11"  # an address of the near side, which is missing at times
NEW = "198.18.7.{}"  # addresses that replace MOVING
FIRST_NEW, LAST_NEW = 20, 250
LONGEST = 0.4  # seconds that a route is moved, or an address is missing


class Changes:
    """Makes one change at a time and takes it back. Any thread may call it, but one at a time.

    :param seed: selects the changes and their durations.
    """

    def __init__(self, ways: TwoWays, seed: str) -> None:
        self.ways = ways
        self.random = random.Random(seed)
        self.made: Counter[str] = Counter()
        self.newest = MOVING
        self.outages: list[tuple[float, float]] = []  # (start, end) of each time without an address
        self.address("add", MOVING, 32)
        self.kinds: tuple[Callable[[], None], ...] = (
            self.neighbours_deleted,
            self.near_route_moved,
            self.far_route_moved,
            self.both_routes_moved,
            self.address_replaced,
            self.address_deleted,
            self.first_address_deleted,
        )

    def one(self) -> None:
        """Make one change and take it back."""
        kind = self.random.choice(self.kinds)
        kind()
        self.made[kind.__name__] += 1

    def hold(self) -> None:
        time.sleep(self.random.random() ** 2 * LONGEST)

    def address(self, verb: str, address: str, prefix: int) -> None:
        self.ways.near.ip("address", verb, f"{address}/{prefix}", "dev", INTERFACE)

    def was_missing(self, since: float) -> bool:
        """Return whether an address was missing since then, or until a second before, because the neighbour may still
        be unknown."""
        return any(since < end + 1 for _, end in self.outages[-20:])

    # ---- the changes ----

    def neighbours_deleted(self) -> None:
        sides: list[Side] = self.random.sample([self.ways.near, self.ways.far], self.random.choice((1, 2)))
        for side in sides:
            side.ip("neighbour", "flush", "dev", INTERFACE)

    def near_route_moved(self) -> None:
        self.ways.move_near()
        self.hold()
        self.ways.move_near_back()

    def far_route_moved(self) -> None:
        self.ways.move_far()
        self.hold()
        self.ways.move_far_back()

    def both_routes_moved(self) -> None:
        self.ways.move_near()
        self.ways.move_far()
        self.hold()
        self.ways.move_near_back()
        self.hold()
        self.ways.move_far_back()

    def address_replaced(self) -> None:
        """Replace MOVING by an address that stays when MOVING returns. MOVING's connections stand still meanwhile."""
        number = FIRST_NEW + self.made["address_replaced"] % (LAST_NEW - FIRST_NEW)

        def replace() -> None:
            self.newest = NEW.format(number)
            self.address("replace", self.newest, 32)

        self.without(MOVING, 32, replace)

    def address_deleted(self) -> None:
        self.without(MOVING, 32)

    def first_address_deleted(self) -> None:
        """Delete the near side's first address, and with it the route to the peer and all neighbours."""
        self.without(NEAR, 24)

    def without(self, address: str, prefix: int, meanwhile: Callable[[], None] | None = None) -> None:
        began = time.monotonic()
        self.outages.append((began, float("inf")))
        self.address("del", address, prefix)
        if meanwhile:
            meanwhile()
        self.hold()
        self.address("add", address, prefix)
        self.outages[-1] = (began, time.monotonic())
