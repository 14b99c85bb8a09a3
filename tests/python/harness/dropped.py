"""The warnings about transports that a program has dropped."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def unclosed() -> Iterator[list[str]]:
    """The texts of warnings about transports that were collected without being closed."""
    texts: list[str] = []

    def show(message: Any, *_: Any) -> None:  # the list of catch_warnings() would keep the transport alive
        if "unclosed transport" in str(message):
            texts.append(str(message))

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = show
        yield texts
        gc.collect()
