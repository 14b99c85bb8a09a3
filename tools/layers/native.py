"""The layers of the native code: what C includes, what Cython includes and cimports."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from layers.rules import C_LAYERS, CYTHON_HEADERS, SEAM_HEADERS, Breach

_INCLUDE = re.compile(r'^\s*#\s*include\s*(?:"([^"]+)"|<([^>]+)>)')
_EXTERN = re.compile(r"""^\s*cdef\s+extern\s+from\s+["']([^"']+)["']""")
_CIMPORT = re.compile(r"^\s*(?:from\s+([\w.]+)\s+cimport\b|cimport\s+([\w.]+(?:\s*,\s*[\w.]+)*))")
#: What Cython brings itself, and the one package of ours that has .pxd files.
_FREE_CIMPORTS = ("cython", "cpython", "libc", "posix", "sfloop.native")


def breaches(root: Path) -> Iterator[Breach]:
    """Every breach under ``root``/sfloop/native."""
    native = root / "sfloop" / "native"
    for path in sorted(native.rglob("*")):
        if not path.is_file():
            continue
        shown = PurePosixPath(path.relative_to(root).as_posix())
        if path.suffix in (".c", ".h"):
            yield from _of_c(path, native, shown)
        elif path.suffix in (".pyx", ".pxd", ".pxi"):
            yield from _of_cython(path, native, shown)


def _of_c(path: Path, native: Path, shown: PurePosixPath) -> Iterator[Breach]:
    folder = path.relative_to(native).parts[0]
    seam = folder == "include"
    layer = path.name if seam else folder
    allowed = (SEAM_HEADERS if seam else C_LAYERS).get(layer)
    if allowed is None:
        yield Breach(shown, 1, f"{layer} is no layer of the native code: give it its place in tools/layers/rules.py")
        return
    for number, text in _lines(path):
        found = _INCLUDE.match(text)
        if found is None:
            continue
        header = found[1] or found[2]
        if PurePosixPath(header).name == "Python.h":
            yield Breach(shown, number, "handwritten C does not include Python.h: it never calls Python")
            continue
        used = _layer_of_header(header, quoted=found[1] is not None, includer=path, native=native)
        if used is not None and used != layer and used not in allowed:
            yield Breach(shown, number, f"{layer} may not include {header}: it may use {_listed(allowed)}")


def _of_cython(path: Path, native: Path, shown: PurePosixPath) -> Iterator[Breach]:
    for number, text in _lines(path):
        found = _EXTERN.match(text)
        if found is not None:
            header = found[1]
            quoted = not header.startswith("<")
            used = _layer_of_header(header.strip("<>"), quoted=quoted, includer=path, native=native)
            if used is not None and used not in CYTHON_HEADERS:
                yield Breach(shown, number, f"Cython may not declare {header}: it may use {_listed(CYTHON_HEADERS)}")
            continue
        found = _CIMPORT.match(text)
        if found is not None:
            for module in re.split(r"\s*,\s*", found[1] or found[2]):
                if not any(module == free or module.startswith(f"{free}.") for free in _FREE_CIMPORTS):
                    yield Breach(shown, number, f"Cython may not cimport {module}: it may use sfloop.native only")


def _layer_of_header(header: str, *, quoted: bool, includer: Path, native: Path) -> str | None:
    """A seam's header by its name, another of ours by its folder; None for the system's, the vendors' and Python's."""
    parts = PurePosixPath(header).parts
    if parts[0] == "sf":
        return parts[-1]
    if not quoted:
        return None
    for base in (includer.parent, native, native / "include"):
        target = (base / header).resolve()
        if target.is_relative_to(native.resolve()) and target.exists():
            inside = target.relative_to(native.resolve()).parts
            return inside[-1] if inside[0] == "include" else inside[0]
    return parts[0] if len(parts) > 1 and parts[0] in C_LAYERS else None


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    yield from enumerate(path.read_text().splitlines(), 1)


def _listed(names: frozenset[str]) -> str:
    return ", ".join(sorted(names)) or "nothing of ours"
