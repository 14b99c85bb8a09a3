"""The extension API of the Onload that this process runs under (<onload/extensions.h>)."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

__all__ = ["Onload"]

_THIS_THREAD: Final = 0  # enum onload_stackname_who
_SCOPE_PROCESS: Final = 2  # enum onload_stackname_scope
_SPIN_EPOLL_WAIT: Final = 11  # enum onload_spin_type


class _Stat(ctypes.Structure):
    """struct onload_stat. The name is a pointer and not a string, because the caller must free it."""

    _fields_ = (
        ("stack_id", ctypes.c_int32),
        ("stack_name", ctypes.c_void_p),
        ("endpoint_id", ctypes.c_int32),
        ("endpoint_state", ctypes.c_int32),
    )


class Onload:
    """The functions of the extension API that sfloop uses."""

    def __init__(self, process: Any) -> None:
        self._process = process
        process.free.argtypes = (ctypes.c_void_p,)

    @contextmanager
    def running(self, name: str, *, spins: bool) -> Iterator[None]:
        """While a loop runs in this thread, the thread's new sockets belong to an Onload stack of this name, so no
        other thread contends for it. A name that the user gave (EF_NAME) stays.

        :param spins: each pass of the loop's own spin polls the stack, although its interrupt is armed after a sleep.
        """
        process = self._process
        before = ctypes.c_uint(0)
        process.onload_thread_get_spin(ctypes.byref(before))
        named = "EF_NAME" not in os.environ and process.onload_stackname_save() == 0
        if named:
            process.onload_set_stackname(_THIS_THREAD, _SCOPE_PROCESS, name.encode())
        process.onload_thread_set_spin(_SPIN_EPOLL_WAIT, int(spins))
        try:
            yield
        finally:
            process.onload_thread_set_spin(_SPIN_EPOLL_WAIT, before.value >> _SPIN_EPOLL_WAIT & 1)
            if named:
                process.onload_stackname_restore()

    def of_descriptor(self, fd: int) -> dict[str, Any]:
        """Whether Onload carries a descriptor: ``accelerated``, and if so the ``stack``'s name, its ``stack_id`` and
        the ``endpoint_id``, which ``onload_stackdump`` shows. This may change when the socket is bound or connected,
        because Onload hands sockets that it cannot carry over to the kernel."""
        stat = _Stat()
        if self._process.onload_fd_stat(fd, ctypes.byref(stat)) <= 0:
            return {"accelerated": False}
        name = ctypes.string_at(stat.stack_name).decode(errors="replace") if stat.stack_name else ""
        self._process.free(stat.stack_name)
        return {
            "accelerated": True,
            "stack": name,
            "stack_id": stat.stack_id,
            "endpoint_id": stat.endpoint_id,
        }
