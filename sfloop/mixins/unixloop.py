"""CPython's Unix event loop, under a name that has types for its internals.

sfloop overrides parts that asyncio's documentation ("Extending") leaves to loop implementations, but that typeshed does
not declare. The stub beside this module declares them.
"""

# Not by its public name, because `sfloop run --force` gives that name to a class that makes sfloop's loops.
from asyncio.unix_events import _UnixSelectorEventLoop as UnixLoop

from sfloop.pythons import warn_if_untested

__all__ = ["UnixLoop"]

warn_if_untested()  # once in a process: this module is imported once
