"""Make sfloop's loop the one that asyncio makes by default: :class:`Policy` and :func:`install`.

Python 3.14 deprecates event loop policies and 3.16 removes them. This module looks up asyncio's names for them without
causing the deprecation warning. On a version without policies, access to ``sfloop.Policy`` raises an ``AttributeError``
that names the alternatives. :func:`install` works on every version.
"""

from __future__ import annotations

import asyncio
from asyncio import events, unix_events
from typing import TYPE_CHECKING, Any

from sfloop.options.options import Options
from sfloop.runner import make_loop

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from sfloop.loop import Loop
    from sfloop.options.options import OptionKeywords

__all__ = ["EventLoopPolicy", "Policy", "install"]

# Python 3.14 renamed both with an underscore, and warns when they are reached by their public names.
_DefaultEventLoopPolicy: Any = getattr(
    unix_events, "_DefaultEventLoopPolicy", getattr(unix_events, "DefaultEventLoopPolicy", None)
)
_set_event_loop_policy: Any = getattr(events, "_set_event_loop_policy", getattr(events, "set_event_loop_policy", None))

if TYPE_CHECKING or _DefaultEventLoopPolicy is not None:

    class Policy(_DefaultEventLoopPolicy):  # type: ignore[misc]  # its base depends on the version of Python
        """An event loop policy whose loops are :class:`sfloop.Loop`.

        ``asyncio.set_event_loop_policy(sfloop.Policy())`` makes every loop that asyncio makes in this process an sfloop
        loop. Everything else is inherited from asyncio's default policy, so ``asyncio.get_event_loop()`` behaves as in
        the version of Python in use.

        The options and the environment are read when the policy is made.

        :raises ValueError: an option has a value that is not allowed.
        :raises TypeError: an option does not exist or has the wrong type.
        """

        def __init__(self, options: Options | None = None, /, **keywords: Unpack[OptionKeywords]) -> None:
            super().__init__()
            self._options = Options.resolve(options, **keywords)

        @property
        def options(self) -> Options:
            """The options of every loop that this policy makes."""
            return self._options

        def _loop_factory(self) -> Loop:
            # asyncio's default policy calls this method to make a loop.
            return make_loop(self._options)

        def new_event_loop(self) -> Loop:
            """Make a :class:`sfloop.Loop`.

            :raises OSError: the stack asked for cannot be used and ``fallback`` is ``"error"``, or the interface does
                not exist.
            """
            return self._loop_factory()

        def __repr__(self) -> str:
            return f"<sfloop.Policy {self._options!r}>"

    EventLoopPolicy = Policy


def install(**options: Unpack[OptionKeywords]) -> None:
    """Make every loop that asyncio makes in this process from now on an :class:`sfloop.Loop`.

    If Python has event loop policies, this sets ``sfloop.Policy(**options)`` without the warning that
    ``asyncio.set_event_loop_policy`` gives from Python 3.14 on. Otherwise it rebinds ``asyncio.new_event_loop``, which
    ``asyncio.run`` and ``asyncio.Runner`` call.

    :raises ValueError: an option has a value that is not allowed.
    :raises TypeError: an option does not exist or has the wrong type.
    """
    resolved = Options.resolve(**options)
    if _DefaultEventLoopPolicy is not None and _set_event_loop_policy is not None:
        _set_event_loop_policy(Policy(resolved))
    else:
        _rebind_new_event_loop(resolved)


def _rebind_new_event_loop(options: Options) -> None:
    def new_event_loop() -> Loop:
        return make_loop(options)

    # asyncio's own code calls it through the module it lives in, programs through the package.
    events.new_event_loop = new_event_loop
    asyncio.new_event_loop = new_event_loop


def __getattr__(name: str) -> Any:
    if name in ("Policy", "EventLoopPolicy"):
        raise AttributeError(
            f"sfloop.{name} does not exist on this version of Python, which has no event loop policies: use "
            f"sfloop.run(main()), or asyncio.Runner(loop_factory=sfloop.new_event_loop), or sfloop.install()"
        )
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
