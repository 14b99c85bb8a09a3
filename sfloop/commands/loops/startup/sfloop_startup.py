"""What a child process of ``sfloop run`` needs before sfloop is imported. Child processes import it by this name."""

from __future__ import annotations

import os
import sys
from _thread import get_ident
from collections.abc import Callable
from contextlib import suppress
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

__all__ = ["VARIABLE", "after_import", "is_heard", "value_of"]

#: The variable that tells a child process what to do: ``say`` or ``force``, and the device and inode of the standard
#: error of `sfloop run`.
VARIABLE = "SFLOOP_RUN"


def value_of(word: str) -> str:
    """The variable's value for children of this process."""
    try:
        status = os.fstat(2)
    except OSError:
        return word
    return f"{word},{status.st_dev},{status.st_ino}"


def is_heard() -> bool:
    """Whether this child's standard error is that of `sfloop run`. The program may have redirected the child's, and
    read it, so a line of ours would be in the way there."""
    ours = value_of("").split(",")[1:]
    return ours != [] and os.environ.get(VARIABLE, "").split(",")[1:] == ours


def after_import(name: str, action: Callable[[Any], None]) -> None:
    """Call ``action(module)`` as soon as the module has been imported: at once, if it has been. Does nothing for a
    module that is being imported, so call it early enough."""
    module = sys.modules.get(name)
    if module is None:
        sys.meta_path.insert(0, _Finder(name, action))
    elif not getattr(module.__spec__, "_initializing", False):
        action(module)


class _Finder(MetaPathFinder):
    """Finds one module as the other finders do, once, with a loader that calls the action."""

    def __init__(self, name: str, action: Callable[[Any], None]) -> None:
        self._name = name
        self._action = action
        self._looking: set[int] = set()  # threads in which it asks the others, who may ask it

    def find_spec(self, fullname: str, path: Any, target: ModuleType | None = None) -> ModuleSpec | None:
        thread = get_ident()
        if fullname != self._name or thread in self._looking:
            return None
        self._looking.add(thread)
        try:
            spec = self._found_by_others(fullname, path, target)
        finally:
            self._looking.discard(thread)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(self, spec.loader, self._action)
        return spec

    def _found_by_others(self, fullname: str, path: Any, target: ModuleType | None) -> ModuleSpec | None:
        for finder in list(sys.meta_path):
            find = getattr(finder, "find_spec", None)
            spec: ModuleSpec | None = None if find is None else find(fullname, path, target)
            if spec is not None:
                return spec
        return None


class _Loader(Loader):
    """Another loader, which it gives back to the module before it lets it execute the module."""

    def __init__(self, finder: _Finder, loader: Loader, action: Callable[[Any], None]) -> None:
        self._finder = finder
        self._loader = loader
        self._action = action

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        module.__loader__ = self._loader
        self._loader.exec_module(module)
        with suppress(ValueError):  # another thread may have imported it, too
            sys.meta_path.remove(self._finder)
        self._action(module)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)  # what callers of find_spec() ask a loader for, such as get_source()
