"""The demo's choice of columns, and the places where their rounds run."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from sfloop.demo import columns, places
from sfloop.demo.columns import AF_XDP, COLUMNS, LOOPBACK_COLUMNS, SHM, UVLOOP_VETH, Column, choose, leave_out, named
from sfloop.testing import netns

ASYNCIO, UVLOOP, SFLOOP = LOOPBACK_COLUMNS
PAIR = netns.VethPair("here", "there")


def test_names_on_the_command_line() -> None:
    assert [column.option for column in COLUMNS] == [
        "asyncio", "uvloop", "sfloop", "sfloop-shm", "uvloop-veth", "sfloop-af_xdp",
    ]  # fmt: skip
    assert all(named(column.option) is column for column in COLUMNS)
    assert named("sfloop shm") is None


@pytest.mark.parametrize(
    ("asked", "stack", "shown"),
    [
        (None, None, list(COLUMNS)),
        (None, "auto", list(COLUMNS)),
        (None, "tcpip", list(COLUMNS)),
        (None, "kernel", list(LOOPBACK_COLUMNS)),
        (None, "onload", list(LOOPBACK_COLUMNS)),
        ([SFLOOP, ASYNCIO], None, [ASYNCIO, SFLOOP]),
        ([AF_XDP], None, [AF_XDP]),
        ([ASYNCIO, SFLOOP], "tcpip", [ASYNCIO, SFLOOP, SHM, AF_XDP]),
        ([UVLOOP], "tcpip", [UVLOOP, SHM, UVLOOP_VETH, AF_XDP]),
        ([UVLOOP, SHM], "kernel", [UVLOOP]),
        ([SHM], "kernel", []),
    ],
)
def test_what_is_shown(asked: list[Column] | None, stack: str | None, shown: list[Column]) -> None:
    assert choose(asked, stack) == shown


def test_what_cannot_be_had_is_left_out_with_its_reason() -> None:
    def not_root(column: Column) -> str | None:
        return "needs root" if column.network == "veth" else None

    kept, lines = leave_out(COLUMNS, not_root)
    assert kept == [*LOOPBACK_COLUMNS, SHM]
    assert lines == ["sfloop af_xdp is left out: needs root"]
    kept, lines = leave_out(COLUMNS, lambda column: "none" if column.driver else None)
    assert kept == list(LOOPBACK_COLUMNS)
    assert lines == ["sfloop shm is left out: none", "sfloop af_xdp is left out: none"]
    assert leave_out([UVLOOP_VETH], not_root) == ([], ["uvloop veth is left out: needs root"])
    assert leave_out(COLUMNS, lambda column: None) == (list(COLUMNS), [])


def test_drivers_that_this_build_has() -> None:
    assert columns.why_no_driver("shm") is None
    assert "not built" in (columns.why_no_driver("dpdk") or "")


def test_places() -> None:
    assert places.place_of(UVLOOP) == places.place_of(SFLOOP) == places.place_of(SFLOOP, "tcpip") == places.Place()
    assert places.place_of(SFLOOP, "kernel").sfloop_options == ("--stack", "kernel")
    first, second = places.place_of(SHM), places.place_of(SHM)
    option, wire = first.exchange_options
    assert option == "--wire"
    assert f"{wire}@127.77.0.2" in first.sfloop_options
    assert first.client_address == "127.77.0.2"
    assert first.exchange_options != second.exchange_options
    assert len(wire) <= 15
    with pytest.raises(ValueError, match="sfloop af_xdp needs a veth pair"):
        places.place_of(AF_XDP)
    for column in (UVLOOP_VETH, AF_XDP):
        place = places.place_of(column, "kernel", PAIR)
        assert place.exchange_prefix[-1] == "here"
        assert place.client_prefix[-1] == "there"
        assert ("af_xdp" in place.sfloop_options) == (column == AF_XDP)
    for place in (first, places.place_of(AF_XDP, None, PAIR)):
        assert place.sfloop_options[-2:] == ("--fallback", "error")


def test_a_trial_of_af_xdp_that_breaks_is_no_reason_to_leave_it_out() -> None:
    assert columns.probe_af_xdp(["false"], {}) == {}


def test_a_trial_of_af_xdp_tells_why_not() -> None:
    # This program runs instead of the trial's own command, because it is put before it.
    assert columns.probe_af_xdp([sys.executable, "-c", "print('\"no such device\"')"], {}) == "no such device"


needs_namespaces = pytest.mark.skipif(netns.unavailable() is not None, reason=str(netns.unavailable()))


def _namespaces() -> str:
    return subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout


@needs_namespaces
def test_namespaces_are_deleted_when_the_program_is_ended() -> None:
    program = (
        "import os, time\n"
        "from sfloop.demo.command import _ended_properly\n"
        "from sfloop.testing import netns\n"
        "with _ended_properly(), netns.veth_pair('sf-test') as pair:\n"
        "    print(pair.server, flush=True)\n"
        "    time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        server = running.stdout.readline().strip()
        assert server.startswith("sf-test-server-")
        assert server in _namespaces()
        running.send_signal(signal.SIGTERM)
        assert running.wait(10) == 128 + signal.SIGTERM
    assert server not in _namespaces()


@needs_namespaces
def test_what_the_kernel_hands_out_is_counted_by_namespace() -> None:
    assert places.kernel_datagrams(places.Place()) == 0
    with netns.veth_pair("sf-test") as pair:
        place = places.place_of(UVLOOP_VETH, None, pair)
        assert places.kernel_datagrams(place) == 0
        program = (
            "import socket; s = socket.socket(type=socket.SOCK_DGRAM); s.bind(('198.18.0.2', 0));"
            "s.sendto(b'x', s.getsockname()); s.recv(9)"
        )
        subprocess.run([*pair.load_prefix, sys.executable, "-c", program], check=True, timeout=20)
        assert places.kernel_datagrams(place) == 1
