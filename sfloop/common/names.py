"""Names that a user has given wrongly."""

from __future__ import annotations

from collections.abc import Iterable


def nearest(given: str, allowed: Iterable[str]) -> str:
    """``"; did you mean 'x'?"`` when one of the allowed names is close to the given one, in any case; else nothing."""
    import difflib  # on the error path only, because the import takes long

    names = {name.lower(): name for name in allowed}
    close = difflib.get_close_matches(given.lower(), names, n=1, cutoff=0.6)
    return f"; did you mean {names[close[0]]!r}?" if close else ""
