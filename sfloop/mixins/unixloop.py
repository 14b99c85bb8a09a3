"""CPython's Unix event loop, by a name under which its inner parts have types.

sfloop inherits from it and overrides parts that asyncio's documentation ("Extending") leaves to loop implementations
but that typeshed does not know; the stub beside this module declares those that are used.
"""

from asyncio import SelectorEventLoop as UnixLoop

from sfloop.pythons import warn_if_untested

__all__ = ["UnixLoop"]

warn_if_untested()  # once in a process: this module is imported once
