"""The whole demo, with exchange and client as processes, on each loop; and the faults that must make it fail."""

from __future__ import annotations

import gzip
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from sfloop.demo import binaryfile
from sfloop.demo.client_program import locate_client
from sfloop.demo.orderflow import OrderFlow

LOOPS = ("asyncio", "uvloop", "sfloop")

pytestmark = pytest.mark.timeout(120)


def run_demo(directory: Path, *arguments: str, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run ``sfloop demo`` in ``directory``, one round of 0.7 s by default; ``path`` comes first on sys.path."""
    command = [sys.executable, "-m", "sfloop.demo", "--rounds", "1", "--seconds", "0.7", *arguments]
    root = os.pathsep.join(str(part) for part in (path, Path(binaryfile.__file__).resolve().parents[2]) if part)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SFLOOP_")}
    environment.update(COLUMNS="100", PYTHONPATH=root)
    return subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True, timeout=100)


@pytest.mark.parametrize("loop", LOOPS)
def test_round_on(loop: str, tmp_path: Path) -> None:
    outputs = ("--json", "out.json", "--html", "out.html")
    done = run_demo(tmp_path, "--loops", loop, "--seconds", "1.5", "--loss", "0.02", *outputs)
    assert done.returncode == 0, done.stdout + done.stderr
    (result,) = json.loads((tmp_path / "out.json").read_text())["loops"]
    (only,) = result["rounds"]
    exchange, client = only["exchange"], only["client"]
    assert client["loop"].split(".")[0] == loop
    assert client["messages"] == exchange["messages"] > 3_000
    assert exchange["messages_lost"] > 20
    assert client["recovered"] >= exchange["messages_lost"]
    assert client["gaps"] > 10
    assert exchange["requests_ignored"] > 0
    assert client["digests"] == exchange["digests"]
    assert len(client["digests"]) == 7
    assert client["orders_executed"] == exchange["orders_expected"] > 20
    assert result["wire_to_callback"]["count"] > 2_000
    assert result["tick_to_trade"]["count"] == exchange["orders_expected"] - exchange["orders_untimed"] > 5
    for latency in (result["wire_to_callback"], result["tick_to_trade"]):
        figures = [latency[name] for name in ("p50", "p90", "p99", "p99.9", "max")]
        assert figures == sorted(figures)
        assert figures[0] > 1_000  # below a microsecond nothing crosses a loopback
    assert "<svg" in (tmp_path / "out.html").read_text()
    assert str(tmp_path / "out.html") in done.stdout


def test_two_loops_are_compared_and_the_page_has_its_default_name(tmp_path: Path) -> None:
    done = run_demo(tmp_path, "--loops", "asyncio,uvloop", "--rounds", "2")
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "sfloop-demo.html").is_file()
    rounds = re.findall(r"^  (\d) (asyncio|uvloop) ", done.stdout, re.MULTILINE)
    assert rounds == [("1", "asyncio"), ("1", "uvloop"), ("2", "uvloop"), ("2", "asyncio")]
    assert "Wire-to-callback, median: uvloop takes" in done.stdout


def test_replay_of_a_recording(tmp_path: Path) -> None:
    name = "day.NASDAQ_ITCH50.gz"
    flow = OrderFlow(seed=9)
    trading = flow.trading()
    messages = [message.encode() for message in flow.opening()] + [next(trading).encode() for _ in range(3000)]
    binaryfile.write(tmp_path / name, messages)
    done = run_demo(tmp_path, "--loops", "asyncio", "--itch", name, "--json", "out.json")
    assert done.returncode == 0, done.stdout + done.stderr
    (result,) = json.loads((tmp_path / "out.json").read_text())["loops"]
    assert result["rounds"][0]["client"]["messages"] == len(messages)
    assert f"messages of {name}" in done.stdout


def client_with(directory: Path, file: str, old: str, new: str) -> Path:
    """Return a copy of the client in which one line is replaced."""
    original = locate_client().parent
    (directory / "market_data").mkdir()
    for path in [original / "market_data_client.py", *(original / "market_data").glob("*.py")]:
        text = path.read_text()
        if path.name == file:
            assert text.count(old) == 1
            text = text.replace(old, new)
        (directory / path.relative_to(original)).write_text(text)
    return directory / "market_data_client.py"


WRONG_CLIENTS = {
    "wrong book": (
        "order_book.py", 'b"X": self._order_reduced', 'b"X": self._stock_directory',
        r"the client's final book of Z\w+ is wrong: digest \w+, should be \w+",
    ),
    "tampered digest": (
        "order_book.py", "return hashlib.sha256(", "return 'f' + hashlib.sha224(",
        r"the client's final book of ZAZZT is wrong: digest f",
    ),
    "lost messages": (
        "order_book.py", "self._counts[kind] += 1", "self._counts[kind] += sequence % 1000 > 0",
        r"messages of type \w were sent, the client saw \d+",
    ),
    "wrong order": (
        "market_data_client.py", "ORDER_SHARES = 100", "ORDER_SHARES = 200",
        r"order T\d{13} must have \(side, shares,",
    ),
    "no order": (
        "market_data_client.py", "TRIGGER_SHARES = 300", "TRIGGER_SHARES = 301",
        r"\d+ of \d+ orders that the feed should have triggered never came",
    ),
    "crash": (
        "market_data_client.py", "received = time.time_ns()\n        try",
        "received = 1 // (self.receiver.expected < 900)\n        try",
        r"ZeroDivisionError",
    ),
    "early exit": (
        "market_data_client.py", "received = time.time_ns()\n        try",
        "received = time.time_ns() if self.receiver.expected < 900 else sys.exit(3)\n        try",
        r"the client failed with exit status 3",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG_CLIENTS)
def test_client_that_is_wrong_makes_it_fail(what: str, tmp_path: Path) -> None:
    file, old, new, complaint = WRONG_CLIENTS[what]
    client = client_with(tmp_path, file, old, new)
    done = run_demo(tmp_path, "--loops", "asyncio", "--client", str(client))
    assert done.returncode == 1, done.stdout + done.stderr
    assert "FAILED in round 1 on asyncio" in done.stdout
    assert re.search(complaint, done.stdout), done.stdout
    assert not (tmp_path / "sfloop-demo.html").exists()


def test_machine_without_multicast_on_loopback(tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text("import socket\nsocket.IP_MULTICAST_IF = 9999\n")
    done = run_demo(tmp_path, "--loops", "asyncio", path=tmp_path / "site")
    assert done.returncode == 0, done.stdout + done.stderr
    said = " ".join(done.stdout.split())
    assert "The feed used unicast instead of multicast: sending to 239.255.42.99 through the loopback" in said
    assert "Protocol not available" in said


def test_package_that_is_missing_is_named(tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(
        "import importlib.util\n"
        "find = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, *more: None if name in ('hdrh', 'rich') else find(name, *more)\n"
    )
    done = run_demo(tmp_path, path=tmp_path / "site")
    assert done.returncode == 1
    assert "sfloop demo needs rich, hdrhistogram: install with" in done.stderr


def test_without_uvloop_the_others_run(tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(
        "import importlib.util\n"
        "find = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, *more: None if name == 'uvloop' else find(name, *more)\n"
    )
    done = run_demo(tmp_path, "--loops", "asyncio,uvloop", path=tmp_path / "site")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("uvloop is left out: uvloop is not installed")
    assert re.findall(r"^  1 (\w+)", done.stdout, re.MULTILINE) == ["asyncio"]


@pytest.mark.parametrize("loop", LOOPS)
def test_exchange_that_refuses_retransmission_makes_it_fail(loop: str, tmp_path: Path) -> None:
    done = run_demo(tmp_path, "--loops", loop, "--loss", "0.02", "--request-loss", "1")
    assert done.returncode == 1, done.stdout + done.stderr
    assert f"FAILED in round 1 on {loop}" in done.stdout
    assert re.search(r"unrecovered gap: messages \d+ to \d+ did not come though they were asked for", done.stdout)


def test_loop_that_was_not_asked_for_makes_it_fail(tmp_path: Path) -> None:
    client = client_with(
        tmp_path,
        "market_data_client.py",
        '"loop": f"{type(loop).__module__}',
        '"loop": f"other.{type(loop).__module__}',
    )
    done = run_demo(tmp_path, "--loops", "asyncio", "--client", str(client))
    assert done.returncode == 1
    assert re.search(r"the client ran on other\.asyncio\.\S+ instead of asyncio", done.stdout)


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (
            ["--loops", "asyncio,trio"],
            2,
            "'asyncio,trio': name some of asyncio, uvloop, sfloop, sfloop-shm, uvloop-veth",
        ),
        (["--loops", "sfloop,sfloop"], 2, "each once, separated by commas"),
        (["--stack", "tpcip"], 2, "invalid choice: 'tpcip'"),
        (["--stack", "kernel", "--loops", "sfloop-shm"], 1, "none of the columns can run here"),
        (["--rounds", "0"], 2, "'0' is not a whole number greater than zero"),
        (["--seconds", "soon"], 2, "'soon' is not a number greater than zero"),
        (["--loss", "1.5"], 2, "'1.5' is not a probability, a number from 0 to 1"),
        (["--itch", "absent.gz"], 2, "absent.gz"),
        (["--html", "no/such/page.html"], 2, "does not exist"),
        (["--client", "absent.py"], 2, "absent.py"),
    ],
)
def test_wrong_arguments(arguments: list[str], status: int, message: str, tmp_path: Path) -> None:
    done = run_demo(tmp_path, *arguments)
    assert done.returncode == status
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_recording_that_is_none_makes_it_fail(tmp_path: Path) -> None:
    (tmp_path / "dump.gz").write_bytes(gzip.compress(b"\x00\x03abc" * 10))
    done = run_demo(tmp_path, "--loops", "asyncio", "--itch", "dump.gz")
    assert done.returncode == 1
    assert "dump.gz" in done.stdout
    assert "none of its 10 messages adds an order" in done.stdout
