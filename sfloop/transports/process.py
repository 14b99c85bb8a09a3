"""The transport of a subprocess."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal as signals
from asyncio import unix_events
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # typeshed does not know it

    class _UnixSubprocessTransport(asyncio.SubprocessTransport):
        _closed: bool
        _exit_waiters: Any
        _pipes: dict[int, Any]
        _proc: Any
        _returncode: int | None

        def __init__(self, *args: Any, **kwargs: Any) -> None: ...
        def _check_proc(self) -> None: ...
        def _process_exited(self, returncode: int) -> None: ...
        async def _wait(self) -> int: ...

else:
    _UnixSubprocessTransport = unix_events._UnixSubprocessTransport


class ProcessTransport(_UnixSubprocessTransport):
    """asyncio's transport, except that it never sends a signal to a process that was reaped, because the kernel may
    have reused the process id.

    The loop publishes the exit two turns after the process was reaped. Before it sends a signal, asyncio before Python
    3.13 polls the process. That takes the exit status away from the watcher, which then reports 255.
    """

    def send_signal(self, signal: int) -> None:
        """Send a signal, unless the process has ended."""
        self._check_proc()
        if self._returncode is None and self._proc.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                _signal_child(self._proc.pid, signal)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.send_signal(signals.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signals.SIGKILL)

    def reaped(self, returncode: int) -> int:
        """Called when a watcher has reaped the process, perhaps in a thread of its own. Returns the exit status."""
        process: Any = self._proc
        if process is None:
            return returncode
        if process.returncode is None:
            process.returncode = returncode
        elif returncode == _STATUS_UNKNOWN:  # subprocess.Popen reaped the process
            return int(process.returncode)
        return returncode


#: The exit status that asyncio's watchers report if other code has reaped the process.
_STATUS_UNKNOWN = 255


def _signal_child(pid: int, signal: int) -> None:
    """Send a signal to a running child. Uses a pidfd, because a watcher's thread may reap the process at any moment."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        raise
    except (AttributeError, OSError):  # Python or kernel older than Linux 5.3, or no descriptor is left
        if _runs(os.P_PID, pid):
            os.kill(pid, signal)
        return
    try:
        if _runs(os.P_PIDFD, fd):
            signals.pidfd_send_signal(fd, signal)
    finally:
        os.close(fd)


def _runs(kind: int, number: int) -> bool:
    """Whether a child process still runs. Leaves its exit status to the watcher."""
    try:
        return os.waitid(kind, number, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
    except ChildProcessError:
        return False
