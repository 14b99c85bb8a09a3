"""A PostgreSQL server."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from conformance.forkserver.suite import SuiteError

from .server import as_user, ends_with_parent, found, free_port, running, throw_away

#: Debian keeps the programs of each version in a folder of its own.
_DEBIAN = Path("/usr/lib/postgresql")
USER = "postgres"
#: SIGTERM would wait for the clients to leave.
_STOP = signal.SIGINT

#: A test suite needs no data after a crash.
_FAST = {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off"}

#: Options of setpriv. The tests have certificates, which may be in a folder that only root can read.
_READS_ALL = ("--inh-caps", "+dac_read_search", "--ambient-caps", "+dac_read_search")


@contextmanager
def postgresql(host: str = "127.0.0.1", port: int = 0) -> Iterator[tuple[str, int]]:
    """Run a server whose superuser ``postgres`` needs no password. Yields its address. Port 0 takes a free one.

    Raises SuiteError if PostgreSQL is missing, or does not start.
    """
    programs, number = folder_of_programs(), port or free_port(host)
    user = USER if os.geteuid() == 0 else None  # PostgreSQL does not run as root
    with throw_away("postgresql", user) as folder:
        data = folder / "data"
        _initialize(programs, data, user)
        settings = {"listen_addresses": host, "port": str(number), "unix_socket_directories": str(folder), **_FAST}
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        command = [str(programs / "postgres"), "-D", str(data), *options]
        with (data / "pg_hba.conf").open("a") as rules:
            rules.write("host all all all trust\n")  # a probe's client is in another network namespace
        asked = [str(programs / "pg_isready"), "-q", "-h", host, "-p", str(number)]
        with running(command, folder, lambda: subprocess.run(asked).returncode == 0, user=user, stop=_STOP):
            yield host, number


@contextmanager
def programs_for_tests() -> Iterator[Mapping[str, str]]:
    """Tests that start servers of their own. Yields environment variables for them.

    The names of the variables are asyncpg's. Raises SuiteError if PostgreSQL is missing.
    """
    programs = folder_of_programs()
    with throw_away("postgresql") as folder:
        folder.chmod(0o1777)  # servers of another user put their sockets there
        if os.geteuid() == 0:
            programs = _as_other_user(programs, folder / "bin")
        yield {"PGINSTALLATION": str(programs), "TMPDIR": str(folder)}


def _as_other_user(programs: Path, folder: Path) -> Path:
    """A folder of scripts that run PostgreSQL's programs as its user, who becomes the owner of the tests' data."""
    folder.mkdir()
    folder.chmod(0o755)
    for program in programs.iterdir():
        script = folder / program.name
        # The tests make the data directories by Python's tempfile, whose names begin with tmp.
        words = shlex.join([*as_user(USER), *ends_with_parent(_STOP), *_READS_ALL, str(program)])
        script.write_text(f'#!/bin/sh\nchown -R {USER} {folder.parent}/tmp* 2>/dev/null\nexec {words} "$@"\n')
        script.chmod(0o755)
    return folder


def folder_of_programs() -> Path:
    """The folder of the newest PostgreSQL's programs. Raises SuiteError if there is none."""
    versions = sorted(_DEBIAN.glob("*/bin"), key=lambda folder: int(folder.parent.name), reverse=True)
    return Path(found("initdb", "postgresql", *versions)).resolve().parent


def _initialize(programs: Path, data: Path, user: str | None) -> None:
    arguments = ["-D", str(data), "-U", USER, "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync"]
    run = subprocess.run(
        [*as_user(user), str(programs / "initdb"), *arguments],
        cwd=data.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if run.returncode != 0:
        raise SuiteError(f"PostgreSQL's initdb failed:\n{run.stdout}")
