"""The sizes of the source: lines of a file, lines of a function. There are no exceptions."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from layers.rules import MOST_FUNCTION_LINES, MOST_LINES, Breach

#: The folders with sources. Files of builds and environments are in other folders.
_FOLDERS = ("sfloop", "tests", "tools", "examples")
#: First line of a Cython function, not of a class, a struct or an extern block.
_CYTHON_HEAD = re.compile(
    r"\s*(?:async\s+def|def|cpdef|cdef)\s(?!\s*(?:class|extern|struct|enum|union|packed)\b).*?(\w+)\s*\("
)
#: The brace that opens a C function: alone, or at the end of its head.
_C_BRACE = re.compile(r"\{$|\w.*\)\s*\{$")
_QUOTES = re.compile(r"""[rRbBuU]*("{3}|'{3}|"|')""")


def breaches(root: Path) -> Iterator[Breach]:
    """Every file and every function under ``root`` that has more lines than its limit."""
    for path in _sources(root):
        shown = PurePosixPath(path.relative_to(root).as_posix())
        lines = path.read_text().splitlines()
        most = MOST_LINES[path.suffix]
        if len(lines) > most:
            yield Breach(shown, most + 1, f"the file has {len(lines)} lines, and may have {most}: split it by concept")
        for name, first, last in _functions(path.suffix, lines):
            count = last - first + 1
            if count > MOST_FUNCTION_LINES:
                what = f"{name} has {count} lines, and may have {MOST_FUNCTION_LINES}: split it by concept"
                yield Breach(shown, first, what)


def _sources(root: Path) -> Iterator[Path]:
    yield from sorted(root.glob("*.py"))
    for folder in _FOLDERS:
        for path in sorted((root / folder).rglob("*")):
            if path.suffix in MOST_LINES and path.is_file() and "__pycache__" not in path.parts:
                yield path


def _functions(suffix: str, lines: list[str]) -> Iterator[tuple[str, int, int]]:
    """Name of each function, and the numbers of its first and last line: of its body, without the docstring."""
    if suffix in (".c", ".h"):
        return _of_c(lines)
    if suffix in (".py", ".pyi"):
        return _of_python(lines)
    return _of_cython(lines)


def _of_c(lines: list[str]) -> Iterator[tuple[str, int, int]]:
    """The lines between the brace that opens a function and the next one that closes in the first column."""
    start = 0
    for number, line in enumerate(lines, 1):
        if _C_BRACE.match(line):
            start = number
        elif line.startswith("}") and start:
            if number - start > 1:
                yield _name_before(lines, start), start + 1, number - 1
            start = 0


def _name_before(lines: list[str], start: int) -> str:
    """The name in the head of a C function, which ends above its brace in line ``start`` and may have several lines."""
    for line in reversed(lines[:start]):
        found = re.match(r"\S.*?(\w+)\(", line)
        if found is not None:
            return found[1]
    return "this function"


def _of_python(lines: list[str]) -> Iterator[tuple[str, int, int]]:
    for node in ast.walk(ast.parse("\n".join(lines))):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            documented = ast.get_docstring(node, clean=False) is not None
            first = node.body[1 if documented and len(node.body) > 1 else 0]
            yield node.name, first.lineno, node.end_lineno or first.lineno


def _of_cython(lines: list[str]) -> Iterator[tuple[str, int, int]]:
    """Each function reaches to the last line that is indented deeper than its head."""
    for index, line in enumerate(lines):
        found = _CYTHON_HEAD.match(line)
        if found is None:
            continue
        body = _end_of_head(lines, index)
        if body is None:
            continue
        depth = len(line) - len(line.lstrip())
        first, last = 0, 0
        for number in range(_end_of_docstring(lines, body), len(lines)):
            text = lines[number]
            if text.strip() and len(text) - len(text.lstrip()) <= depth:
                break
            if text.strip():
                first, last = first or number + 1, number + 1
        if first:
            yield found[1], first, last


def _end_of_head(lines: list[str], index: int) -> int | None:
    """Index of the line after a head of one line or several. None: a declaration or a variable, without a body."""
    open_brackets = 0
    for number in range(index, len(lines)):
        code = re.sub(r"#.*", "", lines[number]).rstrip()
        open_brackets += code.count("(") + code.count("[") - code.count(")") - code.count("]")
        if open_brackets <= 0:
            return number + 1 if code.endswith(":") else None
    return None


def _end_of_docstring(lines: list[str], index: int) -> int:
    """Index of the line after the docstring that begins at ``index``, or ``index`` if none does."""
    text = lines[index].strip() if index < len(lines) else ""
    quotes = _QUOTES.match(text)
    if quotes is None:
        return index
    if len(quotes[1]) == 1 or quotes[1] in text[quotes.end() :]:
        return index + 1
    for number in range(index + 1, len(lines)):
        if quotes[1] in lines[number]:
            return number + 1
    return index
