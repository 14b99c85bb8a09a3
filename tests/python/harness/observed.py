"""The reports of a loop besides its results: the asyncio log, and contexts of call_exception_handler."""

from __future__ import annotations

import logging
from collections.abc import Awaitable
from typing import Any, Protocol, TypeVar

import pytest

T = TypeVar("T")


class Run(Protocol):
    """The `run` fixture: run(coroutine) returns its result on the loop under test."""

    def __call__(self, main: Awaitable[T], /) -> T: ...


class LogLines(logging.Handler):
    """Stores formatted text and not records, because a record's traceback would keep the test's objects alive."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.lines: list[str] = []
        self.setFormatter(logging.Formatter("%(levelname)s %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))
        record.exc_info = None  # exc_text has its text, and pytest's own handlers keep the record

    def take(self, text: str) -> str:
        """Remove and return the first entry with this text. Fails if there is none."""
        for i, line in enumerate(self.lines):
            if text in line:
                return self.lines.pop(i)
        pytest.fail(f"nothing logged with {text!r}; logged: {self.lines}")


class Contexts(list[dict[str, Any]]):
    """Contexts passed to call_exception_handler. A context that no test has taken fails the test."""

    def take(self, message: str | None = None) -> dict[str, Any]:
        """Remove and return the first context. Its message must begin with this text."""
        if not self:
            pytest.fail("call_exception_handler was not called")
        context = self.pop(0)
        if message is not None:
            assert context["message"].startswith(message), context
        return context
