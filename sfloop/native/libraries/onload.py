"""Detects whether this process runs under Onload.

Onload's functions are looked up in the process's global scope only. libonload_ext has stubs with the same names, which
always report that there is no Onload.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from sfloop.native.cores.process import has_symbol

if TYPE_CHECKING:
    from sfloop.native.libraries.onload_library import Onload

__all__ = ["find"]


@functools.cache
def find() -> Onload | None:
    """The Onload that was preloaded into this process, or None."""
    if not has_symbol("onload_is_present"):
        return None
    # Import ctypes only here, because few processes run under Onload and ctypes takes a tenth of sfloop's import time.
    import ctypes

    from sfloop.native.libraries.onload_library import Onload

    process: Any = ctypes.CDLL(None)
    return Onload(process) if process.onload_is_present() else None
