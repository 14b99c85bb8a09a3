"""``sfloop run --force``: asyncio's and uvloop's ways to a loop lead to sfloop's loops.

A program reaches a loop by a class in the end: ``uvloop.run``, ``uvloop.install`` and uvloop's policy call
``uvloop.Loop``, and uvicorn calls ``asyncio.SelectorEventLoop``. So a class of the same name stands in for each of
these classes. To call it makes an sfloop loop, and to inherit from it is to inherit from sfloop's. ``isinstance`` holds
for the loops of both.

sfloop's loop is imported when the first loop is made, because a child process may import asyncio and make no loop.
"""

from __future__ import annotations

import asyncio
import functools
import selectors
import types
from asyncio import unix_events
from typing import Any

from sfloop.commands.loops.notice import say_forced
from sfloop.commands.loops.startup.sfloop_startup import after_import

__all__ = ["force", "force_uvloop", "keep_methods"]


class _AiofastnetsMark(set[str]):
    """The value of the attribute in which aiofastnet notes the methods that it has replaced on a loop: all of them.
    ``aiofastnet.patch_loop()``, and so its loop factory and its policy, then leave the loop's own methods."""

    def __contains__(self, name: object) -> bool:
        return True


def _new_loop(asked: str | None) -> Any:
    import sfloop

    say_forced(asked)
    keep_methods()
    return sfloop.new_event_loop()


def keep_methods() -> None:
    """Let aiofastnet leave the methods of sfloop's loops."""
    import sfloop

    loop: Any = sfloop.Loop
    loop._aiofastnet_patched_methods = _AiofastnetsMark()


@functools.cache
def _inheritable() -> type:
    """sfloop's loop with the arguments of asyncio's, for classes of programs that inherit from a loop."""
    import sfloop

    class Loop(sfloop.Loop):
        __slots__ = ()

        def __init__(self, selector: selectors.BaseSelector | None = None) -> None:
            super().__init__()

    return Loop


class _StandIn(type):
    """The type of the classes that stand in for loop classes. ``_original`` is the class that each stands in for."""

    _original: type
    _asked: str

    def __new__(mcs, name: str, bases: tuple[type, ...], namespace: dict[str, Any], **keywords: Any) -> Any:
        if not any(isinstance(base, _StandIn) for base in bases):
            return super().__new__(mcs, name, bases, namespace, **keywords)
        ours = tuple(dict.fromkeys(_inheritable() if isinstance(base, _StandIn) else base for base in bases))
        return types.new_class(name, ours, keywords, lambda made: made.update(namespace))

    def __call__(cls, *arguments: Any, **keywords: Any) -> Any:
        given = [*arguments, *keywords.values()]
        if all(each is None or type(each).__module__ == "selectors" for each in given):
            return _new_loop(cls._asked)
        return cls._original(*arguments, **keywords)  # the program needs its own selector

    def __instancecheck__(cls, instance: object) -> bool:
        return cls.__subclasscheck__(type(instance))

    def __subclasscheck__(cls, subclass: type) -> bool:
        import sfloop

        return cls is subclass or issubclass(subclass, (cls._original, sfloop.Loop))


def _stand_in(original: Any, asked: str) -> Any:
    if isinstance(original, _StandIn):
        return original
    namespace = {"__slots__": (), "__doc__": original.__doc__, "_original": original, "_asked": asked}
    return _StandIn(original.__name__, (original,), namespace)


def force() -> None:
    """Let asyncio's and uvloop's factories, classes and policies make sfloop's loops, whenever uvloop is imported."""
    made = _stand_in(asyncio.SelectorEventLoop, "asyncio.SelectorEventLoop")
    for module in (asyncio, unix_events):
        for name in ("SelectorEventLoop", "EventLoop"):  # Python 3.13 has added the second
            if hasattr(module, name):
                setattr(module, name, made)
    _force_default()
    after_import("uvloop", force_uvloop)


def _force_default() -> None:
    # The names before and from Python 3.14 on, which deprecates policies.
    for name in ("_UnixDefaultEventLoopPolicy", "_DefaultEventLoopPolicy"):
        policy: Any = getattr(unix_events, name, None)
        if policy is not None:
            policy._loop_factory = staticmethod(functools.partial(_new_loop, None))
            return
    from sfloop.policy import install

    install()  # a version of Python without policies


def force_uvloop(uvloop: Any) -> None:
    """Let the class of uvloop's loops make sfloop's. uvloop has just been imported."""
    uvloop.Loop = _stand_in(uvloop.Loop, "uvloop.Loop")
