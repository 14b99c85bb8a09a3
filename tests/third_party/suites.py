"""The projects whose suites are run, and how."""

from __future__ import annotations

from conformance.commandline import DEFAULT_JOBS
from conformance.forkserver.client import ForkServer, Server
from conformance.forkserver.pytest_suite import PytestSuite, loop_under_test, quick

from . import pytest_exceptions, uvloop_exceptions, uvloop_suite
from .pytest_project import Project, PytestRun

#: Ends the worker of a test that takes longer. pytest-xdist starts another one.
_LIMITS = ("-p", "xdist", "-p", "timeout", "--timeout=30", "--timeout-method=thread", "-p", "no:cacheprovider")
_LIMIT_NEEDS = {"xdist": "pytest-xdist", "pytest_timeout": "pytest-timeout"}

PROJECTS = {
    "anyio": Project(
        name="anyio",
        source="src",
        arguments=("-q", "-p", "outcome_report", "-p", "ipv6_localhost", *_LIMITS, "tests"),
        needs={**_LIMIT_NEEDS, "pytest_mock": "pytest-mock", "trustme": "trustme", "psutil": "psutil"},
        excluded="|".join(
            (
                r"^(?!.*asyncio)",  # tests without a backend
                r"\+uvloop|\btrio\b",  # backends that are not under test
                r"test_(nonexistent|entrypoint)_main_module",  # these need a __main__ with a file, which xdist's is not
                # A race on any loop; test_anyio.py has it without the race.
                r"test_asyncio_run_does_not_leak_event_loop",
                r"::test_getaddrinfo\[",  # asks a name server on the Internet
                *((r"\+eager",) if quick() else ()),
            )
        ),
    ),
    "pytest-asyncio": Project(
        name="pytest-asyncio",
        arguments=("-q", "-p", "outcome_report", *_LIMITS, "tests"),
        needs={**_LIMIT_NEEDS, "hypothesis": "hypothesis"},
        plugins=("pytest_asyncio.plugin",),  # its tests start pytest themselves, which must find the plugin
        # These turn pytest's warning that the plugin is already imported into an error. Naming the plugin in this way
        # causes the warning.
        excluded=r"unclosed_async_gen|_asyncgen_error|test_asyncio_run_after_async_fixture_does_not_leak_loop",
    ),
}

#: The exceptions of every project. uvloop's suite consists of unittest tests, so it runs in the fork server.
EXCEPTIONS = {
    "uvloop": uvloop_exceptions.EXCEPTIONS,
    "anyio": pytest_exceptions.ANYIO,
    "pytest-asyncio": pytest_exceptions.PYTEST_ASYNCIO,
}


def start(project: str, loop: str, *, jobs: int) -> Server:
    """An object that lists and runs a project's tests. Raises SuiteError if the suite cannot run here."""
    if project == "uvloop":
        return ForkServer(*uvloop_suite.server(loop, jobs=jobs))
    return PytestRun(PROJECTS[project], loop, jobs=jobs)


def pytest_suite(project: str) -> PytestSuite:
    """A project's suite, for its pytest module."""
    return PytestSuite(
        f"{project}'s tests",
        lambda: start(project, loop_under_test(), jobs=DEFAULT_JOBS),
        EXCEPTIONS[project],
    )
