"""The versions of CPython that sfloop is tested on, and a warning on newer ones."""

from __future__ import annotations

import sys
import warnings

OLDEST = (3, 10)
NEWEST = (3, 15)


def warn_if_untested(version: tuple[int, int] = sys.version_info[:2]) -> None:
    """Warn if this version of CPython is newer than those that sfloop is tested on.

    The loop inherits from asyncio's loop, whose internals change between versions.
    """
    if version <= NEWEST:
        return
    warnings.warn(
        f"sfloop is tested on CPython {_dotted(OLDEST)} to {_dotted(NEWEST)}, but this is {_dotted(version)}. The "
        f"internals of asyncio, which the loop uses, may have changed: install a newer sfloop, or test thoroughly",
        RuntimeWarning,
        stacklevel=2,
    )


def _dotted(version: tuple[int, int]) -> str:
    return ".".join(map(str, version))
