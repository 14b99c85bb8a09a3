"""Signatures of methods that pass their arguments on to asyncio's method of the same name."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])


def signed_like_asyncio(**added: Any) -> Callable[[F], F]:
    """Make ``inspect.signature`` show the arguments of the method of ``asyncio.SelectorEventLoop``, as this version of
    Python has them.

    :param added: keyword arguments that the method has on every version of Python, with their defaults.
    """

    def sign(method: F) -> F:
        shown = inspect.signature(getattr(asyncio.SelectorEventLoop, method.__name__))
        parameters = list(shown.parameters.values())
        kind = inspect.Parameter.KEYWORD_ONLY
        parameters += [
            inspect.Parameter(name, kind, default=default)
            for name, default in added.items()
            if name not in shown.parameters
        ]
        method.__signature__ = shown.replace(parameters=parameters)  # type: ignore[attr-defined]
        return method

    return sign
