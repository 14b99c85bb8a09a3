"""The methods of the loop that a project's source calls, found in its text."""

from __future__ import annotations

import re
import tarfile
from pathlib import Path

#: Methods that carry data, wait for it, or start something. Every library uses the others (call_soon, create_task …).
_METHODS = (
    "create_connection",
    "create_server",
    "create_datagram_endpoint",
    "create_unix_connection",
    "create_unix_server",
    "connect_accepted_socket",
    "start_tls",
    "sendfile",
    "connect_read_pipe",
    "connect_write_pipe",
    "subprocess_exec",
    "subprocess_shell",
    "sock_connect",
    "sock_accept",
    "sock_recv",
    "sock_recv_into",
    "sock_sendall",
    "sock_sendfile",
    "sock_recvfrom",
    "sock_recvfrom_into",
    "sock_sendto",
    "add_reader",
    "remove_reader",
    "add_writer",
    "remove_writer",
    "add_signal_handler",
    "run_in_executor",
    "getaddrinfo",
    "call_soon_threadsafe",
)
#: Functions of asyncio that call such methods.
_FUNCTIONS = (
    "open_connection",
    "start_server",
    "open_unix_connection",
    "start_unix_server",
    "create_subprocess_exec",
    "create_subprocess_shell",
    "to_thread",
    "run_coroutine_threadsafe",
)

_CALL = re.compile(
    rf"(?:loop\w*|_event_loop\(\)|get_running_loop\(\))\.({'|'.join(_METHODS)})\b"
    rf"|(?:asyncio|streams)\.({'|'.join(_FUNCTIONS)})\b"
)
_UNDO = re.compile("remove_")  # a part of add_reader or add_writer
_SOURCE = (".py", ".pyx", ".pxi")
_NOT_THE_LIBRARY = re.compile(
    r"/(tests?|docs?|examples?|example|benchmarks?|scripts|tools|experiments|compliance|fuzzing)/"
)


def of_archive(archive: Path) -> list[str]:
    """The names of the calls, in the order of the lists above."""
    found: set[str] = set()
    with tarfile.open(archive) as tar:
        for member in tar:
            if member.isfile() and member.name.endswith(_SOURCE) and not _NOT_THE_LIBRARY.search(member.name):
                file = tar.extractfile(member)
                if file is not None:
                    found |= of_text(file.read().decode(errors="replace"))
    return [name for name in (*_FUNCTIONS, *_METHODS) if name in found]


def of_text(text: str) -> set[str]:
    """The names of the calls in one file."""
    names = {match[1] or match[2] for match in _CALL.finditer(text)}
    return {name for name in names if not _UNDO.match(name)}
