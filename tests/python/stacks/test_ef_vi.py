"""Programs on the ef_vi driver, over the simulator of its API (tests/sim/ef_vi): frames go through shared memory
between two namespaces, and the kernel's part (addresses, neighbours, joins) through a veth pair beside it."""

from __future__ import annotations

import importlib.util
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import wire
from harness.link import FAR, INTERFACE, NEAR, Link, Side
from harness.odd_frames import Station

PROGRAM = Path(__file__).parent / "ef_vi_program.py"
BUILD = Path(__file__).resolve().parents[2] / "sim" / "ef_vi" / "build.py"
GROUP, GROUP_PORT = "239.7.7.7", 7003


@pytest.fixture(scope="session")
def simulator(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The driver, built against the simulator."""
    spec = importlib.util.spec_from_file_location("ef_vi_build", BUILD)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    built: Path = module.build(tmp_path_factory.mktemp("ef_vi") / "ef_vi_simulated.so")
    return built


Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(simulator: Path, link: Link) -> Iterator[Start]:
    """Start the program in a side's namespace, on a simulated NIC of this kind."""
    running: list[subprocess.Popen[str]] = []
    name = wire.new_name()

    def start_(side: Side, role: str, nic: str, *arguments: str) -> subprocess.Popen[str]:
        environment = {key: value for key, value in os.environ.items() if not key.startswith("SFLOOP_")}
        environment |= {"SFLOOP_EF_VI_LIBRARY": str(simulator), "SFLOOP_TEST_EF_VI": f"strict,wire={name},{nic}"}
        peer = FAR if side.address == NEAR else NEAR
        program = subprocess.Popen(
            [
                *("ip", "netns", "exec", side.namespace, sys.executable, str(PROGRAM)),
                *(role, INTERFACE, side.address, peer, *arguments),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        running.append(program)
        return program

    yield start_
    for program in running:
        program.kill()
        program.communicate()


def line(program: subprocess.Popen[str]) -> str:
    assert program.stdout is not None
    said = program.stdout.readline().strip()
    assert said, f"the program has ended: {program.wait(5)}"
    return said


def found(program: subprocess.Popen[str]) -> Any:
    out, _ = program.communicate(timeout=60)
    assert program.returncode == 0
    return json.loads(out)


@pytest.mark.parametrize("nic", ["arch=ef10", "arch=ef10,force-merge,no-ctpio", "arch=efct,shared"])
@pytest.mark.parametrize("spin", ["adaptive", "never"])
def test_udp_and_tcp(link: Link, start: Start, nic: str, spin: str) -> None:
    echo = start(link.far, "echo", nic, spin)
    assert line(echo) == "ready"
    client = found(start(link.near, "client", nic, spin))
    assert client["udp"] == 8
    assert client["tcp"]
    assert ("EFCT" if "efct" in nic else "EF10") in client["mode"]
    assert client["driver"]["rx_frames"] > 500  # they did not go by the kernel
    served = found(echo)
    assert served["rx_frames"] > 500
    assert served["tx_errors"] == client["driver"]["tx_errors"] == 0


def test_a_group_comes_once(link: Link, start: Start, simulator: Path) -> None:
    """The NIC delivers the group's datagrams, and the kernel on the veth pair has its copies too."""
    listener = start(link.near, "group", "arch=ef10")
    assert line(listener) == "joined"
    raw = start(link.far, "flood", "arch=ef10")
    with link.far.socket() as kernel:
        kernel.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(FAR))
        kernel.bind((FAR, GROUP_PORT))
        assert line(raw) == "ready"
        for number in range(200):  # both ways, as a NIC does it
            kernel.sendto(str(number).encode(), (GROUP, GROUP_PORT))
            assert raw.stdin is not None
            raw.stdin.write(f"{number}\n")
            raw.stdin.flush()
            time.sleep(0.001)
        time.sleep(0.1)
        raw.stdin.write("end\n")
        raw.stdin.flush()
    got = found(listener)
    assert got["got"] == [str(number) for number in range(200)]
    assert got["counters"]["rx_side_repeated"] >= 190


@pytest.mark.parametrize("nic", ["arch=ef10", "arch=efct"])
def test_sent_frames_have_times(link: Link, start: Start, nic: str) -> None:
    raw = found(start(link.near, "raw", nic))
    assert raw["sent"] == raw["numbers"] == list(range(1, 101))
    assert raw["recent"]
    assert "tx" in raw["mode"]


@pytest.mark.parametrize("nic", ["arch=ef10", "arch=efct"])
def test_odd_frames(link: Link, start: Start, nic: str) -> None:
    """The stack takes by the NIC the same frames that the kernel takes by the veth pair."""
    station = Station(link.near.mac(), link.far.mac())
    cases = [*station.headers(), *station.ip_options(), *station.lengths()]
    # A NIC may verify the checksum of the whole packet and ignore UDP's length.
    frames = [make for name, make in cases if name not in ("UDP length 8", "UDP length 12")]
    frames.append(station.udp("the last one")[1])
    receiver = start(link.near, "receive", nic)
    port = int(line(receiver))
    sender = start(link.far, "inject", nic)
    assert line(sender) == "ready"
    with link.near.udp() as control, link.far.raw() as raw:
        for make in frames:
            raw.send(make(control.getsockname()[1]))
        assert sender.stdin is not None
        sender.stdin.write("".join(f"{make(port).hex()}\n" for make in frames))
        sender.stdin.flush()
        stack = found(receiver)
        kernel = set()
        control.setblocking(False)
        with suppress(BlockingIOError):
            while True:
                data, address = control.recvfrom(1000)
                kernel.add((data.decode(), address))
    assert ("as it should be", (FAR, 4000)) in kernel
    assert {(text, tuple(address)) for text, address in stack["got"]} == kernel
    assert stack["driver"]["rx_frames"] >= len(kernel)
