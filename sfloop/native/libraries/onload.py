"""Whether this process runs under Onload.

Onload's functions are looked up in the process's global scope and nowhere else: libonload_ext has the same functions as
stubs, which say that there is no Onload even where there is.
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
    """The Onload that was preloaded into this process; None when there is none."""
    if not has_symbol("onload_is_present"):
        return None
    # Only now, because few processes run under Onload, and ctypes takes as long to import as a tenth of sfloop.
    import ctypes

    from sfloop.native.libraries.onload_library import Onload

    process: Any = ctypes.CDLL(None)
    return Onload(process) if process.onload_is_present() else None
