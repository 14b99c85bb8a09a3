"""A library over a bypass stack: whether the stack carries its connections.

A program of ``probes`` has a server and a client. The side that is the library's own runs on sfloop in one network
namespace, over a frame driver on a veth pair. The other side runs on asyncio in the other namespace. Both exchange more
bytes than AMOUNT. The loop's own counters say which stack received and sent them.
"""

from __future__ import annotations

import json
import os
import subprocess
from contextlib import ExitStack
from pathlib import Path

from sfloop.testing import netns
from sfloop.testing.link import INTERFACE, Link, veth_link

DRIVERS = ("packet", "af_xdp")
ROLES = ("client", "server")
#: Each side sends more bytes than this in a probe.
AMOUNT = 200_000
LIMIT = 30  # seconds that one probe may take
#: The answer if the exchange succeeded, and no stack of the loop has counted it: the library calls recv(2) and send(2).
OWN_TRANSPORT = "kernel, by the library's own transport"
_PORT = 7000
_TESTS = Path(__file__).resolve().parents[1]

#: Role → driver → the stack that carried the bytes, or the reason why there is no answer.
Carried = dict[str, dict[str, str]]


def unavailable() -> str | None:
    """Why the probes cannot run here; None: they can."""
    return netns.unavailable()


def probe(name: str, python: str) -> Carried:
    """Run this module of ``probes`` over each driver, for each role that it has."""
    roles = [role for role in ROLES if role in _ask(python, name, "roles").split()]
    carried: Carried = {}
    for role in roles:
        for driver in DRIVERS:
            with veth_link(prefix="sfeco") as link:
                carried.setdefault(role, {})[driver] = _carrier(python, name, role, driver, link)
    return carried


def _carrier(python: str, name: str, role: str, driver: str, link: Link) -> str:
    """The stack that carried this role's bytes."""
    address = link.near.address if role == "server" else link.far.address
    over = {role: [driver, INTERFACE]}
    side = {role: link.near, "client" if role == "server" else "server": link.far}
    process: dict[str, subprocess.Popen[str]] = {}
    with ExitStack() as stack:
        for each in ("server", "client"):
            command = [python, "-m", "ecosystem.probing", name, each, address, str(_PORT), *over.get(each, [])]
            process[each] = stack.enter_context(_started(side[each].namespace, command))
            stack.callback(process[each].kill)
            if each == "server":
                process[each].stdout.readline()  # type: ignore[union-attr]  # it is ready, or has ended
        try:
            # The client ends by itself. The end of its input ends the server.
            texts = {each: process[each].communicate(timeout=LIMIT) for each in ("client", "server")}
        except subprocess.TimeoutExpired:
            return f"no end after {LIMIT} s"
    for each in ("server", "client"):
        if process[each].returncode != 0:
            return f"{each} failed: {_last(texts[each][1])}"
    return judged(json.loads(texts[role][0].splitlines()[-1]))


def judged(stacks: dict[str, dict[str, int]]) -> str:
    """The stack that received and sent at least AMOUNT, from the counters of each stack."""
    carriers = [name for name, counters in stacks.items() if min(counters["rx_bytes"], counters["tx_bytes"]) >= AMOUNT]
    return " and ".join(carriers) or OWN_TRANSPORT


def _started(namespace: str, command: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        ["ip", "netns", "exec", namespace, *command],
        env=_environment(),
        cwd="/",
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _ask(python: str, name: str, question: str) -> str:
    command = [python, "-m", "ecosystem.probing", name, question]
    return subprocess.run(command, env=_environment(), check=True, stdout=subprocess.PIPE, text=True).stdout


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(_TESTS)}


def _last(text: str) -> str:
    lines = text.strip().splitlines() or ["no output"]
    return lines[-1][:200]
