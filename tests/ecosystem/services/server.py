"""A server process with a throw-away directory. Both are gone at the end of the block, also after a failure."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from conformance.forkserver.suite import SuiteError

START_LIMIT = STOP_LIMIT = 30  # seconds
MISSING = "{program} is missing: apt-get install {package} (its own service need not run)"
NOT_READY = "{program} was not ready after {seconds:.0f} s; the end of its output:\n{output}"


def serving(
    start: Callable[[str, int], AbstractContextManager[Any]],
) -> Callable[[str, int], AbstractAsyncContextManager[None]]:
    """The server of a probe: a program that `start` runs at a host and a port."""

    @asynccontextmanager
    async def serve(host: str, port: int) -> AsyncIterator[None]:
        with start(host, port):
            yield

    return serve


def found(program: str, package: str, *folders: Path) -> str:
    """The path of a program, looked for in `folders` and in the PATH. Raises SuiteError if it is missing."""
    path = os.pathsep.join([*map(str, folders), os.environ.get("PATH", ""), "/usr/sbin"])
    where = shutil.which(program, path=path)
    if where is None:
        raise SuiteError(MISSING.format(program=program, package=package))
    return where


def free_port(host: str = "127.0.0.1") -> int:
    """A TCP port of this address that no socket uses."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


@contextmanager
def throw_away(name: str, user: str | None = None) -> Iterator[Path]:
    """A directory that belongs to this user, for the server's data."""
    with tempfile.TemporaryDirectory(prefix=f"sfloop-{name}-", ignore_cleanup_errors=True) as folder:
        if user is not None:
            shutil.chown(folder, user)
        yield Path(folder)


def as_user(user: str | None) -> list[str]:
    """The words before a command that runs as this user. None: as ourselves."""
    setpriv = found("setpriv", "util-linux")
    if user is None:
        return [setpriv]
    return [setpriv, "--reuid", user, "--regid", str(pwd.getpwnam(user).pw_gid), "--init-groups"]


def ends_with_parent(stop: signal.Signals) -> list[str]:
    """Options of setpriv: the kernel sends this signal at the end of the parent, so no server outlives a killed run."""
    return ["--pdeathsig", stop.name.removeprefix("SIG")]


@contextmanager
def running(
    command: list[str],
    folder: Path,
    ready: Callable[[], bool],
    *,
    user: str | None = None,
    stop: signal.Signals = signal.SIGTERM,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server until the end of the block. Its output goes to ``output`` in the folder.

    `ready` says whether the server can be used, and `stop` is the signal that ends it. The kernel sends it if
    this process is killed. Raises SuiteError if it ends by itself, or is not ready in time.
    """
    bound = [*as_user(user), *ends_with_parent(stop), *command]
    with (folder / "output").open("wb") as output:
        process = subprocess.Popen(bound, cwd=folder, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    try:
        _wait(process, ready, Path(command[0]).name, folder / "output")
        yield process
    finally:
        _stop(process, stop)


def connects(host: str, port: int) -> bool:
    """Whether a TCP connection can be made."""
    try:
        socket.create_connection((host, port), 1).close()
    except OSError:
        return False
    return True


def _wait(process: subprocess.Popen[bytes], ready: Callable[[], bool], program: str, output: Path) -> None:
    began = time.monotonic()
    while process.poll() is None and time.monotonic() - began < START_LIMIT:
        if ready():
            return
        time.sleep(0.02)
    end = output.read_text(errors="replace")[-2000:]
    raise SuiteError(NOT_READY.format(program=program, seconds=time.monotonic() - began, output=end))


def _stop(process: subprocess.Popen[bytes], how: signal.Signals) -> None:
    process.send_signal(how)
    try:
        process.wait(STOP_LIMIT)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
