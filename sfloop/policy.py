"""sfloop as the loop that asyncio makes by itself: :class:`Policy`, and :func:`install`, which works without one too.

Event loop policies are on their way out of Python: deprecated in 3.14, to be removed in 3.16. asyncio's names for
them are looked up here, once, in the way that gives no warning; where there are none, ``sfloop.Policy`` is an
``AttributeError`` that says what to use instead.
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

        ``asyncio.set_event_loop_policy(sfloop.Policy())`` puts every loop that asyncio makes in this process on
        sfloop. All else is asyncio's default policy, so that ``asyncio.get_event_loop()`` keeps the behaviour it has
        in each version of Python.

        The options, and the environment, are read when the policy is made.

        :raises ValueError: an option has a value that is not allowed.
        """

        def __init__(self, options: Options | None = None, /, **keywords: Unpack[OptionKeywords]) -> None:
            super().__init__()
            self._options = Options.resolve(options, **keywords)

        @property
        def options(self) -> Options:
            """The options of every loop that this policy makes."""
            return self._options

        def _loop_factory(self) -> Loop:
            # The hook by which asyncio's default policy makes its loops, and all that new_event_loop calls.
            return make_loop(self._options)

        def new_event_loop(self) -> Loop:
            """A new :class:`sfloop.Loop`.

            :raises OSError: the stack asked for cannot be had, and ``fallback`` is ``"error"``.
            """
            return self._loop_factory()

        def __repr__(self) -> str:
            return f"<sfloop.Policy {self._options!r}>"

    EventLoopPolicy = Policy


def install(**options: Unpack[OptionKeywords]) -> None:
    """Make every loop that asyncio makes by itself from now on, in this process, an :class:`sfloop.Loop`.

    Where Python has event loop policies this sets ``sfloop.Policy(**options)``, without the warning that
    ``asyncio.set_event_loop_policy`` gives from Python 3.14. Where it has none it rebinds ``asyncio.new_event_loop``,
    by which ``asyncio.run`` and ``asyncio.Runner`` make their loops.

    :raises ValueError: an option has a value that is not allowed.
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
