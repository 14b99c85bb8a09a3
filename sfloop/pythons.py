"""The versions of CPython that sfloop is tested on, and the warning on a newer one."""

from __future__ import annotations

import sys
import warnings

OLDEST = (3, 10)
NEWEST = (3, 15)


def warn_if_untested(version: tuple[int, int] = sys.version_info[:2]) -> None:
    """Warn if this version of CPython is newer than those that sfloop is tested on.

    The loop inherits from asyncio's, and asyncio's inner parts change between versions.
    """
    if version <= NEWEST:
        return
    warnings.warn(
        f"sfloop is tested on CPython {_dotted(OLDEST)} to {_dotted(NEWEST)}, and this is {_dotted(version)}: the "
        f"inner parts of asyncio, which the loop builds on, may have changed. Look for a newer sfloop, or test well",
        RuntimeWarning,
        stacklevel=2,
    )


def _dotted(version: tuple[int, int]) -> str:
    return ".".join(map(str, version))
