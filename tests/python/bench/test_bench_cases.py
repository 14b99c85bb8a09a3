"""Cases beyond an echo, each against a program with known figures."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from sfloop.bench import cpus, netns
from sfloop.bench.build import Programs
from sfloop.bench.cases import find
from sfloop.bench.errors import ContenderFailed
from sfloop.bench.loops import Contender
from sfloop.bench.model import Place
from sfloop.bench.programs import pair, tcp, udp
from sfloop.bench.rig import Rig, Settings
from sfloop.bench.rounds import run_case
from sfloop.bench.serve import program_name, program_of

ASYNCIO = Contender("asyncio", "", is_loop=True)
OWN = Contender("sfloop", "", is_loop=True)
SPIN = Contender("c-spin", "", is_loop=False)
XDP = Contender("c-af_xdp", "", is_loop=False)

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def settings(programs: Programs) -> Settings:
    return Settings(programs, cpus.choose(), rounds=1, seconds=0.2, warmup=0.05)


def loop_module(directory: Path, body: str, monkeypatch: pytest.MonkeyPatch) -> Contender:
    """Write a module with a loop that servers can be told to use."""
    (directory / "testloop.py").write_text(textwrap.dedent(body))
    monkeypatch.setenv("PYTHONPATH", str(directory), prepend=":")
    return Contender("testloop", "", is_loop=True)


SLOW_ECHO = """
    import asyncio, time
    from sfloop.bench.programs import tcp

    def slow(self, data):
        end = time.perf_counter() + 0.0002
        while time.perf_counter() < end:
            pass
        self.transport.write(data)

    tcp.Echo.data_received = slow
    new_event_loop = asyncio.SelectorEventLoop
"""


def test_a_program_is_found_again_by_its_name_in_another_process() -> None:
    for program in (tcp.protocol, udp.flood_batch, pair.tcp_by_shm):
        assert program_of(program_name(program)) is program
    assert program_name(tcp.protocol) == "tcp.protocol"


def test_own_cost_is_the_time_between_the_calls(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A callback that takes 200 µs is found, and a C server that does nothing is found to do nothing."""
    measure = find(["own-cost"])[0].measure
    slow = loop_module(tmp_path, SLOW_ECHO, monkeypatch)
    assert 200_000 <= measure(Rig(settings), slow).values["own"] < 2_000_000
    assert measure(Rig(settings), SPIN).values["own"] < 10_000


CORRUPT = """
    import asyncio
    from sfloop.bench.programs import tcp

    def corrupt(self, data):
        self.transport.write(data[::-1])

    tcp.Echo.data_received = corrupt
    new_event_loop = asyncio.SelectorEventLoop
"""


def test_a_loop_that_corrupts_fails_its_case(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corrupt = loop_module(tmp_path, CORRUPT, monkeypatch)
    result = run_case(find(["tcp-protocol-64"])[0], [corrupt, SPIN], settings, lambda *_: None)
    assert "the load failed: the echo is wrong: byte 0 of message 0" in result.failures["testloop"]
    assert result.values("c-spin", "p50")


def test_a_server_that_cannot_start_is_a_failure_with_its_last_words(settings: Settings) -> None:
    broken = Contender("nosuchloop", "", is_loop=True)
    with pytest.raises(ContenderFailed, match=r"the server ended: .*nosuchloop"):
        find(["tcp-protocol-64"])[0].measure(Rig(settings), broken)


def test_a_server_that_says_nothing_is_given_up(settings: Settings) -> None:
    from sfloop.bench.rig import Server

    server = Server([sys.executable, "-c", "import time; time.sleep(60)"], {})
    try:
        with pytest.raises(ContenderFailed, match="the server said nothing for 0 s"):
            server.line(0.2)
    finally:
        server.stop()
    assert not Path(f"/proc/{server.pid}").exists()


@pytest.mark.parametrize("name", ["syscalls-tcp", "syscalls-udp"])
def test_system_calls_of_the_c_server(settings: Settings, name: str) -> None:
    case = find([name])[0]
    reason = case.unavailable()
    assert reason is None, reason
    values = case.measure(Rig(settings), SPIN).values
    assert values["recv"] == pytest.approx(1, abs=0.05)
    assert values["send"] == pytest.approx(1, abs=0.05)
    assert values["poll"] == pytest.approx(1, abs=0.05)
    assert values["other"] == pytest.approx(0, abs=0.05)


def test_the_flood_is_counted_where_it_arrives(settings: Settings) -> None:
    values = find(["udp-flood"])[0].measure(Rig(settings), ASYNCIO).values
    # At most a socket's buffer was under way when the receiver began to count.
    assert 100 < values["per_second"] <= values["sent_per_second"] + 2_000 / settings.seconds


BARE = Contender("c-spin-recv", "", is_loop=False)


@pytest.mark.parametrize("name", ["udp-loopback", "tcp-protocol-64", "tcp-streams-1k", "tcp-sock-1k"])
def test_the_servers_without_epoll_take_part(settings: Settings, name: str) -> None:
    result = run_case(find([name])[0], [SPIN, BARE], settings, lambda *_: None)
    assert not result.failures
    assert result.values("c-spin-recv", "p50")


def test_past_the_kernel_beside_a_c_server_there(settings: Settings) -> None:
    echo, feed = find(["udp-af_xdp", "flood-af_xdp"])
    reason = echo.unavailable() or feed.unavailable()
    if reason is not None:
        pytest.skip(reason)
    result = run_case(echo, [ASYNCIO, XDP], settings, lambda *_: None)
    assert not result.failures
    assert result.values("c-af_xdp", "lost") == [0]
    assert result.values("c-af_xdp", "p50")[0] > 500
    result = run_case(feed, [OWN, ASYNCIO, SPIN], settings, lambda *_: None)
    assert not result.failures
    for name in ("sfloop", "asyncio", "c-spin"):
        delivered, sent = (result.values(name, key)[0] for key in ("per_second", "sent_per_second"))
        # A receiver that was stopped before it counted finds the frames of its ring: 65,536, and a few more.
        assert 100 < delivered < min(20e6, sent + 70_000 / settings.seconds)


def test_frames_replayed_to_a_receiver_past_the_kernel_and_to_one_on_its_sockets(settings: Settings) -> None:
    case = find(["bulk-af_xdp-replayed"])[0]
    reason = case.unavailable()
    if reason is not None:
        pytest.skip(reason)
    result = run_case(case, [OWN, ASYNCIO, BARE], settings, lambda *_: None)
    assert not result.failures
    assert set(result.samples) == {"sfloop", "c-spin-recv"}
    for name in ("sfloop", "c-spin-recv"):
        values = result.samples[name][0].values
        assert 1 < values["mbit"] <= values.get("ceiling", 1e9) * 1.2
        assert 0 <= values["found"] <= 1
        assert 0 <= values["source_waited"] <= 1


def test_whose_limit_a_bulk_figure_is(settings: Settings) -> None:
    result = run_case(find(["bulk-shm"])[0], [OWN], settings, lambda *_: None)
    assert not result.failures
    values = result.samples["sfloop"][0].values
    assert values["mbit"] > 1
    assert 0 <= values["found"] <= 1
    assert 0 <= values["busy"] <= 1.05
    assert 0 <= values["source_busy"] <= 1.05


def test_the_wire_of_two_killed_programs_is_removed(settings: Settings) -> None:
    result = run_case(find(["udp-shm"])[0], [OWN], settings, lambda *_: None)
    assert not result.failures
    assert result.values("sfloop", "p50")[0] > 100
    assert not list(Path("/dev/shm").glob(f"sfloop-*-bench{os.getpid()}*"))


#: The packages of the WebSocket servers.
WEBSOCKETS = ("picows", "websockets", "aiohttp")


def test_the_cost_of_the_stack_is_that_of_the_stack_alone(settings: Settings) -> None:
    """The case has no other contender. A datagram costs more than an empty poll, and less than a system call."""
    case = find(["stack-cost"])[0]
    result = run_case(case, [OWN, ASYNCIO, SPIN], settings, lambda *_: None)
    assert not result.failures
    assert list(result.samples) == ["sfloop"]
    values = result.samples["sfloop"][0].values
    assert 1 < values["idle"] < values["receive"] < 10_000
    assert 1 < values["send"] < 10_000
    assert 1 < values["segment_send"] < 10_000
    assert 1 < values["segment_receive"] < 10_000
    assert ("idle_af_xdp" in values) == (find(["udp-af_xdp"])[0].unavailable() is None)


def test_timers_threads_and_idle_connections(settings: Settings) -> None:
    timers, threadsafe, idle = find(["timers-100k", "call-soon-threadsafe", "idle-10k"])
    assert 1 < timers.measure(Rig(settings), ASYNCIO).values["cpu_ms"] < 60_000
    woken = threadsafe.measure(Rig(settings), ASYNCIO)
    assert 1_000 < woken.values["p50"] < 1e9
    assert woken.histogram is not None
    assert woken.histogram.count > 10
    assert idle.unavailable() is None
    values = idle.measure(Rig(settings), ASYNCIO).values
    # A transport, a protocol and a socket object; the kernel's memory is not in the process's resident memory.
    assert 500 < values["bytes_per_connection"] < 50_000
    assert values["times_alone"] > 0


@pytest.mark.parametrize(
    "name",
    ["tls-1k", "http-aiohttp", "http-uvicorn", *(f"ws-{each}{tls}" for each in WEBSOCKETS for tls in ("", "-tls"))],
)
def test_servers_of_other_packages(settings: Settings, name: str) -> None:
    case = find([name])[0]
    reason = case.unavailable()
    if reason is not None:
        assert "pip install" in reason
        return
    result = run_case(case, [ASYNCIO], settings, lambda *_: None)
    assert not result.failures
    assert result.values("asyncio", "per_second")[0] > 20


@pytest.mark.parametrize("name", ["tls-64", "tls-64k", "tls-100-connections", "tls-handshakes"])
def test_tls_echo_beside_the_server_in_c(settings: Settings, name: str) -> None:
    result = run_case(find([name])[0], [OWN, SPIN], settings, lambda *_: None)
    assert not result.failures
    for contender in "sfloop", "c-spin":
        assert result.values(contender, "per_second")[0] > 5
        assert result.values(contender, "p50")[0] > 1_000


def test_tls_bulk_idle_and_over_shared_memory(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sfloop.bench.cases.tls.IDLE_CONNECTIONS", 200)
    bulk, idle, shm = (
        run_case(case, [OWN], settings, lambda *_: None) for case in find(["tls-bulk", "tls-idle", "tls-shm-1k"])
    )
    for result in bulk, idle, shm:
        assert not result.failures
    assert bulk.values("sfloop", "mbit")[0] > 1
    assert 1_000 < idle.values("sfloop", "bytes_per_connection")[0] < 500_000
    assert 500 < shm.values("sfloop", "records")[0] < 1e6
    # An echo takes longer than its records, which are part of it.
    assert shm.values("sfloop", "p50")[0] > shm.values("sfloop", "records")[0]


def namespaces() -> set[str]:
    listed = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout
    ours = re.compile(rf"sfb-\w+-{os.getpid()}\b")
    return {name for line in listed.splitlines() for name in ours.findall(line)}


def test_the_veth_pair_is_made_and_removed(settings: Settings) -> None:
    reason = netns.unavailable()
    if reason is not None:
        assert "needs root" in reason or "cannot be made" in reason or "iproute2" in reason
        return
    result = run_case(find(["udp-veth"])[0], [ASYNCIO, SPIN], settings, lambda *_: None)
    assert not result.failures
    assert result.values("asyncio", "lost") == [0]
    assert result.values("c-spin", "p50")[0] > 1_000
    with netns.veth_pair() as place:
        assert isinstance(place, Place)
        assert namespaces() == {f"sfb-server-{os.getpid()}", f"sfb-load-{os.getpid()}"}
    assert namespaces() == set()
