"""`sfloop run --stack onload`, and a loop that finds itself under Onload, on the simulator in tests/sim/onload."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from simulated_onload import Ran, build, run

from sfloop.native.libraries import onload

DESCRIBE = """
    async def main():
        return asyncio.get_running_loop().describe()
    print(json.dumps(asyncio.run(main())))
"""

# Both ends of a connection echo with pauses in which the loop may sleep. NIC is an accelerated address.
ECHO = """
    class Echo(asyncio.Protocol):
        def connection_made(self, transport):
            self.transport = transport
        def data_received(self, data):
            self.transport.write(data)
    class Datagrams(asyncio.DatagramProtocol):
        def __init__(self):
            self.got = asyncio.Queue()
        def connection_made(self, transport):
            self.transport = transport
        def datagram_received(self, data, address):
            if data.startswith(b"?"):
                self.transport.sendto(b"!" + data[1:], address)
            self.got.put_nowait(data)
    async def main(nic="127.77.0.1"):
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Echo, nic, 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname(), local_addr=(nic, 0))
        far, _ = await loop.create_datagram_endpoint(Datagrams, (nic, 0))
        near, datagrams = await loop.create_datagram_endpoint(Datagrams, (nic, 0), far.get_extra_info("sockname"))
        for number in range(6):
            writer.write(b"%d" % number)
            assert await reader.readexactly(1) == b"%d" % number
            near.sendto(b"?%d" % number)
            assert await datagrams.got.get() == b"!%d" % number
            await asyncio.sleep(0.02)
        assert await asyncio.to_thread(lambda: "woken") == "woken"
        shown = {
            "connection": writer.get_extra_info("onload"), "datagrams": near.get_extra_info("onload"),
            "describe": loop.describe(), "listener": server.sockets[0].fileno(),
            "fd": writer.get_extra_info("socket").fileno(),
        }
        near.close(), far.close(), writer.close(), server.close()
        await asyncio.sleep(0)
        return shown
"""
RUN = "print(json.dumps(asyncio.run(main())))"


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("onload"))


@pytest.fixture(scope="module")
def library_without_pwait2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("onload"), "-DWITHOUT_PWAIT2")


def succeeded(ran: Ran) -> Ran:
    assert ran.status == 0, ran.err
    return ran


# ---- starting ----


@pytest.mark.parametrize(
    ("arguments", "extra", "profile"),
    [
        ([], {}, "latency"),
        (["--spin", "never"], {}, ""),  # its stacks are driven by interrupts
        ([], {"SFLOOP_ONLOAD_PROFILE": "latency-best"}, "latency-best"),
        ([], {"SFLOOP_ONLOAD_PROFILE": ""}, ""),
    ],
)
def test_the_command_is_executed_again_under_the_wrapper(
    tmp_path: Path, library: Path, arguments: list[str], extra: dict[str, str], profile: str
) -> None:
    show = "print(sys.argv[1:], os.environ.get('EF_POLL_USEC'), 'SFLOOP_ONLOAD_ENTERED' in os.environ, file=sys.stderr)"
    body = [DESCRIBE, show]
    ran = succeeded(run(tmp_path, library, "--stack", "onload", *arguments, body=body, **extra))
    assert ran.asked[f"wrapper profile={profile}"] == 1
    assert ran.err == f"['an argument'] {'100000' if profile == 'latency' else None} False\n"
    assert ran.printed["stack"] == "onload"
    assert not ran.printed["fell_back"]
    assert ran.printed["onload"]["stack"] == "sfloop1"


def test_the_environment_asks_for_it_too(tmp_path: Path, library: Path) -> None:
    ran = succeeded(run(tmp_path, library, body=[DESCRIBE], SFLOOP_STACK="onload"))
    assert ran.printed["stack"] == "onload"


def test_other_stacks_leave_the_wrapper_alone(tmp_path: Path, library: Path) -> None:
    ran = succeeded(run(tmp_path, library, body=[DESCRIBE]))
    assert ran.printed["onload"] is None
    assert not ran.asked


WHY_NOT = {
    "not installed": "Onload is not installed: install github.*onload_tool reload",
    "no driver": "its driver is not loaded: `onload_tool reload`",
    "no library": "the wrapper `onload` started this program without Onload's library",
}


@pytest.mark.parametrize("fault", WHY_NOT)
@pytest.mark.parametrize("fallback", ["kernel", "warn", "error"])
def test_where_it_cannot_be_had(tmp_path: Path, fault: str, fallback: str) -> None:
    extra = {"PYTHONWARNINGS": "default"} | ({"ONLOAD_DRIVERCHECK": "true"} if fault == "no driver" else {})
    arguments = ("--stack", "onload", "--fallback", fallback)
    ran = run(tmp_path, None, *arguments, body=[DESCRIBE], wrapper=fault != "not installed", **extra)
    why = WHY_NOT[fault] if fault != "no library" or fallback == "kernel" else "stack='onload' cannot be used"
    assert_matches(ran.err, why)
    if fallback == "error":
        assert ran.status == 2
        assert "sfloop run: error: " in ran.err
        assert not ran.out
    else:
        assert succeeded(ran).printed["stack"] == "kernel"
        assert ran.printed["fell_back"]
        assert ("RuntimeWarning" in ran.err) == (fallback == "warn")
    # A wrapper that preloads nothing is tried only once.
    assert ran.asked["wrapper profile=latency"] == (1 if fault == "no library" else 0)


def assert_matches(text: str, pattern: str) -> None:
    assert re.search(pattern, text, re.DOTALL), text


# ---- running ----


@pytest.mark.parametrize("spin", ["always", "adaptive", "never", "200"])
def test_messages_arrive_however_the_loop_waits(tmp_path: Path, library: Path, spin: str) -> None:
    """A sleep outside Onload would miss the messages: the simulator, like Onload, tells the kernel of accelerated
    sockets only in its own calls."""
    ran = succeeded(run(tmp_path, library, "--stack", "onload", "--spin", spin, body=[ECHO, RUN]))
    assert ran.calls["blocking_spinning"] == 0  # Onload never spins for the loop
    if spin == "always":
        assert ran.calls["blocking"] == 0
    if spin in ("never", "200"):
        assert ran.calls["blocking"] > 5
    assert ran.asked["spin 11 1"] >= 1 if spin != "never" else ran.asked["spin 11 0"] > 5
    if spin != "never":  # each pass of the spin looks at the stack, armed or not
        assert ran.calls["zero_spinning"] > 5
        assert ran.calls["zero"] == 0


@pytest.mark.parametrize("spin", ["always", "never", "200"])
def test_an_onload_older_than_epoll_pwait2(tmp_path: Path, library_without_pwait2: Path, spin: str) -> None:
    ran = succeeded(run(tmp_path, library_without_pwait2, "--stack", "onload", "--spin", spin, body=[ECHO, RUN]))
    assert ran.calls["blocking_spinning"] == 0
    assert (ran.calls["blocking"] > 0) == (spin != "always")


def test_each_descriptor_says_whether_it_is_accelerated(tmp_path: Path, library: Path) -> None:
    ran = succeeded(run(tmp_path, library, "--stack", "onload", body=[ECHO, RUN]))
    shown = ran.printed
    assert shown["connection"]["accelerated"]
    assert shown["connection"]["stack"] == "sfloop1"
    assert shown["connection"]["endpoint_id"] == shown["fd"]
    assert shown["datagrams"]["stack"] == "sfloop1"
    descriptors = shown["describe"]["onload"]["descriptors"]
    assert {str(shown["fd"]), str(shown["listener"])} <= set(descriptors)
    assert len(descriptors) == 5  # two ends of a connection, a listener, two UDP sockets, and none of the loop's own
    assert all(descriptor["accelerated"] for descriptor in descriptors.values())

    body = [ECHO, RUN.replace("main()", "main('127.0.0.1')")]
    elsewhere = succeeded(run(tmp_path, library, "--stack", "onload", body=body))
    assert elsewhere.printed["connection"] == {"accelerated": False}
    assert not any(d["accelerated"] for d in elsewhere.printed["describe"]["onload"]["descriptors"].values())


def test_each_loop_has_a_stack_of_its_own(tmp_path: Path, library: Path) -> None:
    threads = """
        shown = []
        def loop():
            shown.append(asyncio.run(main())["connection"]["stack"])
        threads = [threading.Thread(target=loop) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        loop()
        print(json.dumps(shown))
    """
    body = [ECHO, threads]
    ran = succeeded(run(tmp_path, library, "--stack", "onload", "--spin", "50", body=body))
    assert sorted(ran.printed) == ["sfloop1", "sfloop2", "sfloop3"]
    assert ran.asked["save"] == ran.asked["restore"] > 0
    assert {f"stackname 0 2 sfloop{number}" for number in (1, 2, 3)} <= set(ran.asked)


def test_a_name_that_the_user_gave_stays(tmp_path: Path, library: Path) -> None:
    ran = succeeded(run(tmp_path, library, "--stack", "onload", body=[ECHO, RUN], EF_NAME="mine"))
    assert not [line for line in ran.asked if line.startswith(("stackname", "save"))]
    assert ran.printed["connection"]["stack"] == "default"


@pytest.mark.parametrize("stack", ["auto", "kernel"])
def test_a_loop_started_under_onload_by_hand(tmp_path: Path, library: Path, stack: str) -> None:
    """`onload -p latency sfloop run app.py`: the kernel stack, whose sockets Onload accelerates all the same."""
    body = [ECHO, RUN]
    ran = succeeded(run(tmp_path, None, "--stack", stack, body=body, LD_PRELOAD=preloading(library)))
    assert ran.printed["describe"]["stack"] == "kernel"
    assert ran.printed["connection"]["accelerated"]
    assert ran.calls["zero_spinning"] > 0


def preloading(library: Path) -> str:
    return " ".join([*os.environ.get("LD_PRELOAD", "").split(), str(library)])


def test_without_onload_nothing_is_asked_of_it(tmp_path: Path) -> None:
    assert onload.find() is None
    ran = succeeded(run(tmp_path, None, body=[ECHO, RUN]))
    assert ran.printed["connection"] is None
    assert ran.printed["describe"]["onload"] is None
