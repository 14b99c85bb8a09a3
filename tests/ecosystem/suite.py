"""The description of one project's suite. Each module in ``suites`` has one, by the name SUITE."""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager

from third_party.sdist import Archive

from . import suites as modules

#: A block in which a service that the tests need runs. It yields environment variables for the tests. It raises
#: SuiteError if the service cannot run here, with what is missing and what to do.
Service = Callable[[], AbstractContextManager[Mapping[str, str]]]


@dataclasses.dataclass(frozen=True)
class Suite:
    """A suite, how it is run, and the tests that it may fail.

    The plugin ``loop_under_test`` chooses the loop: asyncio's ways of making a loop give the loop under test.

    ``source`` is the archive with the tests. ``needs`` are the requirements of the tests: the project itself in the
    same version, and other packages as its test requirements say. All suites of one ``environment`` share a virtual
    environment. ``package`` is the folder of the project's package in the archive. It is removed from the unpacked
    archive unless ``keeps_package``, so that the tests import the installed package.

    ``tests`` are arguments of pytest that name the tests, ``quick`` those of ``make ecosystem-quick``; if empty, the
    suite is no part of it. ``arguments`` are further ones. ``plugins`` are the only pytest plugins that are loaded
    beside the runner's. ``variables`` are for the tests' environment. ``limit`` is the time limit of a test in seconds.

    ``left_out`` maps regular expressions for ids of tests that are not run, on any loop, to reasons. ``white_box`` maps
    regular expressions for ids of tests that fail on sfloop only to reasons: they test the internals of asyncio's loop,
    or a fault of it. An expression that matches no failed test is an error, unless only a part is run.

    ``programs`` names a file of ``programs`` with our own tests of the project, whose archive has none. They are run
    instead of ``tests``.

    ``alone``: the tests use fixed ports, so they run in a network namespace of their own, which has only a loopback
    interface.

    ``through`` names the library by which this one uses the loop, if it calls no method of the loop itself. ``probe``
    is the module in ``probes`` that uses the library over a bypass stack.
    """

    name: str
    source: Archive
    needs: tuple[str, ...]
    package: str
    tests: tuple[str, ...] = ("tests",)
    programs: str = ""
    quick: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()
    plugins: tuple[str, ...] = ()
    variables: Mapping[str, str] = dataclasses.field(default_factory=dict)
    limit: int = 60
    left_out: Mapping[str, str] = dataclasses.field(default_factory=dict)
    white_box: Mapping[str, str] = dataclasses.field(default_factory=dict)
    keeps_package: bool = False
    environment: str = "common"
    service: Service | None = None
    alone: bool = False
    through: str = ""
    probe: str = ""


def load() -> dict[str, Suite]:
    """All suites by their names, in the order of the names."""
    found = [importlib.import_module(f"{modules.__name__}.{module.name}") for module in _modules()]
    return {suite.name: suite for suite in sorted((module.SUITE for module in found), key=lambda suite: suite.name)}


def _modules() -> list[pkgutil.ModuleInfo]:
    return list(pkgutil.iter_modules(modules.__path__))
