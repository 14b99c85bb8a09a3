"""Static assertions in C that compare a .pxd file with the headers that it declares.

Cython believes a declaration. If a field has another type, or a function other arguments, the code compiles and a
conversion is wrong. The assertions compare each field, function, variable and constant with the header.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

NATIVE = Path(__file__).resolve().parents[3] / "sfloop" / "native"
_EXTERN = re.compile(r'cdef extern from "(<?)([^">]+)>?" nogil:')
_BLOCK = re.compile(r"(?:cdef\s+|ctypedef\s+)?(struct|enum)\b\s*(\w*)\s*:")
_CALLED = re.compile(r'(.*?)(\w+)(?:\s+"(\w+)")?\s*\((?!\*)(.*)\)$')
_POINTER = re.compile(r"(.*?)\(\*\s*(\w+)\)\s*\((.*)\)$")
_PLAIN = re.compile(r"(.*?)(\w+)((?:\[\w+\])*)$")
#: Declared for Cython's sake only: macros that take any type, and types of the C library.
_LIBRARY = {"atomic_load", "atomic_load_ull", "atomic_store", "atomic_int", "atomic_ullong"}


def assertions(text: str) -> str:
    """The C file that compiles if, and only if, the declarations hold."""
    names = re.findall(r"^ +(?:cdef |ctypedef )?struct (\w+)", text, re.MULTILINE)
    enums = re.findall(r"^ +(?:cdef )?enum (\w+)", text, re.MULTILINE)
    headers = [f"#include {'<' + name + '>' if left else quoted(name)}" for left, name in _EXTERN.findall(text)]
    known = [f"typedef struct {name} {name};" for name in names if name not in _LIBRARY]
    known += [f"typedef enum {name} {name};" for name in enums]
    found = [check for line, holder in _declarations(text) for check in _checked(line, holder)]
    return "\n".join(["#include <stdatomic.h>", "#include <stdbool.h>", *headers, *known, *found, ""])


def compiled(text: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Compile the assertions, and return the compiler's result."""
    source = folder / "assertions.c"
    source.write_text(assertions(text))
    command = [*shlex.split(os.environ.get("CC", "cc")), "-std=gnu11", "-fsyntax-only", "-D_GNU_SOURCE"]
    command += [f"-I{NATIVE}", f"-I{NATIVE / 'include'}", str(source)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def quoted(name: str) -> str:
    return f'"{name}"'


def _declarations(text: str) -> Iterator[tuple[str, tuple[str, str] | None]]:
    """Each declaration of an extern block, and the struct or enum that it is in."""
    holder: tuple[str, str] | None = None
    depth, outside = 0, True
    for line in text.splitlines():
        line, indent = line.split("#")[0].rstrip(), len(line) - len(line.lstrip())
        if not line.strip():
            continue
        if indent == 0:
            outside, holder = _EXTERN.match(line) is None, None
            continue
        if outside:
            continue
        if holder is not None and indent <= depth:
            holder = None
        block = _BLOCK.match(line.strip())
        if block is not None:
            holder, depth = (block[1], block[2]), indent
        elif line.strip() != "pass":
            yield line.strip(), holder


def _checked(line: str, holder: tuple[str, str] | None) -> Iterator[str]:
    if holder is not None and holder[0] == "enum":
        yield _asserted(f"({line}) == ({line})", line)
        return
    typed = line.startswith("ctypedef ")
    line = line.removeprefix("ctypedef ").removeprefix("cdef ")
    for pattern in (_POINTER, _CALLED, _PLAIN):
        found = pattern.match(line)
        if found is None:
            continue
        name = found[2]
        if name in _LIBRARY:
            return
        if pattern is _POINTER:
            wanted = [f"{found[1]}(*)({of_bint(found[3], bint)})" for bint in ("bool", "int")]
        elif pattern is _CALLED:
            wanted = [f"{of_bint(found[1], bint)}({of_bint(found[4], bint) or 'void'})" for bint in ("bool", "int")]
        else:
            wanted = [f"{of_bint(found[1], bint)}{found[3]}" for bint in ("bool", "int")]
        member = f"((struct {holder[1]} *)0)->{name}" if holder else name
        if pattern is _PLAIN and holder is None and not typed:
            yield _asserted(f"({found[1].strip()})({name}) == ({name})", line)  # a constant of any integer type
            return
        of = name if typed else f"__typeof__({member})"
        if pattern is _PLAIN and found[1].rstrip().endswith("*"):
            of = f"__typeof__(&({member})[0])"  # an array may be declared as a pointer
        yield _asserted(" || ".join(f"__builtin_types_compatible_p({of}, {one})" for one in wanted), line)
        return
    raise AssertionError(f"not understood: {line}")


def of_bint(declared: str, bint: str) -> str:
    """Cython's bint is C's bool, or an int that is used as one."""
    return re.sub(r"\bbint\b", bint, declared)


def _asserted(condition: str, line: str) -> str:
    return f"_Static_assert({condition}, {quoted(line.replace(chr(34), chr(39)))});"
