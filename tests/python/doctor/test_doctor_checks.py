"""Each of the doctor's checks on simulated machines: pass, warn, fail and unseen."""

from __future__ import annotations

import errno
import re
from pathlib import Path

import pytest
from fake_machine import NIC, FakeMachine, of, tuned
from spoilt_machines import CASES, Spoil
from spoilt_rules import CASES as RULE_CASES

from sfloop.doctor.checks import CHECKS, examine
from sfloop.doctor.finding import Finding
from sfloop.doctor.measure import Interruptions
from sfloop.doctor.netdev import Xdp


@pytest.fixture
def machine(tmp_path: Path) -> FakeMachine:
    return tuned(tmp_path)


def test_a_tuned_machine_passes_everything(machine: FakeMachine) -> None:
    findings = list(examine(machine))
    assert {finding.status for finding in findings} == {"pass"}, [f for f in findings if f.status != "pass"]
    assert set(CHECKS) <= {finding.check for finding in findings}
    assert all(finding.reason and finding.cost is None and finding.command is None for finding in findings)


@pytest.mark.parametrize(("check", "spoil", "status", "reason", "cost", "command"), [*CASES, *RULE_CASES])
def test_check(
    machine: FakeMachine, check: str, spoil: Spoil, status: str, reason: str, cost: float | None, command: str | None
) -> None:
    spoil(machine)
    finding = of(list(examine(machine)), check)
    assert finding.status == status, finding
    assert_matches(finding.reason, reason)
    assert (finding.cost.to_us if finding.cost else None) == cost
    assert (finding.command is None) == (command is None), finding.command
    assert command is None or command in (finding.command or "")


def assert_matches(text: str, pattern: str) -> None:
    assert re.search(pattern, text), text


def test_every_check_is_seen_to_pass_and_not_to(machine: FakeMachine) -> None:
    """The table above is complete: each check that a tuned machine passes is also seen to warn, fail or be unseen."""
    passed = {finding.check for finding in examine(machine)}
    spoilt = {check for check, _, status, *_ in [*CASES, *RULE_CASES] if status != "pass"}
    assert passed - spoilt == {"container", "libraries"}  # the latter have tests of their own


@pytest.mark.parametrize(
    ("subject", "file"),
    [
        ("TCPDirect", "/usr/lib64/libonload_zf.so.1"),
        ("Onload", "/usr/lib64/libonload.so"),
        ("ef_vi headers", "/usr/include/etherfabric/vi.h"),
    ],
)
def test_libraries(machine: FakeMachine, subject: str, file: str) -> None:
    def look() -> Finding:
        return of(list(examine(machine)), "libraries", subject)

    assert look().status == "pass"
    assert file.removesuffix("/vi.h") in look().reason
    machine.remove(file)
    assert (look().status, bool(look().command)) == ("warn", True)
    machine.without_solarflare()
    assert (look().status, look().command) == ("pass", None)
    assert "no Solarflare NIC needs it" in look().reason


def test_a_library_that_the_environment_names(machine: FakeMachine) -> None:
    machine.set("/opt/zf/libonload_zf.so.1", "")
    machine.of_process(environ={"SFLOOP_TCPDIRECT_LIBRARY": "/opt/zf/libonload_zf.so.1"})
    assert of(list(examine(machine)), "libraries", "TCPDirect").reason == "/opt/zf/libonload_zf.so.1"
    machine.of_process(environ={"LD_LIBRARY_PATH": "/nowhere:/opt/zf"})
    assert of(list(examine(machine)), "libraries", "TCPDirect").reason == "/opt/zf/libonload_zf.so.1"


def test_the_versions_are_told(machine: FakeMachine) -> None:
    findings = list(examine(machine))
    assert of(findings, "driver").reason == "sfc 5.3.18, firmware 8.5.2.1002 rx1 tx1 at 0000:01:00.0"
    assert of(findings, "libraries", "TCPDirect").reason == "/usr/lib64/libonload_zf.so.1 (libonload_zf.so.1.2.1)"
    assert "onload 9.0.1" in of(findings, "modules").reason


def test_an_attached_program_is_in_the_way(machine: FakeMachine) -> None:
    machine.xdp = lambda _: Xdp(frozenset({"basic", "zero-copy"}), "native")
    found = [finding for finding in examine(machine) if finding.check == "xdp"]
    assert [finding.status for finding in found] == ["fail", "pass"]
    assert "bpftool net show" in (found[0].command or "")


@pytest.mark.parametrize(
    ("xdp", "reason"),
    [
        (Xdp(frozenset({"basic"}), None, tells_tags=True, kind="veth"), "native mode gives"),
        (Xdp(frozenset(), None, kind="vxlan"), "vxlan device contain their VLAN tags"),
    ],
)
def test_virtual_devices_whose_vlan_tags_are_seen(machine: FakeMachine, xdp: Xdp, reason: str) -> None:
    machine.xdp = lambda _: xdp
    machine.remove(f"/sys/class/net/{NIC}/device")
    found = of(list(examine(machine)), "vlan-tags")
    assert found.status == "pass" and reason in found.reason


def test_interrupts_of_a_device_on_a_bus(machine: FakeMachine) -> None:
    """virtio's interrupts have the name of the device under the interface."""
    machine.remove(f"/sys/class/net/{NIC}/device")
    machine.set("/sys/devices/virtio0/numa_node", "1")
    machine.point(f"/sys/class/net/{NIC}/device", str(machine.path("/sys/devices/virtio0")))
    machine.set("/proc/interrupts", "  7: 1 PCI-MSIX virtio0-input.0\n  8: 1 PCI-MSIX virtio01-input.0\n")
    machine.set("/proc/irq/7/smp_affinity_list", "0-3")
    machine.set("/proc/irq/8/smp_affinity_list", "0-3")
    assert "1 of its 1 interrupts" in of(list(examine(machine)), "irq-affinity").reason


def test_a_cpu_that_may_not_be_used(machine: FakeMachine) -> None:
    def refused(cpu: int) -> Interruptions:
        raise OSError(errno.EINVAL, "Invalid argument")

    machine.interruptions = refused
    finding = of(list(examine(machine)), "interruptions")
    assert finding.status == "unseen"
    assert "may not run on CPU 3" in finding.reason


def test_an_empty_machine_is_unseen_and_nothing_raises(tmp_path: Path) -> None:
    """A container hides all of /proc and /sys."""
    machine = tuned(tmp_path / "tuned")
    machine.root = tmp_path / "empty"
    machine.root.mkdir()
    findings = list(examine(machine))
    # Without a device there is no NIC, so its interrupts are not checked.
    assert set(CHECKS) - {"irq-affinity"} <= {finding.check for finding in findings}
    missing = {finding.check for finding in findings if finding.status == "unseen"}
    assert {"capabilities", "hugepages", "memlock", "clock", "c-states", "governor", "smt", "busy-poll"} <= missing
