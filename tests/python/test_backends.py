"""The choice of a stack, for every combination of present, missing and broken backends."""

from __future__ import annotations

import errno
import itertools
import os
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sfloop.backends import StackChoice, available, select_stack, selection
from sfloop.options.options import Options

#: The backends that "auto" tries on a named interface, in this order.
ORDER = [("tcpdirect", None), ("tcpip", "ef_vi"), ("tcpip", "af_xdp"), ("tcpip", "packet")]
#: Those of them that may be attached to a Solarflare NIC without a named interface.
UNASKED = ORDER[:2]
STATES = ("present", "absent", "broken")
Machine = dict[tuple[str, "str | None"], str]


def machines() -> Iterator[Machine]:
    for states in itertools.product(STATES, repeat=len(ORDER)):
        yield dict(zip(ORDER, states, strict=True))


def choose(machine: Machine, monkeypatch: pytest.MonkeyPatch, nics: list[str], **options: Any) -> StackChoice:
    """Return the choice on such a machine: "absent" is not available, "broken" is available and fails to open."""
    state_of = {driver or stack: state for (stack, driver), state in machine.items()}

    def entry_on(entry: Any) -> Any:
        state = state_of.get(entry.name)
        return entry if state is None else replace(entry, state=lambda: (state != "absent", f"{entry.name} is {state}"))

    def open_stack(stack: str, driver: str | None, interface: str | None) -> None:
        if machine[stack, driver] == "broken":
            raise OSError(errno.EBUSY, f"{driver or stack} is broken")
        opened.append((stack, driver, interface))

    opened: list[tuple[str, str | None, str | None]] = []
    with monkeypatch.context() as patch:
        patch.setattr(available, "_TABLE", tuple(entry_on(entry) for entry in available._TABLE))
        patch.setattr(selection, "_solarflare_interfaces", lambda: nics)
        choice = select_stack(Options(**options), open_stack)
    assert opened == ([] if choice.name == "kernel" else [(choice.name, choice.driver, choice.interface)])
    return choice


def check_reasons(choice: StackChoice, machine: Machine, tried: list[tuple[str, str | None]]) -> None:
    """Each backend that was tried and not taken has its reason; each that was not reached has none."""
    for stack, driver in tried:
        if (stack, driver) == (choice.name, choice.driver):
            break
        assert f"{driver or stack} is {machine[stack, driver]}" in choice.reasons[stack] or stack == choice.name
    assert choice.reasons[choice.name].startswith("taken")


def test_auto_on_a_named_interface_takes_the_first_that_opens(monkeypatch: pytest.MonkeyPatch) -> None:
    for machine in machines():
        for fallback in ("kernel", "warn", "error"):  # auto has no fallback, because the kernel is one of its choices
            choice = choose(machine, monkeypatch, [], interface="lo", fallback=fallback)
            expected = next((candidate for candidate in ORDER if machine[candidate] == "present"), ("kernel", None))
            assert (choice.name, choice.driver) == expected, machine
            assert not choice.fell_back
            check_reasons(choice, machine, ORDER)


@pytest.mark.parametrize("nics", [["sfc0"], ["sfc0", "sfc1"]])
def test_auto_unasked_takes_only_a_solarflare_nic(monkeypatch: pytest.MonkeyPatch, nics: list[str]) -> None:
    for machine in machines():
        choice = choose(machine, monkeypatch, nics)
        expected = next((candidate for candidate in UNASKED if machine[candidate] == "present"), ("kernel", None))
        assert (choice.name, choice.driver) == expected, machine
        assert choice.interface == (None if choice.name == "kernel" else "sfc0")
        check_reasons(choice, machine, UNASKED)


def test_auto_unasked_without_such_a_nic_is_the_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    for machine in machines():
        choice = choose(machine, monkeypatch, [])
        assert choice.name == "kernel", machine
        assert choice.interface is None
        assert set(choice.reasons) == {"tcpdirect", "tcpip", "kernel"}


@pytest.mark.parametrize(
    ("asked", "tried"),
    [
        ({"stack": "tcpdirect"}, ORDER[:1]),
        ({"stack": "tcpip"}, ORDER[1:]),
        *(({"driver": driver}, [("tcpip", driver)]) for driver in ("ef_vi", "af_xdp", "packet")),
    ],
)
def test_by_name(monkeypatch: pytest.MonkeyPatch, asked: dict[str, Any], tried: list[tuple[str, str | None]]) -> None:
    wanted = next(iter(asked.values()))
    for machine in machines():
        expected = next((candidate for candidate in tried if machine[candidate] == "present"), None)
        for fallback in ("kernel", "warn", "error"):
            options = {**asked, "interface": "lo", "fallback": fallback}
            if expected is not None:
                with warnings.catch_warnings():
                    warnings.simplefilter("error")
                    choice = choose(machine, monkeypatch, [], **options)
                assert (choice.name, choice.driver, choice.fell_back) == (*expected, False)
            elif fallback == "error":
                with pytest.raises(OSError, match=rf"{wanted!r} cannot be used: .*available here are 'kernel'") as why:
                    choose(machine, monkeypatch, [], **options)
                kinds = {errno.EBUSY if machine[candidate] == "broken" else errno.EOPNOTSUPP for candidate in tried}
                assert why.value.errno == (kinds.pop() if len(kinds) == 1 else errno.EOPNOTSUPP)
            else:
                with warnings.catch_warnings(record=True) as warned:
                    warnings.simplefilter("always")
                    choice = choose(machine, monkeypatch, [], **options)
                assert (choice.name, choice.fell_back) == ("kernel", True)
                assert len(warned) == (1 if fallback == "warn" else 0)
                reasons = choice.reasons[tried[0][0]]
                assert all(f"{driver or stack} is {machine[stack, driver]}" in reasons for stack, driver in tried)


def test_what_counts_as_a_solarflare_nic(tmp_path: Path) -> None:
    def nic(name: str, driver: str | None, state: str) -> None:
        interface = tmp_path / "net" / name
        interface.mkdir(parents=True)
        (interface / "operstate").write_text(f"{state}\n")
        if driver is not None:
            device = tmp_path / "devices" / name
            device.mkdir(parents=True)
            (tmp_path / "drivers" / driver).mkdir(parents=True, exist_ok=True)
            os.symlink(tmp_path / "drivers" / driver, device / "driver")
            os.symlink(device, interface / "device")

    nic("lo", None, "unknown")
    nic("eth0", "virtio_net", "up")
    nic("enp2s0f1", "sfc", "up")
    nic("enp2s0f0", "sfc", "up")
    nic("enp3s0", "xilinx_efct", "down")
    drivers = str(tmp_path / "drivers")
    assert selection._solarflare_interfaces(str(tmp_path / "net"), drivers) == ["enp2s0f0", "enp2s0f1"]
    assert selection._solarflare_interfaces(str(tmp_path / "nothing"), drivers) == []
    assert selection._solarflare_interfaces(str(tmp_path / "net"), str(tmp_path / "nothing")) == []
