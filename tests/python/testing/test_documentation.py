"""The examples of docs/testing.md are tests, and pass."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

PAGE = Path(__file__).resolve().parents[3] / "docs" / "testing.md"


def examples() -> list[tuple[str, Callable[[], None]]]:
    found: list[tuple[str, Callable[[], None]]] = []
    for block in re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL):
        names: dict[str, Any] = {"__name__": "example"}
        exec(compile(block, str(PAGE), "exec"), names)
        found += [(name, value) for name, value in names.items() if name.startswith("test_")]
    return found


@pytest.mark.parametrize(("name", "example"), examples())
def test_example(name: str, example: Callable[[], None]) -> None:
    began = time.monotonic()
    example()
    assert time.monotonic() - began < 10


def test_all_are_found() -> None:
    assert len(examples()) == 4
