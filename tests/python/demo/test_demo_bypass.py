"""The demo past the kernel: whole rounds over shared memory and over AF_XDP."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import sfloop
from sfloop.demo import feed
from sfloop.demo.columns import why_no_driver
from sfloop.demo.wire import CLIENT_ADDRESS, EXCHANGE_ADDRESS, Wire
from sfloop.testing import netns

pytestmark = pytest.mark.timeout(120)


def run_demo(directory: Path, *arguments: str, prefix: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    command = [*prefix, sys.executable, "-m", "sfloop.demo", "--rounds", "1", "--seconds", "1.5", *arguments]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SFLOOP_")}
    environment.update(COLUMNS="100", PYTHONPATH=str(Path(sfloop.__file__).resolve().parents[1]))
    return subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True, timeout=100)


def the_rounds(directory: Path) -> dict[str, dict[str, Any]]:
    """Return the only round of each column."""
    document = json.loads((directory / "out.json").read_text())
    return {result["loop"]: result["rounds"][0] for result in document["loops"]}


def check(exchange: dict[str, Any], client: dict[str, Any]) -> None:
    assert client["messages"] == exchange["messages"] > 3_000
    assert exchange["messages_lost"] > 20
    assert client["recovered"] >= exchange["messages_lost"]
    assert client["gaps"] > 10
    assert client["digests"] == exchange["digests"]
    assert client["orders_executed"] == exchange["orders_expected"] > 20


def test_over_shared_memory(tmp_path: Path) -> None:
    done = run_demo(tmp_path, "--loops", "sfloop-shm", "--loss", "0.02", "--json", "out.json", "--html", "out.html")
    assert done.returncode == 0, done.stdout + done.stderr
    (only,) = the_rounds(tmp_path).values()
    check(only["exchange"], only["client"])
    assert only["client"]["loop"].startswith("sfloop.")
    assert only["exchange"]["frames"]["sent"] >= only["exchange"]["packets_sent"]
    assert only["exchange"]["requests"] > 10
    # Each order is a segment, and arrives by the wire too.
    assert only["exchange"]["frames"]["received"] >= only["exchange"]["requests"] + only["exchange"]["orders_received"]
    for text in (done.stdout, (tmp_path / "out.html").read_text()):
        assert "over a shared-memory wire" in " ".join(text.split())


@pytest.mark.skipif(netns.unavailable() is not None, reason=str(netns.unavailable()))
@pytest.mark.skipif(why_no_driver("af_xdp") is not None, reason=str(why_no_driver("af_xdp")))
def test_over_af_xdp(tmp_path: Path) -> None:
    done = run_demo(tmp_path, "--loops", "uvloop-veth,sfloop-af_xdp", "--loss", "0.02", "--json", "out.json")
    assert done.returncode == 0, done.stdout + done.stderr
    rounds = the_rounds(tmp_path)
    assert list(rounds) == ["uvloop veth", "sfloop af_xdp"]
    for each in rounds.values():
        check(each["exchange"], each["client"])
    assert rounds["uvloop veth"]["client"]["loop"] == "uvloop.Loop"
    assert rounds["sfloop af_xdp"]["client"]["loop"].startswith("sfloop.")
    assert "Driver  sfloop af_xdp:" in done.stdout
    assert "sfloop af_xdp takes" in " ".join(done.stdout.split())
    left = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout
    assert "sf-demo-" not in left


def test_without_privileges_af_xdp_is_left_out_and_said_so(tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(
        "from sfloop.backends import available\navailable._missing_capabilities = lambda: ['CAP_NET_ADMIN']\n"
    )
    prefix = ("env", f"PYTHONPATH={tmp_path / 'site'}{os.pathsep}{Path(sfloop.__file__).resolve().parents[1]}")
    done = run_demo(
        tmp_path, "--stack", "tcpip", "--loops", "uvloop", "--json", "out.json", "--html", "out.html", prefix=prefix
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert list(the_rounds(tmp_path)) == ["uvloop", "sfloop shm"]
    assert done.stdout.startswith("sfloop af_xdp is left out: this process lacks CAP_NET_ADMIN")
    assert "<li>sfloop af_xdp is left out: this process lacks CAP_NET_ADMIN" in (tmp_path / "out.html").read_text()


def test_market_data_that_goes_by_the_kernel_unseen_makes_it_fail(tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text("import socket\nsocket.IP_MULTICAST_IF = socket.IP_TOS\n")
    # The exchange's group no longer has the wire's address, so all datagrams go unseen by the kernel's loopback.
    prefix = ("env", f"PYTHONPATH={tmp_path / 'site'}{os.pathsep}{Path(sfloop.__file__).resolve().parents[1]}")
    done = run_demo(tmp_path, "--loops", "sfloop-shm", prefix=prefix)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "FAILED in round 1 on sfloop shm" in done.stdout
    assert re.search(r"the exchange sent \d+ packets, and only \d+ frames went over the wire", done.stdout), done.stdout


def test_sockets_on_a_wire() -> None:
    name = f"demo-t{os.getpid()}"
    wire, far = Wire(name), Wire(name, CLIENT_ADDRESS)
    try:
        requests, client = wire.socket(), far.socket()
        assert requests.getsockname()[0] == EXCHANGE_ADDRESS
        with pytest.raises(BlockingIOError):
            requests.recvfrom(100)
        with pytest.raises(OSError, match="not connected"):
            requests.getpeername()
        far.turn()
        before = wire.frames()
        client.sendto(b"0123456789", requests.getsockname())
        client.sendto(b"second", requests.getsockname())
        assert requests.recvfrom(4) == (b"0123", client.getsockname())
        assert requests.recvfrom(100) == (b"second", client.getsockname())
        requests.sendto(b"answer", client.getsockname())
        assert client.recvfrom(100) == (b"answer", requests.getsockname())
        after = wire.frames()
        assert (after["sent"] - before["sent"], after["received"] - before["received"]) == (1, 2)
        requests.close()
        client.close()
    finally:
        wire.close()
        far.close()


def test_feed_on_a_wire() -> None:
    name = f"demo-t{os.getpid()}"
    wire, far = Wire(name), Wire(name, CLIENT_ADDRESS)
    try:
        publisher = feed.Feed(b"TEST      ", wire.socket(feed.GROUP))
        assert publisher.unicast_because is None
        assert publisher.address[0] == feed.GROUP
        wire.turn()
        before = wire.frames()["sent"]
        publisher.heartbeat()
        publisher.end_of_session()
        assert wire.frames()["sent"] - before == 2
        publisher.close()
    finally:
        wire.close()
        far.close()
