"""CPython's regression tests for asyncio as a suite for the fork server."""

from __future__ import annotations

import asyncio
import dataclasses
import importlib
import importlib.machinery
import importlib.util
import pkgutil
import platform
import sys
import types
import unittest
import warnings
from collections.abc import Iterator

from . import hooks, loops, selection
from .forkserver.outcome import Outcome, Status
from .forkserver.suite import Suite, SuiteError

PACKAGE = "test.test_asyncio"

#: Modules outside ``test.test_asyncio`` whose tests run coroutines on a loop. The names differ between versions.
OTHER_MODULES = (
    ("test.test_asyncgen",),
    ("test.test_contextlib_async",),
    ("test.test_unittest.test_async_case", "unittest.test.test_async_case"),
)

MISSING = """\
CPython's own tests are not installed for {python}: there is no module {package}.
They are part of CPython, but some builds leave them out. To install them:
    Debian, Ubuntu:       apt-get install libpython{version}-testsuite
    Fedora:               dnf install python3-test
    pyenv, python.org:    included
    uv, conda and others: use one of the above, as their builds leave the tests out"""


class CPythonSuite(Suite):
    """The event-loop tests of the running interpreter, on the loop of this name.

    ``quick`` selects only tests of the loop itself. Ids are ``module.Class.method`` without the package.
    """

    time_limit = 30.0

    def __init__(self, loop: str, *, quick: bool = False) -> None:
        self._loop = loop
        self._quick = quick
        self._creations: loops.Creations | None = None

    def load(self) -> list[str]:
        modules = list(_modules())
        chosen = loops.target(self._loop)
        self._creations = loops.substitute(chosen)
        _share_ids(modules)
        tests: list[str] = []
        unknown: list[str] = []
        for module in modules:
            for name, cls in _test_classes(module):
                class_name = f"{module.__name__.rpartition('.')[2]}.{name}"
                choice = selection.choose(class_name)
                methods = unittest.defaultTestLoader.getTestCaseNames(cls)
                if choice is None and methods:
                    unknown.append(class_name)
                elif choice and choice.run and (choice.quick or not self._quick):
                    hooks.use_loop(class_name, cls, chosen)
                    ids = (f"{class_name}.{method}" for method in methods)
                    tests.extend(test_id for test_id in ids if not selection.is_excluded(test_id))
        if unknown:
            raise SuiteError(
                f"tests/conformance/selection.py does not say whether to run {', '.join(unknown)} of "
                f"Python {platform.python_version()}: add each to one of its tables"
            )
        return tests

    id_prefix = "cpython_asyncio_tests."

    def started(self, test_id: str) -> None:
        assert self._creations is not None
        self._creations.reset()
        asyncio.set_event_loop(None)  # a few tests rely on a call by an earlier test

    def finished(self, outcome: Outcome) -> Outcome:
        assert self._creations is not None
        if self._creations.foreign:
            made = ", ".join(self._creations.foreign)
            return dataclasses.replace(
                outcome,
                status=Status.ERROR,
                detail=f"the test made asyncio's own loop ({made}) beside the one under test\n{outcome.detail}",
            )
        if outcome.status is Status.PASS and not self._creations.under_test:
            return dataclasses.replace(outcome, status=Status.NO_LOOP, detail="the test made no event loop")
        return outcome


def _modules() -> Iterator[types.ModuleType]:
    try:
        package = importlib.import_module(PACKAGE)
    except ImportError as error:
        version = f"{sys.version_info[0]}.{sys.version_info[1]}"
        raise SuiteError(MISSING.format(python=sys.executable, package=PACKAGE, version=version)) from error
    names = [m.name for m in pkgutil.iter_modules(package.__path__) if m.name.startswith("test_")]
    for name in sorted(names):
        try:
            yield _import(f"{PACKAGE}.{name}")
        except unittest.SkipTest:
            continue  # "Windows only", which the names of these modules say
    for alternatives in OTHER_MODULES:
        yield _import_first(alternatives)


def _import(name: str) -> types.ModuleType:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # CPython's tests use deprecated functions to test them
        return importlib.import_module(name)


def _import_first(names: tuple[str, ...]) -> types.ModuleType:
    for name in names:
        try:
            return _import(name)
        except ModuleNotFoundError:
            continue
    raise SuiteError(f"none of the test modules {', '.join(names)} exists in Python {platform.python_version()}")


def _share_ids(modules: list[types.ModuleType]) -> None:
    """Make ``id_prefix`` importable: a namespace with every test module, so that ids are short and uniform."""
    namespace = types.ModuleType(CPythonSuite.id_prefix.rstrip("."))
    # Python 3.15 formats the traceback of a failed import below it, which needs its spec.
    namespace.__spec__ = importlib.machinery.ModuleSpec(namespace.__name__, None, is_package=True)
    sys.modules[namespace.__name__] = namespace
    for module in modules:
        setattr(namespace, module.__name__.rpartition(".")[2], module)


def _test_classes(module: types.ModuleType) -> Iterator[tuple[str, type[unittest.TestCase]]]:
    for name, value in vars(module).items():
        if isinstance(value, type) and issubclass(value, unittest.TestCase) and value.__module__ == module.__name__:
            yield name, value
