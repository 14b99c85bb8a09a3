"""The load generator tells right answers from wrong ones."""

from __future__ import annotations

import json
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from sfloop.bench import netns, spans
from sfloop.bench.build import Programs

Handler = Callable[[socket.socket], None]


def load(programs: Programs, command: str, port: int, *options: object) -> subprocess.CompletedProcess[str]:
    line = [str(programs.sfbench), command, "--port", str(port), "--warmup", "0", "--timeout", "1"]
    return subprocess.run([*line, *map(str, options)], capture_output=True, text=True, timeout=30, check=False)


@contextmanager
def tcp_server(handler: Handler) -> Iterator[int]:
    """Serve each connection in its own thread; yield the port."""

    def serve(connection: socket.socket) -> None:
        with connection:
            try:
                handler(connection)
            except ConnectionError:
                pass

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=serve, args=(connection,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(5)


@contextmanager
def udp_server(answer: Callable[[bytes, int], list[bytes]]) -> Iterator[int]:
    """Answer the n-th datagram with the datagrams that `answer` makes of it; yield the port."""

    def serve() -> None:
        count = 0
        while True:
            data, peer = server.recvfrom(65536)
            if not data:
                return
            for datagram in answer(data, count):
                server.sendto(datagram, peer)
            count += 1

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as end:
                end.sendto(b"", server.getsockname())
            thread.join(5)


def echo(connection: socket.socket) -> None:
    while data := connection.recv(65536):
        connection.sendall(data)


def result(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize(("size", "connections"), [(1, 1), (64, 1), (1024, 10), (1_000_000, 2)])
def test_an_honest_echo(programs: Programs, size: int, connections: int) -> None:
    with tcp_server(echo) as port:
        found = result(load(programs, "tcp", port, "--size", size, "--connections", connections, "--messages", 50))
    assert found["count"] == 50
    assert sum(count for _, count in found["histogram"]) == 50


def test_the_time_of_a_run_is_what_was_asked_for(programs: Programs) -> None:
    with tcp_server(echo) as port:
        found = result(load(programs, "tcp", port, "--seconds", "0.2", "--warmup", "0.1"))
    assert found["seconds"] == pytest.approx(0.2, abs=0.1)
    assert found["count"] > 10


def test_latencies_are_those_of_the_server(programs: Programs) -> None:
    def slow(connection: socket.socket) -> None:
        while data := connection.recv(65536):
            time.sleep(0.01)
            connection.sendall(data)

    with tcp_server(slow) as port:
        found = result(load(programs, "tcp", port, "--messages", 10))
    assert all(10_000_000 <= value < 1_000_000_000 for value, _ in found["histogram"])


@pytest.mark.parametrize("size", [64, 65536])
@pytest.mark.parametrize("connections", [1, 3])
def test_a_flipped_bit_is_found(programs: Programs, size: int, connections: int) -> None:
    def corrupt(connection: socket.socket) -> None:
        received = 0
        while data := connection.recv(65536):
            flawed = bytearray(data)
            at = 3 * size + 40 - received  # byte 40 of the fourth message
            if 0 <= at < len(data):
                flawed[at] ^= 1
            received += len(data)
            connection.sendall(flawed)

    with tcp_server(corrupt) as port:
        done = load(programs, "tcp", port, "--size", size, "--connections", connections, "--seconds", 5)
    assert done.returncode == 3
    assert "the echo is wrong: byte 40 of message 3 on connection" in done.stderr


def test_an_echo_of_the_last_message_is_found(programs: Programs) -> None:
    def repeat(connection: socket.socket) -> None:
        first = connection.recv(65536)
        connection.sendall(first)
        while connection.recv(65536):
            connection.sendall(first)

    with tcp_server(repeat) as port:
        done = load(programs, "tcp", port, "--seconds", 5)
    assert done.returncode == 3
    assert "of message 1 on connection 0" in done.stderr


def test_bytes_too_many_are_found(programs: Programs) -> None:
    def stutter(connection: socket.socket) -> None:
        while data := connection.recv(65536):
            connection.sendall(data + data[:1])

    with tcp_server(stutter) as port:
        done = load(programs, "tcp", port, "--seconds", 5)
    assert done.returncode == 3


@pytest.mark.parametrize("connections", [1, 2])
def test_a_silent_server_is_given_up(programs: Programs, connections: int) -> None:
    def swallow(connection: socket.socket) -> None:
        while connection.recv(65536):
            pass

    with tcp_server(swallow) as port:
        done = load(programs, "tcp", port, "--connections", connections, "--seconds", 5)
    assert done.returncode == 1
    assert "no answer in 1.0 s" in done.stderr


def test_a_server_that_closes_is_reported(programs: Programs) -> None:
    def half(connection: socket.socket) -> None:
        connection.sendall(connection.recv(65536)[:10])

    with tcp_server(half) as port:
        done = load(programs, "tcp", port, "--seconds", 5)
    assert done.returncode == 1
    assert "the server closed the connection after 10 of 64 bytes" in done.stderr


def test_no_server(programs: Programs) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    done = load(programs, "tcp", port)
    assert done.returncode == 1
    assert f"connect to 127.0.0.1:{port}: Connection refused" in done.stderr


@pytest.mark.parametrize("burst", [1, 16])
def test_an_honest_udp_echo(programs: Programs, burst: int) -> None:
    with udp_server(lambda data, count: [data]) as port:
        found = result(load(programs, "udp", port, "--burst", burst, "--messages", 20))
    assert (found["count"], found["lost"]) == (20, 0)


def test_a_lost_datagram_is_counted_and_a_late_one_ignored(programs: Programs) -> None:
    withheld: list[bytes] = []

    def lossy(data: bytes, count: int) -> list[bytes]:
        if count == 5:
            withheld.append(data)
            return []
        return [*withheld, data]

    with udp_server(lossy) as port:
        found = result(load(programs, "udp", port, "--messages", 20))
    assert (found["count"], found["lost"]) == (20, 1)


@pytest.mark.parametrize(
    ("flaw", "said"),
    [
        (lambda data, count: [data[:20] + b"?" + data[21:]], "byte 20 of message"),
        (lambda data, count: [data[:-1]], "the answer has 63 bytes, but 64 were sent"),
        (lambda data, count: [b"\xff" * 64], "which was never sent"),
    ],
)
def test_a_wrong_datagram_is_found(programs: Programs, flaw: Callable[[bytes, int], list[bytes]], said: str) -> None:
    with udp_server(flaw) as port:
        done = load(programs, "udp", port, "--seconds", 5)
    assert done.returncode == 3
    assert said in done.stderr


def answering(answer: bytes) -> Handler:
    def handler(connection: socket.socket) -> None:
        while request := connection.recv(65536):
            assert request.startswith(b"GET / HTTP/1.1\r\nHost: 127.0.0.1:")
            # In two pieces, as a server may.
            connection.sendall(answer[:20])
            connection.sendall(answer[20:])

    return handler


def test_http(programs: Programs) -> None:
    answer = b"HTTP/1.1 200 OK\r\nServer: x\r\ncontent-length: 5\r\nX: y\r\n\r\nhello"
    with tcp_server(answering(answer)) as port:
        found = result(load(programs, "http", port, "--connections", 3, "--messages", 30))
    assert found["count"] == 30


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n", '"HTTP/1.1 500 Internal Server Error"'),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "no Content-Length"),
    ],
)
def test_a_wrong_http_answer_is_found(programs: Programs, answer: bytes, said: str) -> None:
    with tcp_server(answering(answer)) as port:
        done = load(programs, "http", port, "--seconds", 5)
    assert done.returncode == 3
    assert said in done.stderr


def test_a_flood_keeps_its_rate(programs: Programs) -> None:
    with udp_server(lambda data, count: []) as port:
        found = result(load(programs, "flood", port, "--rate", 2000, "--seconds", 0.5))
    assert found["sent"] == pytest.approx(1000, rel=0.2)
    history = found["history"]
    begin, end = history[0][0], history[-1][0]
    assert (end - begin) / 1e9 == pytest.approx(0.5, abs=0.1)
    assert history[-1][1] == found["sent"]
    half = spans.between(history, begin, begin + (end - begin) / 2)
    assert half.sent == pytest.approx(500, rel=0.3)


@pytest.mark.parametrize("size", [1, 64, 300_000])
def test_the_echo_servers_without_epoll_answer(programs: Programs, size: int) -> None:
    command = [str(programs.sfbench), "spin-tcp"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        try:
            port = json.loads(server.stdout.readline())["port"]
            for _ in range(2):  # one connection after the other
                assert result(load(programs, "tcp", port, "--size", size, "--messages", 20))["count"] == 20
        finally:
            server.kill()


def test_a_udp_echo_without_epoll_answers(programs: Programs) -> None:
    with subprocess.Popen([str(programs.sfbench), "spin-udp"], stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        try:
            port = json.loads(server.stdout.readline())["port"]
            found = result(load(programs, "udp", port, "--burst", 16, "--messages", 50))
            assert found["count"] == 50
        finally:
            server.kill()


def test_a_sink_without_epoll_counts_what_comes(programs: Programs) -> None:
    command = [str(programs.sfbench), "spin-sink", "--seconds", "0.2", "--warmup", "0.05"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        try:
            with socket.create_connection(("127.0.0.1", json.loads(server.stdout.readline())["port"])) as source:
                end, sent = time.monotonic() + 0.5, 0
                while time.monotonic() < end:
                    sent += source.send(bytes(1000))
                    time.sleep(0.001)
                found = json.loads(server.stdout.readline())
        finally:
            server.kill()
    assert 0 < found["count"] < sent
    assert 0 < found["empty_turns"] < found["turns"]
    assert found["seconds"] == pytest.approx(0.2, abs=0.1)
    assert found["busy"] < found["seconds"]


def test_a_replay_without_a_receiver_is_given_up(programs: Programs) -> None:
    if (reason := netns.unavailable()) is not None:
        pytest.skip(reason)
    with netns.veth_pair() as place:
        command = [*place.load_prefix, str(programs.sfbench), "replay", "--host", place.host, "--port", "9"]
        command += ["--interface", netns.INTERFACE, "--timeout", "2"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 1
    assert f"connect to {place.host}:9: refused" in done.stderr


def test_idle_connections_are_held_until_standard_input_ends(programs: Programs) -> None:
    open_now = threading.Semaphore(0)
    closed = threading.Semaphore(0)

    def count(connection: socket.socket) -> None:
        open_now.release()
        try:
            echo(connection)
        finally:
            closed.release()

    with tcp_server(count) as port:
        command = [str(programs.sfbench), "idle", "--port", str(port), "--connections", "20"]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as opener:
            assert opener.stdout is not None
            assert opener.stdin is not None
            assert json.loads(opener.stdout.readline()) == {"open": 20}
            assert all(open_now.acquire(timeout=5) for _ in range(20))
            assert not closed.acquire(timeout=0.1)
            opener.stdin.close()
            assert opener.wait(5) == 0
            assert all(closed.acquire(timeout=5) for _ in range(20))


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ([], "usage: sfbench COMMAND"),
        (["nonsense"], "usage: sfbench COMMAND"),
        (["tcp", "--size", "0"], '--size is "0"; a number from 1 to'),
        (["tcp", "--port", "x"], '--port is "x"; a number from 0 to 65535 is needed'),
        (["tcp", "--host", "localhost"], '--host is "localhost"; an IPv4 address'),
        (["udp", "--size", "4"], "--size is 4; a datagram of 8 to 65507 bytes is needed"),
        (["replay", "--interface", "nosuch"], '--interface is "nosuch"; the name of an interface is needed'),
        (["udp", "--burst", "65"], "--burst is 65; 1 to 64 is allowed"),
        (["tcp", "stray"], 'unexpected argument "stray"'),
    ],
)
def test_wrong_arguments(programs: Programs, argv: list[str], said: str) -> None:
    done = subprocess.run([str(programs.sfbench), *argv], capture_output=True, text=True, timeout=10, check=False)
    assert done.returncode == 2
    assert said in done.stderr
