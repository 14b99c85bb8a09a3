"""The layers of the Python code: imports of modules at run time."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from layers.rules import PYTHON_LAYERS, Breach, python_layer

#: Cython's sources, with those that a .pyx file includes.
_CYTHON = (".pyx", ".pxi")
_PYX_IMPORT = re.compile(r"^\s*(?:from\s+([\w.]+)\s+import\b|import\s+([\w.]+))")


def breaches(root: Path) -> Iterator[Breach]:
    """Every breach in ``root``/sfloop."""
    package = root / "sfloop"
    for path in sorted(path for path in package.rglob("*") if path.suffix in (".py", *_CYTHON)):
        relative = PurePosixPath(path.relative_to(root).as_posix())
        if "__pycache__" in relative.parts:
            continue
        module = ".".join(relative.with_suffix("").parts).removesuffix(".__init__")
        layer = python_layer(module)
        if layer is None:
            yield Breach(relative, 1, f"{module} is in no layer: give it its place in tools/layers/rules.py")
            continue
        allowed = PYTHON_LAYERS[layer]
        for line, imported in _imports(path, module):
            used = python_layer(imported)
            if used is None:
                yield Breach(relative, line, f"{imported} is in no layer: give it its place in tools/layers/rules.py")
            elif used != layer and used not in allowed:
                permitted = ", ".join(sorted(allowed)) or "nothing else of sfloop"
                yield Breach(relative, line, f"{layer} may not import {imported} ({used}): it may use {permitted}")


def _imports(path: Path, module: str) -> Iterator[tuple[int, str]]:
    """(line, full name) of each import of an sfloop module, at any depth, except for type checking."""
    if path.suffix in _CYTHON:
        for number, text in enumerate(path.read_text().splitlines(), 1):
            found = _PYX_IMPORT.match(text)
            if found is not None and (found[1] or found[2]).split(".")[0] == "sfloop":
                yield number, found[1] or found[2]
        return
    tree = ast.parse(path.read_text(), filename=str(path))
    is_package = path.name == "__init__.py"
    for node in _run_time_nodes(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == "sfloop":
                    yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            source = _absolute(node, module, is_package)
            if source.split(".")[0] == "sfloop":
                for alias in node.names:
                    yield node.lineno, _submodule(path, module, source, alias.name)


def _absolute(node: ast.ImportFrom, module: str, is_package: bool) -> str:
    if node.level == 0:
        return node.module or ""
    parts = module.split(".")
    base = parts[: len(parts) - node.level + (1 if is_package else 0)]
    return ".".join([*base, *([node.module] if node.module else [])])


def _submodule(path: Path, module: str, source: str, name: str) -> str:
    """``from package import name`` imports a module if the package has one of that name. ``backends`` is an exception,
    because the public function hides the module."""
    if (source, name) == ("sfloop", "backends"):
        return source
    root = path.parents[len(module.split(".")) - (0 if path.name == "__init__.py" else 1)]
    folder = root.joinpath(*source.split("."))
    if (folder / f"{name}.py").exists() or (folder / f"{name}.pyx").exists() or (folder / name).is_dir():
        return f"{source}.{name}"
    return source


def _run_time_nodes(node: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and _is_type_checking(child.test):
            for other in child.orelse:
                yield other
                yield from _run_time_nodes(other)
            continue
        yield child
        yield from _run_time_nodes(child)


def _is_type_checking(test: ast.expr) -> bool:
    return (isinstance(test, ast.Name) and test.id == "TYPE_CHECKING") or (
        isinstance(test, ast.Attribute) and test.attr == "TYPE_CHECKING"
    )
