"""Subprocesses and their pipes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import sys
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, cast

from sfloop.mixins.takeover import TakingOver
from sfloop.transports.pipe import ReadPipeTransport, WritePipeTransport, is_taken
from sfloop.transports.process import ProcessTransport

if TYPE_CHECKING:
    from sfloop.loop import Loop

#: Seconds that wait() allows for pipes to end after the process. Most pipes end with the process.
_PIPES_END_WITHIN = 0.5


class Processes(TakingOver):
    """asyncio's subprocesses with sfloop's pipe transports. ``wait()`` waits only for the process.

    From Python 3.11 on, asyncio's ``wait()`` waits until no process has the pipes open any more, grandchildren
    included.
    """

    __slots__ = ()

    def _make_read_pipe_transport(
        self,
        pipe: Any,
        protocol: asyncio.BaseProtocol,
        waiter: asyncio.Future[None] | None = None,
        extra: dict[str, Any] | None = None,
    ) -> ReadPipeTransport:
        return ReadPipeTransport(cast("Loop", self), pipe, protocol, waiter, extra)

    def _make_write_pipe_transport(
        self,
        pipe: Any,
        protocol: asyncio.BaseProtocol,
        waiter: asyncio.Future[None] | None = None,
        extra: dict[str, Any] | None = None,
    ) -> WritePipeTransport:
        return WritePipeTransport(cast("Loop", self), pipe, protocol, waiter, extra)

    async def _make_subprocess_transport(
        self,
        protocol: asyncio.BaseProtocol,
        args: Any,
        shell: bool,
        stdin: Any,
        stdout: Any,
        stderr: Any,
        bufsize: int,
        extra: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> ProcessTransport:
        self._run_on_all_cpus(kwargs)
        with _child_watcher(self) as watcher:
            if sys.version_info < (3, 14) and not watcher.is_active():
                raise RuntimeError("asyncio.get_child_watcher() is not activated, subprocess support is not installed.")
            waiter = self.create_future()
            transport = ProcessTransport(
                self, protocol, args, shell, stdin, stdout, stderr, bufsize, waiter=waiter, extra=extra, **kwargs
            )
            watcher.add_child_handler(transport.get_pid(), self._child_watcher_callback, transport)
            try:
                await waiter
            except (SystemExit, KeyboardInterrupt):
                raise
            except BaseException:
                transport.close()
                await asyncio.shield(transport._wait())
                raise
        return transport

    def _run_on_all_cpus(self, kwargs: dict[str, Any]) -> None:
        """Let the child of a pinned loop run on the CPUs that the loop's thread had before."""
        before = cast("Loop", self)._unpinned
        if before is None:
            return
        preexec = kwargs.pop("preexec_fn", None)

        def on_all_cpus() -> None:
            os.sched_setaffinity(0, before)
            if preexec is not None:
                preexec()

        kwargs["preexec_fn"] = on_all_cpus

    def _child_watcher_callback(self, pid: int, returncode: int, transp: ProcessTransport) -> None:
        # The watcher's thread may call this. Wait one more turn, so that callbacks that are already scheduled run
        # first.
        self.call_soon_threadsafe(self.call_soon, _process_ended, self, transp, transp.reaped(returncode))


@contextlib.contextmanager
def _child_watcher(loop: Any) -> Iterator[Any]:
    """The watcher of the loop's child processes."""
    if sys.version_info >= (3, 14):
        yield loop._watcher
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # deprecated in 3.12 and 3.13
        watcher = asyncio.get_child_watcher()
    with watcher as entered:
        yield entered if sys.version_info < (3, 12) else watcher  # the same as asyncio of each version


def _process_ended(loop: Processes, transp: ProcessTransport, returncode: int) -> None:
    transp._process_exited(returncode)
    if transp._closed and transp._proc is not None:
        # The creation was cancelled, so nobody else closes the pipes that the transport has not connected to the loop.
        for pipe in (transp._proc.stdin, transp._proc.stdout, transp._proc.stderr):
            if pipe is not None and not is_taken(pipe):
                pipe.close()
    waiters = transp._exit_waiters
    if not waiters:
        return
    if all(end is not None and _ends_by_itself(end) for end in transp._pipes.values()):
        # connection_lost() will wake the waiters soon. Then no callback of the process is left when wait() returns.
        timer = loop.call_later(_PIPES_END_WITHIN, _wake, transp)
        waiters[0].add_done_callback(lambda _: timer.cancel())
    else:
        _wake(transp)


def _ends_by_itself(end: Any) -> bool:
    """Whether the pipe has ended, or will end without any action of the program."""
    if end.disconnected:
        return True
    if getattr(end.pipe, "_paused", False):
        return False
    poll = select.poll()
    poll.register(end.pipe._fileno, 0)
    return bool(poll.poll(0))  # POLLHUP or POLLERR: no process has the other end open


def _wake(transp: ProcessTransport) -> None:
    waiters, transp._exit_waiters = transp._exit_waiters, []
    for waiter in waiters or ():
        if not waiter.done():
            waiter.set_result(transp._returncode)
