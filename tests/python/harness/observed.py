"""What a loop reports beside its results: the asyncio log and the contexts of call_exception_handler."""

from __future__ import annotations

import logging
from collections.abc import Awaitable
from typing import Any, Protocol, TypeVar

import pytest

T = TypeVar("T")


class Run(Protocol):
    """The `run` fixture: run(coroutine) is its result on the loop under test."""

    def __call__(self, main: Awaitable[T], /) -> T: ...


class LogLines(logging.Handler):
    """Keeps formatted text, not records: a record's traceback would keep the test's objects alive."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.lines: list[str] = []
        self.setFormatter(logging.Formatter("%(levelname)s %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))
        record.exc_info = None  # its text is kept in exc_text; pytest's own handlers keep the record

    def take(self, text: str) -> str:
        """Removes and returns the first entry with this text; fails when there is none."""
        for i, line in enumerate(self.lines):
            if text in line:
                return self.lines.pop(i)
        pytest.fail(f"nothing logged with {text!r}; logged: {self.lines}")


class Contexts(list[dict[str, Any]]):
    """Contexts given to call_exception_handler. One that no test has taken fails the test."""

    def take(self, message: str | None = None) -> dict[str, Any]:
        """Removes and returns the first context, whose message must start with the one given."""
        if not self:
            pytest.fail("call_exception_handler was not called")
        context = self.pop(0)
        if message is not None:
            assert context["message"].startswith(message), context
        return context
