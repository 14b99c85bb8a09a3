"""Detects input that may still arrive from outside: calls of threads, ends of child processes, data of peers."""

from __future__ import annotations

import os
import socket
import stat
import sys
import threading
from collections.abc import Collection, Iterable
from concurrent.futures import thread as pool
from typing import Any

__all__ = ["a_child_runs", "a_peer_is_elsewhere", "busy_threads"]

#: Descriptors that only this process writes to.
_OF_THIS_PROCESS = ("anon_inode:[eventfd]", "anon_inode:[eventpoll]")
_CHILD = "anon_inode:[pidfd]"
_MAPPED = "::ffff:"


def busy_threads(before: Iterable[threading.Thread]) -> list[threading.Thread]:
    """The threads of this process that may call the loop, except for the caller's and those in `before`.

    A worker thread of an executor counts only while it runs a call.
    """
    known = {threading.current_thread(), *before}
    others = [thread for thread in threading.enumerate() if thread not in known]
    if not others:
        return []
    frames = sys._current_frames()
    return [thread for thread in others if not _waits_for_work(thread, frames)]


def _waits_for_work(thread: threading.Thread, frames: dict[int, Any]) -> bool:
    pending = getattr(thread, "pending_work_items", None)  # the manager thread of a ProcessPoolExecutor
    if pending is not None or thread.name.startswith("QueueFeederThread"):
        return not pending
    queue = pool._threads_queues.get(thread)
    if queue is None or queue.qsize() or not _stands_still(thread, frames):
        return False
    executor = frames[thread.ident or 0].f_locals["executor_reference"]()
    if executor is None:
        return True
    # From Python 3.13 on, an item of the queue may already belong to a worker that has not woken up yet. The executor's
    # count of idle workers is one less then.
    still = sum(_stands_still(worker, frames) for worker in list(executor._threads))
    return bool(executor._idle_semaphore._value >= still)


def _stands_still(worker: threading.Thread, frames: dict[int, Any]) -> bool:
    frame = frames.get(worker.ident or 0)
    return frame is not None and frame.f_code is pool._worker.__code__ and "work_item" not in frame.f_locals


def a_child_runs(descriptors: Iterable[int]) -> bool:
    """Whether a loop that watches these descriptors waits for a child process to end.

    Where asyncio has no pidfd, a thread waits for the child. :func:`busy_threads` returns that thread.
    """
    return any(_target(fd) == _CHILD for fd in descriptors)


def a_peer_is_elsewhere(descriptors: Iterable[int], inside: Collection[str] = ()) -> bool:
    """Whether data may arrive at a loop's descriptors from a sender other than the loop itself and its threads.

    A connection between two of the descriptors has both ends here. A listening socket expects nobody in particular, so
    it does not count. A datagram socket without a peer expects anybody, unless another such socket of the loop can be
    its peer.

    :param inside: addresses whose sockets a wire with both ends here serves.
    """
    names: set[tuple[str, int]] = set()
    peers: list[tuple[str, int]] = []
    alone = 0
    for fd in descriptors:
        try:
            if not stat.S_ISSOCK(os.fstat(fd).st_mode):
                if _writes_itself(fd):
                    continue
                return True
            with socket.socket(fileno=os.dup(fd)) as sock:
                known = _ends(sock)
        except OSError:
            continue  # closed meanwhile
        if known is None:
            return True
        name, peer, waits_for_anybody = known
        if name and name[0][0] in inside:
            continue
        names.update(name)
        peers += peer
        alone += waits_for_anybody
    return alone == 1 or not all(peer in names or ("", peer[1]) in names for peer in peers)


def _target(fd: int) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{fd}")
    except OSError:
        return ""


def _writes_itself(fd: int) -> bool:
    """Whether the descriptor is an eventfd, an epoll descriptor, a pipe or a pidfd. Threads and child processes use
    these, and are counted by themselves."""
    return _target(fd) in _OF_THIS_PROCESS or _target(fd).startswith("pipe:") or _target(fd) == _CHILD


def _ends(sock: socket.socket) -> tuple[list[tuple[str, int]], list[tuple[str, int]], bool] | None:
    """(own names, names of peers, whether it expects anybody). None: the socket's peer is elsewhere."""
    if sock.family == socket.AF_UNIX:
        process = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        return ([], [], False) if int.from_bytes(process[:4], sys.byteorder) in (0, os.getpid()) else None
    if sock.family not in (socket.AF_INET, socket.AF_INET6):
        return None
    name = _address(sock.getsockname())
    if sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        return [name], [], False
    try:
        return [name], [_address(sock.getpeername())], False
    except OSError:  # it has no peer, or not yet
        return ([name], [], True) if sock.type == socket.SOCK_DGRAM else None


def _address(name: Any) -> tuple[str, int]:
    host = name[0].removeprefix(_MAPPED)
    return ("" if host in ("0.0.0.0", "::") else host), name[1]
