"""The layers of the native code: the includes of C, and the includes and cimports of Cython."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from layers.rules import C_LAYERS, CYTHON_HEADERS, IMPURE_CALL, PURE_LAYERS, SEAM_HEADERS, Breach

_INCLUDE = re.compile(r'^\s*#\s*include\s*(?:"([^"]+)"|<([^>]+)>)')
_EXTERN = re.compile(r"""^\s*cdef\s+extern\s+from\s+["']([^"']+)["']""")
_CIMPORT = re.compile(r"^\s*(?:from\s+([\w.]+)\s+cimport\b|cimport\s+([\w.]+(?:\s*,\s*[\w.]+)*))")
_IMPURE = re.compile(IMPURE_CALL)
#: A declaration or definition, in the first column, of a function that other files can call.
_FUNCTION = re.compile(r"(?!static\b|typedef\b|return\b)[a-z]\w*[\w\s*]*?\b(\w+)\([^()]*\)?")
#: Packages that any Cython module may cimport: Cython's own, and our only one with .pxd files.
_FREE_CIMPORTS = ("cython", "cpython", "libc", "posix", "sfloop.native")


def breaches(root: Path) -> Iterator[Breach]:
    """Every breach in ``root``/sfloop/native."""
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
    inside = PurePosixPath(path.relative_to(native).as_posix())
    seam = inside.parts[0] == "include"
    layer = path.name if seam else _folder_of(inside)
    allowed = (SEAM_HEADERS if seam else C_LAYERS).get(layer or "")
    if allowed is None:
        place = path.name if seam else inside.parent
        yield Breach(shown, 1, f"{place} is no layer of the native code: give it its place in tools/layers/rules.py")
        return
    if layer in PURE_LAYERS:
        yield from _of_pure_c(path, layer, shown)
    for number, text in _lines(path):
        found = _INCLUDE.match(text)
        if found is None:
            continue
        header = found[1] or found[2]
        if PurePosixPath(header).name == "Python.h":
            yield Breach(shown, number, "handwritten C does not include Python.h: it never calls Python")
            continue
        used = _layers_of_header(header, quoted=found[1] is not None, includer=path, native=native)
        if used and layer not in used and not used & allowed:
            yield Breach(shown, number, f"{layer} may not include {header}: it may use {_listed(allowed)}")


def _of_pure_c(path: Path, layer: str, shown: PurePosixPath) -> Iterator[Breach]:
    """The system's headers that a pure layer may not include, its calls of impure functions, and functions of others
    that it declares itself."""
    allowed = PURE_LAYERS[layer]
    for number, text in _lines(path):
        included, called, declared = _INCLUDE.match(text), _IMPURE.search(text), _FUNCTION.match(text)
        if included is not None:
            header = included[2]
            if header and header not in allowed and _folder_of(PurePosixPath(header)) is None and header[:3] != "sf/":
                says = f"{layer} is pure, and may not include {header}: it may use {_listed(allowed)}"
                yield Breach(shown, number, says)
        elif called is not None:
            says = f"{layer} is pure, and may not call {called[1]}(): take the value as an argument"
            yield Breach(shown, number, says)
        elif declared is not None and not declared[1].startswith("sf_"):
            says = f"{layer} is pure, and may not declare {declared[1]}(): only names that begin with sf_ are its own"
            yield Breach(shown, number, says)


def _of_cython(path: Path, native: Path, shown: PurePosixPath) -> Iterator[Breach]:
    for number, text in _lines(path):
        found = _EXTERN.match(text)
        if found is not None:
            header = found[1]
            quoted = not header.startswith("<")
            used = _layers_of_header(header.strip("<>"), quoted=quoted, includer=path, native=native)
            if used and not used & CYTHON_HEADERS:
                yield Breach(shown, number, f"Cython may not declare {header}: it may use {_listed(CYTHON_HEADERS)}")
            continue
        found = _CIMPORT.match(text)
        if found is not None:
            for module in re.split(r"\s*,\s*", found[1] or found[2]):
                if not any(module == free or module.startswith(f"{free}.") for free in _FREE_CIMPORTS):
                    yield Breach(shown, number, f"Cython may not cimport {module}: it may use sfloop.native only")


def _layers_of_header(header: str, *, quoted: bool, includer: Path, native: Path) -> frozenset[str]:
    """The names by which a rule may allow one of our headers: a seam's own name, or the folder and path of another
    header.

    Empty for headers of the system, the vendors and Python.
    """
    parts = PurePosixPath(header).parts
    if parts[0] == "sf":
        return frozenset({parts[-1]})
    for base in (*([includer.parent] if quoted else []), native, native / "include"):
        target = (base / header).resolve()
        if target.is_relative_to(native.resolve()) and target.exists():
            return _names(PurePosixPath(target.relative_to(native.resolve()).as_posix()))
    return _names(PurePosixPath(header)) if len(parts) > 1 else frozenset()


def _names(inside: PurePosixPath) -> frozenset[str]:
    if inside.parts[0] == "include":
        return frozenset({inside.name})
    folder = _folder_of(inside)
    return frozenset({folder, inside.as_posix()}) if folder else frozenset()


def _folder_of(inside: PurePosixPath) -> str | None:
    """The longest folder of C_LAYERS that contains a file of sfloop/native."""
    for folder in inside.parents:
        if folder.as_posix() in C_LAYERS:
            return folder.as_posix()
    return None


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    yield from enumerate(path.read_text().splitlines(), 1)


def _listed(names: frozenset[str]) -> str:
    return ", ".join(sorted(names)) or "nothing of ours"
