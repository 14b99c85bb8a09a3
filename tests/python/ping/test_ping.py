"""`sfloop ping`: its round trips on every path of this machine, its figures, and its errors."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import re
import socket
import subprocess
import sys
import time
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from harness import link

from sfloop.ping import frames, icmp
from sfloop.ping.report import histogram, lines, statistics
from sfloop.ping.rounds import Outcome, Rounds

COMMAND = [sys.executable, "-m", "sfloop", "ping"]
FEW = ["--count", "40", "--warmup", "5", "--json"]


def ping(*arguments: str, prefix: list[str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*(prefix or []), *COMMAND, *arguments], capture_output=True, text=True, timeout=60, check=False
    )


@contextmanager
def serving(*arguments: str, prefix: list[str] | None = None) -> Iterator[int]:
    """Start the echo side; yield its port."""
    with listening(*arguments, prefix=prefix) as (_, port):
        yield port


@contextmanager
def listening(*arguments: str, prefix: list[str] | None = None) -> Iterator[tuple[str, int]]:
    """Start the echo side; yield the address that it prints."""
    with subprocess.Popen(
        [*(prefix or []), *COMMAND, "--serve", "--port", "0", *arguments], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        said = process.stdout.readline()
        match = re.match(r"echoing UDP and TCP at ([\d.]+):(\d+) on", said)
        assert match, said
        try:
            yield match[1], int(match[2])
        finally:
            process.terminate()
        assert process.wait(20) == 0


def check(done: subprocess.CompletedProcess[str], carried_by: str) -> dict[str, Any]:
    assert done.returncode == 0, done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    assert (document["sent"], document["received"], document["lost"]) == (40, 40, 0)
    assert document["carried_by"] == carried_by
    rtt = document["rtt_ns"]
    assert 0 < rtt["min"] <= rtt["p50"] <= rtt["p99"] <= rtt["max"]
    assert sum(count for *_, count in document["histogram"]) == 40
    return document


# ---- on every path ----


def test_kernel_sockets() -> None:
    with serving("127.0.0.1") as port:
        for protocol in ("udp", "tcp", "tcp-connect"):
            done = ping("127.0.0.1", "--port", str(port), "--protocol", protocol, "--size", "1000", *FEW)
            document = check(done, "kernel")
            assert document["target"] == f"127.0.0.1:{port}"
            assert (document["protocol"], document["size"], document["driver"]) == (protocol, 1000, None)


def test_serve_listens_on_loopback_unless_it_is_told() -> None:
    """An open echo is a reflector, so the user must ask for it."""
    with listening() as (address, port):
        assert address == "127.0.0.1"
        check(ping("127.0.0.1", "--port", str(port), "--protocol", "udp", *FEW), "kernel")
        with socket.socket() as elsewhere:  # the port is free at every other address
            elsewhere.bind(("127.0.0.2", port))
    with listening("0.0.0.0") as (address, _):
        assert address == "0.0.0.0"


def test_serve_without_an_address_on_its_interface() -> None:
    done = ping("--serve", "--interface", "no-such-if")
    assert done.returncode == 2 and "no-such-if" in done.stderr


@pytest.mark.skipif(link.unavailable() is not None, reason=str(link.unavailable()))
def test_serve_listens_on_the_address_of_its_interface() -> None:
    with link.made_link() as joined:
        far = ["ip", "netns", "exec", joined.far.namespace]
        with listening("--interface", link.INTERFACE, prefix=far) as (address, port):
            assert address == link.FAR
            near = ["ip", "netns", "exec", joined.near.namespace]
            check(ping(link.FAR, "--port", str(port), "--protocol", "tcp", *FEW, prefix=near), "kernel")


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_icmp_of_the_kernel(host: str) -> None:
    try:
        icmp.EchoSocket.open(socket.AF_INET, ("127.0.0.1", 0)).sock.close()
    except PermissionError as error:
        pytest.skip(str(error))
    if host == "::1" and not os.path.exists("/proc/net/if_inet6"):
        pytest.skip("this kernel has no IPv6")
    assert check(ping(host, "--size", "57", *FEW), "kernel")["protocol"] == "icmp"


def test_shared_memory() -> None:
    wire = f"ping{os.getpid()}"
    far, near = (["--driver", "shm", "--interface", f"{wire}@127.77.0.{side}"] for side in (2, 1))
    with serving(*far) as port:
        for protocol in ("udp", "tcp", "tcp-connect"):
            document = check(ping("127.77.0.2", "--port", str(port), "--protocol", protocol, *near, *FEW), "tcpip")
            assert document["stack"] == "tcpip"
            assert document["driver"].startswith("shm (")


@pytest.mark.skipif(link.unavailable() is not None, reason=str(link.unavailable()))
def test_frame_drivers_of_the_kernel() -> None:
    with link.made_link() as joined:
        near, far = (["ip", "netns", "exec", side.namespace] for side in (joined.near, joined.far))
        with serving(link.FAR, prefix=far) as port:
            for driver in ("af_xdp", "packet"):
                options = ["--driver", driver, "--interface", link.INTERFACE]
                for protocol in ("udp", "tcp"):
                    done = ping(link.FAR, "--port", str(port), "--protocol", protocol, *options, *FEW, prefix=near)
                    assert check(done, "tcpip")["driver"].startswith(driver)
        check(ping(link.FAR, *FEW, prefix=near), "kernel")
        by_frames = ["--protocol", "icmp", "--interface", link.INTERFACE]
        check(ping(link.FAR, "--driver", "packet", "--size", "9", *by_frames, *FEW, prefix=near), "frames: packet")
        refused = ping(link.FAR, "--driver", "af_xdp", *by_frames, prefix=near)
        assert refused.returncode == 1 and "af_xdp" in refused.stderr, refused.stderr
        refused = ping("198.18.7.3", "--driver", "packet", *by_frames, prefix=near)
        assert refused.returncode == 1 and "does not answer ARP" in refused.stderr, refused.stderr
        # No peer answers: the packet counts as lost, and there is no error.
        done = ping("198.18.7.3", "--count", "2", "--warmup", "0", "--timeout", "0.1", "--json", prefix=near)
        assert done.returncode == 1
        assert json.loads(done.stdout)["lost"] == 2


def test_report_for_people() -> None:
    with serving("127.0.0.1") as port:
        done = ping("127.0.0.1", "--port", str(port), "--protocol", "udp", "--count", "50")
    assert done.returncode == 0, done.stderr
    first, second, third, *rows = done.stdout.splitlines()
    assert first == f"127.0.0.1:{port} by udp, 64 bytes, kernel, carried by the kernel stack"
    assert second == "50 sent, 50 received, 0 lost"
    assert re.match(r"round trips, µs: min \d+\.\d{3}  p50 .*  p999 .*  max .*  mean .*  stddev ", third)
    assert sum(int(row.split()[3]) for row in rows) == 50
    assert all("█" in row for row in rows)


# ---- errors ----


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ([], "no host given"),
        (["127.0.0.1", "--size", "7"], "--size=7: must be from 8"),
        (["127.0.0.1", "--count", "0"], "--count must be 1 or more"),
        (["127.0.0.1", "--spin", "sometimes"], "--spin='sometimes'"),
        (["127.0.0.1", "--interface", "nosuch0"], "'nosuch0': no such device"),
        (["127.0.0.1", "--driver", "dpdk", "--protocol", "udp"], "'dpdk' cannot be used"),
        (
            ["127.77.0.2", "--driver", "shm", "--interface", "w@127.77.0.1", "--protocol", "icmp"],
            "Use --protocol udp or tcp",
        ),
        (["127.0.0.1", "--driver", "packet", "--protocol", "icmp"], "needs --interface"),
        (["no.such.host.invalid"], "no.such.host.invalid|Name or service|name resolution"),
    ],
)
def test_usage(arguments: list[str], error: str) -> None:
    done = ping(*arguments)
    assert done.returncode == 2, done.stdout
    assert re.search(error, done.stderr), done.stderr
    assert "Traceback" not in done.stderr


def test_nobody_echoes() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        port = str(silent.getsockname()[1])
        done = ping(
            "127.0.0.1", "--port", port, "--protocol", "udp", "--count", "1", "--warmup", "0", "--timeout", "0.1"
        )
        assert done.returncode == 1
        assert "1 sent, 0 received, 1 lost (100 %)" in done.stdout
    done = ping("127.0.0.1", "--port", port, "--protocol", "udp", "--count", "9")
    assert done.returncode == 1
    assert "sfloop ping --serve" in done.stdout
    done = ping("127.0.0.1", "--port", port, "--protocol", "tcp")
    assert done.returncode == 1
    assert re.match(r"sfloop ping: 127\.0\.0\.1: .*refused|.*Connect call failed", done.stderr)


# ---- the series ----


def series(
    answer: Callable[[Rounds, bytes, int], object], *, count: int, timeout: float = 0.02, warmup: int = 0
) -> Outcome:
    """Run a series whose messages go to `answer`, with the message's number."""

    async def main() -> Outcome:
        sent = 0

        def send(message: bytes) -> None:
            nonlocal sent
            sent += 1
            number = sent
            asyncio.get_running_loop().call_soon(lambda: answer(rounds, message, number))

        rounds = Rounds(send, count=count, interval=0, size=16, timeout=timeout, warmup=warmup)
        rounds.start()
        return await rounds.done

    return asyncio.run(main())


def test_what_is_lost_is_counted_and_what_comes_late_is_no_reply() -> None:
    def every_third_is_lost(rounds: Rounds, message: bytes, number: int) -> None:
        if number % 3:
            rounds.reply(message)
            rounds.reply(message)  # a duplicate

    outcome = series(every_third_is_lost, count=6)
    assert (outcome.sent, len(outcome.times), outcome.lost, outcome.late) == (6, 4, 2, 4)


def test_a_reply_with_other_bytes_is_none() -> None:
    outcome = series(lambda rounds, message, _: rounds.reply(message[:-1] + b"!"), count=1)
    assert (outcome.lost, outcome.late) == (1, 1)


def test_warming_up_is_not_counted() -> None:
    numbers: list[int] = []

    def answer(rounds: Rounds, message: bytes, number: int) -> None:
        numbers.append(int.from_bytes(message[:8], "big"))
        rounds.reply(message)

    outcome = series(answer, count=5, warmup=3)
    assert (outcome.sent, len(outcome.times)) == (5, 5)
    assert numbers == list(range(1, 9))


def test_an_interrupted_series_has_lost_nothing() -> None:
    outcome = series(lambda rounds, m, n: rounds.reply(m) if n < 3 else rounds.finish(), count=100)
    assert (outcome.sent, len(outcome.times), outcome.lost) == (2, 2, 0)


def test_times_are_of_the_monotonic_clock() -> None:
    def late(rounds: Rounds, message: bytes, number: int) -> None:
        time.sleep(0.003)
        rounds.reply(message)

    assert 3e6 <= min(series(late, count=3, timeout=5).times) < 1e9


# ---- figures ----


def test_statistics_are_of_values_that_were_seen() -> None:
    stats = statistics(range(1, 1001))
    assert [stats[name] for name in ("min", "p50", "p90", "p99", "p999", "max", "mean")] == [
        1, 500, 900, 990, 999, 1000, 500.5,
    ]  # fmt: skip
    assert statistics([7]) == dict.fromkeys(("min", "p50", "p90", "p99", "p999", "max"), 7) | {"mean": 7, "stddev": 0}
    assert statistics([]) == {} and histogram([]) == []


@pytest.mark.parametrize("times", [[5], [5, 5], list(range(1000, 3000, 7)), [100, 101, 10**9], [0, 1]])
def test_the_histogram_has_every_value_once(times: list[int]) -> None:
    rows = histogram(times)
    for (_, above, _), (below, _, _) in itertools.pairwise(rows):
        assert above == below
    assert [count for *_, count in rows] == [sum(low <= value < high for value in times) for low, high, _ in rows]
    assert sum(count for *_, count in rows) == len(times)
    assert len(rows) < 60


def test_a_report_of_nothing() -> None:
    about = {"target": "t", "protocol": "udp", "size": 8, "stack": "kernel", "driver": None, "carried_by": "kernel"}
    outcome = Outcome(array("Q"), 3, error="why")
    assert lines(about, outcome)[1:] == [
        "3 sent, 0 received, 3 lost (100 %)",
        "ended early: why",
    ]


# ---- ICMP ----


def test_the_next_hop() -> None:
    routes = (
        "Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT\n"
        "eth0 00000000 0101A8C0 0003 0 0 0 00000000 0 0 0\n"  # default via 192.168.1.1
        "eth0 0001A8C0 00000000 0001 0 0 0 00FFFFFF 0 0 0\n"  # 192.168.1.0/24
    )
    assert frames._next_hop("192.168.1.7", "eth0", routes) == "192.168.1.7"
    assert frames._next_hop("10.0.0.1", "eth0", routes) == "192.168.1.1"
    with pytest.raises(OSError, match=r"no route to 10\.0\.0\.1 through eth1"):
        frames._next_hop("10.0.0.1", "eth1", routes)


def test_icmp_messages() -> None:
    payload = (258).to_bytes(8, "big") + b"odd"
    request = icmp.request(socket.AF_INET, 0x1234, payload)
    assert request[:2] == b"\x08\x00" and request[4:8] == b"\x12\x34\x01\x02" and request[8:] == payload
    assert icmp.checksum(request) == 0
    # RFC 1071's example: the sum of these is ddf2.
    assert icmp.checksum(bytes.fromhex("0001f203f4f5f6f7")) == 0xFFFF - 0xDDF2
    answer = b"\x00\x00" + request[2:]
    assert icmp.reply(socket.AF_INET, 0x1234, answer) == payload
    assert icmp.reply(socket.AF_INET, None, answer) == payload
    assert icmp.reply(socket.AF_INET, 0x1235, answer) is None
    for other in (request, b"\x03\x00" + answer[2:], b"\x00\x01" + answer[2:], answer[:7], b""):
        assert icmp.reply(socket.AF_INET, None, other) is None
    assert icmp.request(socket.AF_INET6, 1, payload)[:4] == b"\x80\x00\x00\x00"
    assert icmp.reply(socket.AF_INET6, None, b"\x81\x00" + bytes(6) + payload) == payload
