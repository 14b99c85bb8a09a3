"""The soak test of TCP: connections are opened and closed in every way while the network changes under them.

    python tests/soak/tcp.py                          # 10 minutes on each driver, and on the control
    python tests/soak/tcp.py --minutes 3 --drivers af_xdp packet
    python tests/soak/tcp.py --quick                  # less than 40 seconds in all

Two hosts on two links: sfloop's program on the near one, sockets of the kernel's on the far one. Connections are made
from either side, from ports that are used again at once, carry bytes both ways, and are closed by either side or by
both: after the other, at once, with data under way, by a reset. Meanwhile neighbour entries are deleted, routes move
from one link to the other and back, and addresses are deleted and replaced. Every byte has to arrive, either end has to
see the other's close, and when all is over nothing may be left: no connection and no filter in ``loop.stats()``, no
object, no descriptor, no socket of the far host that waits for an answer.

The control, "kernel", has sfloop on the kernel stack. Exit status 1 when there is a fault.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[1:1] = [str(HERE.parent / "python"), str(HERE.parent / "python" / "beside")]

from harness import leaks  # noqa: E402
from harness.link import INTERFACE, unavailable  # noqa: E402
from tcp_changes import Changes  # noqa: E402
from tcp_churn import Connections  # noqa: E402
from two_ways import TwoWays, set_ipv4, two_ways  # noqa: E402
from watchdog import Failure  # noqa: E402

import sfloop  # noqa: E402
from sfloop.testing.leaks import snapshot  # noqa: E402

DRIVERS = ("kernel", "af_xdp", "packet")
SETTLE = 25.0  # seconds for lingering connections to end
TIME_WAIT = 1.0
#: States of /proc/net/tcp that need an answer of the peer's: all but FIN_WAIT2, TIME_WAIT and LISTEN.
WAITING = {
    "01": "ESTABLISHED",
    "02": "SYN_SENT",
    "04": "FIN_WAIT1",
    "08": "CLOSE_WAIT",
    "09": "LAST_ACK",
    "0B": "CLOSING",
}
#: Counters that nothing in this test may move.
NEVER = (
    "tcp_no_memory",
    "tcp_memory_full",
    "tcp_filters_full",
    "tcp_connections_full",
    "tcp_timed_out",
    "neighbour_full",
)


@contextmanager
def made_loop(ways: TwoWays, driver: str, contexts: list[str]) -> Iterator[Any]:
    """Make a loop on the near side, in this thread's namespace while the context lasts."""
    options: dict[str, Any] = {"stack": "kernel"}
    if driver != "kernel":
        options = {"driver": driver, "interface": INTERFACE, "fallback": "error", "tcp": {"time_wait": TIME_WAIT}}
    with ways.near.entered():
        loop = sfloop.Loop(sfloop.Options(spin="never", **options))
        loop.set_exception_handler(lambda _, context: contexts.append(str(context)))
        try:
            yield loop
        finally:
            loop.run_until_complete(loop.shutdown_default_executor())
            loop.close()


def far_sockets(ways: TwoWays) -> list[str]:
    """Return the far host's sockets that wait for an answer."""
    with ways.far.entered():
        lines = Path("/proc/thread-self/net/tcp").read_text().splitlines()[1:]
    fields = [line.split() for line in lines]
    return [f"the far host's {each[1]} to {each[2]} is in {WAITING[each[3]]}" for each in fields if each[3] in WAITING]


def left_over(loop: Any, ways: TwoWays) -> list[str]:
    found = far_sockets(ways)
    stats = loop.stats()
    found += [f"a connection is left: {each}" for each in stats["connections"]]
    if "tcpip" in stats["stacks"] and stats["stacks"]["tcpip"]["flows"]:
        found.append(f"flows are left: {loop.describe()['flows']}")
    return found


async def settled(loop: Any, ways: TwoWays) -> list[str]:
    """Return the leftovers after lingering connections have had time to end."""
    end = loop.time() + SETTLE
    while (found := left_over(loop, ways)) and loop.time() < end:
        await asyncio.sleep(0.1)
    return found


def play(driver: str, ways: TwoWays, seconds: float, seed: str) -> list[str]:
    """Run once; return the faults."""
    for side in (ways.near, ways.far):
        set_ipv4(side, "ip_local_port_range", "10000 65000")
        set_ipv4(side, "tcp_tw_reuse", "1")
    faults: list[str] = []
    changes = Changes(ways, f"{seed} changes")
    connections = Connections(ways, changes, f"{seed} {driver}")
    before = snapshot()
    began = time.monotonic()
    with made_loop(ways, driver, faults) as loop:
        try:
            loop.run_until_complete(connections.run(seconds))
        except Failure as failure:
            faults.append(str(failure))
        churned = time.monotonic() - began
        faults += loop.run_until_complete(settled(loop, ways))
        counters = loop.stats()["stacks"].get("tcpip", {})
    connections.open.clear()
    connections.arrived.clear()
    faults += [f"{name} is {counters[name]}" for name in NEVER if counters.get(name)]
    faults += leaks.check(before)
    took, what = connections.slowest
    print(f"{driver}: {connections.number} connections in {churned:.0f} s, by {dict(connections.stacks)}")
    print(f"{driver}: {dict(connections.done)}")
    print(f"{driver}: {dict(changes.made)}; settled after {time.monotonic() - began - churned:.1f} s")
    print(f"{driver}: the slowest took {took:.1f} s: {what}")
    if counters:
        print(f"{driver}: { {name: n for name, n in counters.items() if name.startswith('tcp_') and n} }")
        if connections.stacks["tcpip"] <= connections.number // 10:
            faults.append("most connections were the kernel's")
    return faults


def run(driver: str, seconds: float, seed: str) -> bool:
    """Run one driver; return whether it had no fault."""
    with two_ways() as ways:
        faults = play(driver, ways, seconds, seed)
    for fault in faults[:20]:
        print(f"{driver}: {fault}")
    print(f"{driver}: {f'WRONG: {len(faults)} faults' if faults else 'all right'}", flush=True)
    return not faults


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10, help="on each driver (default: %(default)s)")
    parser.add_argument("--drivers", nargs="+", choices=DRIVERS, default=DRIVERS)
    parser.add_argument("--quick", action="store_true", help="6 seconds on each driver")
    parser.add_argument("--seed", type=int, help="repeat the random choices of the run with this seed")
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> int:
    options = parse(arguments)
    reason = unavailable()
    if reason:
        print(f"this cannot run here: {reason}", file=sys.stderr)
        return 1
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(1 << 32)
    seconds = 6.0 if options.quick else options.minutes * 60
    print(f"tcp: seed {seed}, {seconds:.0f} s on each of {', '.join(options.drivers)}", flush=True)
    right = [run(driver, seconds, str(seed)) for driver in options.drivers]
    return 0 if all(right) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
