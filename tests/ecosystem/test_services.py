"""The starters of servers: they start, answer, and leave nothing, also after a failure."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from conformance.forkserver.suite import SuiteError

from ecosystem.services import server
from ecosystem.services.nats import nats
from ecosystem.services.postgresql import postgresql, programs_for_tests
from ecosystem.services.redis import redis

Starter = Callable[[], AbstractContextManager[tuple[str, int]]]
#: Name → the starter, bytes that a client sends first, and the start of the answer.
STARTERS: dict[str, tuple[Starter, bytes, bytes]] = {
    "redis-server": (redis, b"PING\r\n", b"+PONG"),
    "nats-server": (nats, b"", b"INFO "),
    "postgres": (postgresql, bytes([0, 0, 0, 8, 4, 210, 22, 47]), b"N"),  # a request for TLS, which it has not
}


@pytest.fixture
def temporary(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder for temporary files. PostgreSQL's user can reach it, which does not hold for pytest's own."""
    with tempfile.TemporaryDirectory(prefix="sfloop-services-") as folder:
        os.chmod(folder, 0o755)
        monkeypatch.setattr("tempfile.tempdir", folder)
        yield Path(folder)


@pytest.fixture(params=list(STARTERS))
def case(request: pytest.FixtureRequest) -> tuple[Starter, bytes, bytes]:
    """A starter whose program is installed."""
    _need(request.param)
    return STARTERS[request.param]


def _need(program: str) -> None:
    try:
        server.found(program, "", *Path("/usr/lib/postgresql").glob("*/bin"))
    except SuiteError:
        pytest.skip(f"{program} is not installed")


def _answer(address: tuple[str, int], request: bytes) -> bytes:
    with socket.create_connection(address, 5) as connection:
        connection.sendall(request)
        return connection.recv(64)


def test_a_server_answers_and_leaves_nothing(case: tuple[Starter, bytes, bytes], temporary: Path) -> None:
    starter, request, answer = case
    with starter() as address:
        assert _answer(address, request).startswith(answer)
        assert list(temporary.iterdir())
    assert not server.connects(*address)
    assert not list(temporary.iterdir())


def test_a_failure_in_the_block_ends_the_server(case: tuple[Starter, bytes, bytes], temporary: Path) -> None:
    starter, request, answer = case
    with pytest.raises(ZeroDivisionError), starter() as address:
        _ = 1 / 0
    assert not server.connects(*address)
    assert not list(temporary.iterdir())


def test_a_port_in_use_is_an_error_with_the_output(case: tuple[Starter, bytes, bytes], temporary: Path) -> None:
    starter: Callable[..., AbstractContextManager[tuple[str, int]]] = case[0]
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(SuiteError, match="(?i)address already in use"):
        with starter("127.0.0.1", taken.getsockname()[1]):
            pass
    assert not list(temporary.iterdir())


def test_a_missing_program_names_its_package() -> None:
    with pytest.raises(SuiteError, match="apt-get install some-package"):
        server.found("no-such-program", "some-package")


def test_a_killed_run_leaves_no_server() -> None:
    program = """
import sys, time
from pathlib import Path
from ecosystem.services.server import running, throw_away
command = ["sh", "-c", "touch ready; exec sleep 1000"]
with throw_away("test") as folder, running(command, folder, (folder / "ready").exists) as process:
    print(process.pid, folder, flush=True)
    time.sleep(1000)
"""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1])}
    run = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, env=environment)
    with run:
        assert run.stdout is not None
        pid, folder = run.stdout.readline().split()
        run.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 10
    while _lives(int(pid)) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not _lives(int(pid))
    subprocess.run(["rm", "-r", folder], check=True)


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_postgresqls_programs_for_tests_that_start_servers(temporary: Path) -> None:
    _need("postgres")
    with programs_for_tests() as variables:
        programs, data = Path(variables["PGINSTALLATION"]), Path(variables["TMPDIR"]) / "tmp-data"
        data.mkdir(mode=0o700)
        environment = {**os.environ, **variables}
        made = [str(programs / "initdb"), "-D", str(data), "--auth=trust", "--no-sync"]
        assert "Success" in subprocess.run(made, env=environment, check=True, capture_output=True, text=True).stdout
    assert not list(temporary.iterdir())
