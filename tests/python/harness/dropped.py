"""The warnings about transports that a program has dropped."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def unclosed() -> Iterator[list[str]]:
    """The texts of the warnings about transports that were collected without having been closed."""
    texts: list[str] = []

    def show(message: Any, *_: Any) -> None:  # what catch_warnings() itself records would keep the transport
        if "unclosed transport" in str(message):
            texts.append(str(message))

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = show
        yield texts
        gc.collect()
