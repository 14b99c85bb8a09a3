"""`sfloop doctor` on the command line: the report, the JSON, the exit status, and the real machine."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import time
from dataclasses import fields
from pathlib import Path

import pytest
from fake_machine import NIC, FakeMachine, tuned

from sfloop import doctor
from sfloop.common.machine import cpu_list
from sfloop.doctor import measure, netdev
from sfloop.doctor.ethtool import Ethtool
from sfloop.doctor.finding import STATUSES, Cost, Finding, UnseenError
from sfloop.doctor.machine import Machine


@pytest.fixture
def machine(tmp_path: Path) -> FakeMachine:
    return tuned(tmp_path)


def test_json(machine: FakeMachine, capsys: pytest.CaptureFixture[str]) -> None:
    machine.driver.coalescing_words = {1: 30}
    assert doctor.main(["--json"], machine) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["format"] == 1
    assert document["interface"] == NIC
    assert document["cpus"] == [3]
    assert set(document["summary"]) == set(STATUSES)
    assert sum(document["summary"].values()) == len(document["findings"])
    assert document["summary"]["warn"] == 1
    for finding in document["findings"]:
        assert list(finding) == [field.name for field in fields(Finding)]
        assert finding["status"] in STATUSES
    (coalescing,) = (finding for finding in document["findings"] if finding["check"] == "coalescing")
    assert coalescing["cost"] == {"from_us": 0, "to_us": 30, "per": "message", "source": "kernel"}


@pytest.mark.parametrize("rich", [True, False])
def test_report(
    machine: FakeMachine, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, rich: bool
) -> None:
    if not rich:
        monkeypatch.setitem(sys.modules, "rich", None)
    machine.set(f"/sys/class/net/{NIC}/operstate", "down")
    machine.driver.coalescing_words = {1: 30}
    assert doctor.main([], machine) == 1
    out = capsys.readouterr().out
    assert re.search(rf"fail +nic +{NIC} +the link is down", out)
    assert f"ip link set {NIC} up" in out
    assert "costs 0–30 µs per message (kernel)" in out
    assert "1 warn, 1 fail, 0 unseen" in out
    assert f"interface {NIC}, CPU 3" in out


def test_costs_in_words() -> None:
    assert Cost(133, 133, "wake-up", "kernel").text == "133 µs per wake-up (kernel)"
    assert Cost(5, 4000, "slice", "typical").text == "5–4,000 µs per slice (typical)"


def test_cpu_lists() -> None:
    assert cpu_list("0-2,5\n") == [0, 1, 2, 5]
    assert cpu_list("0-2,7,9-10\n") == [0, 1, 2, 7, 9, 10]
    assert cpu_list("") == cpu_list("(null)") == []


def test_on_this_machine() -> None:
    """The command ends within two seconds and changes nothing, for every user and on every machine."""
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "sfloop", "doctor", "--interface", "lo", "--json"], capture_output=True, text=True
    )
    assert time.monotonic() - started < 20  # a hang, on the busiest of machines
    assert done.returncode in (0, 1), done.stderr
    document = json.loads(done.stdout)
    assert {"virtual-machine", "nic", "clock", "interruptions"} <= {f["check"] for f in document["findings"]}


@pytest.mark.parametrize(
    ("arguments", "error"),
    [(["--cpu", "9999"], "--cpu=9999: this machine has CPU 0"), (["--cpu", "x"], "--cpu"), (["--jason"], "--jason")],
)
def test_usage(capsys: pytest.CaptureFixture[str], arguments: list[str], error: str) -> None:
    with pytest.raises(SystemExit) as ended:
        doctor.main(arguments)
    assert ended.value.code == 2
    assert error in capsys.readouterr().err


# ---- the kernel's answers on the loopback interface ----


def test_features_agree_with_the_program_ethtool() -> None:
    if shutil.which("ethtool") is None:
        pytest.skip("the program ethtool is missing (make test installs it)")
    shown = subprocess.run(["ethtool", "-k", "lo"], capture_output=True, text=True, check=True).stdout
    theirs = dict(re.findall(r"^\s*([a-z0-9-]+): (on|off)", shown, re.MULTILINE))
    ours = Ethtool().features("lo")
    common = set(theirs) & set(ours)
    assert len(common) > 20
    assert {name: ours[name] for name in common} == {name: theirs[name] == "on" for name in common}


def test_the_loopback_has_no_coalescing_and_no_channels() -> None:
    for ask in (Ethtool().coalescing, Ethtool().queues):
        with pytest.raises(UnseenError, match="does not report its"):
            ask("lo")
    with pytest.raises(UnseenError, match="did not report its driver"):
        Ethtool().driver_info("nosuch0")


def test_xdp_of_the_loopback() -> None:
    xdp = netdev.xdp_of("lo")
    assert xdp.attached is None
    assert xdp.features is None or "zero-copy" not in xdp.features
    with pytest.raises(UnseenError, match="nosuch0"):
        netdev.xdp_of("nosuch0")


def test_measuring() -> None:
    cpu = Machine().cpus[0]
    found = measure.interruptions(cpu)
    assert found.count >= 0
    assert (found.count > 0) == (found.longest_us > 5)
    assert 1 < measure.clock_ns() < 1e5
    with pytest.raises(OSError, match="Invalid argument"):
        measure.interruptions(1023)
