"""The cases of TCPDirect, over the project's simulator of its library."""

from __future__ import annotations

import pytest
from harness import zf

from sfloop.bench import cpus
from sfloop.bench.build import Programs
from sfloop.bench.cases import find, tcpdirect
from sfloop.bench.loops import Contender
from sfloop.bench.rig import Settings
from sfloop.bench.rounds import run_case

OWN = Contender("sfloop", "", is_loop=True)
SPIN = Contender("c-spin", "", is_loop=False)

pytestmark = pytest.mark.timeout(120)


def test_without_a_library_the_reason_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ZF_ATTR", raising=False)
    monkeypatch.delenv(tcpdirect.LIBRARY, raising=False)
    assert "set SFLOOP_TCPDIRECT_LIBRARY to TCPDirect's library" in (tcpdirect.unavailable() or "")
    monkeypatch.setenv(tcpdirect.LIBRARY, "/nonexistent/libonload_zf.so")
    assert "does not exist" in (tcpdirect.unavailable() or "")
    monkeypatch.setenv(tcpdirect.LIBRARY, zf.library())
    assert "ZF_ATTR must name a NIC" in (tcpdirect.unavailable() or "")
    monkeypatch.setenv("ZF_ATTR", "interface=lo")
    assert tcpdirect.unavailable() is None


@pytest.mark.parametrize(
    ("name", "metric"), [("tcp-tcpdirect", "p50"), ("udp-tcpdirect", "p50"), ("idle-tcpdirect", "idle")]
)
def test_loop_and_library_are_measured(
    name: str, metric: str, programs: Programs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(tcpdirect.LIBRARY, zf.library())
    monkeypatch.setenv("ZF_ATTR", "interface=lo")
    settings = Settings(programs, cpus.choose(), rounds=1, seconds=0.1, warmup=0.02)
    result = run_case(find([name])[0], [OWN, SPIN], settings, lambda *_: None)
    assert not result.failures, result.failures
    for contender in ("sfloop", "c-spin"):
        (value,) = result.values(contender, metric)
        assert 1 <= value < 10_000_000


@pytest.mark.parametrize("name", ["tcp-tcpdirect-sim", "udp-tcpdirect-sim"])
def test_over_the_simulator_beside_the_tcpip_stack(
    name: str, programs: Programs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(tcpdirect.SIMULATOR, "/nonexistent/libzfsim.so")
    assert "is not built" in (tcpdirect.no_simulator() or "")
    monkeypatch.setenv(tcpdirect.SIMULATOR, zf.library())
    assert tcpdirect.no_simulator() is None
    settings = Settings(programs, cpus.choose(), rounds=1, seconds=0.1, warmup=0.02)
    result = run_case(find([name])[0], [OWN], settings, lambda *_: None)
    assert not result.failures, result.failures
    (round_trip,) = result.values("sfloop", "p50")
    (ratio,) = result.values("sfloop", "times_tcpip")
    assert 100 <= round_trip < 1_000_000 and 0.1 < ratio < 100
