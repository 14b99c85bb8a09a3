"""The projects whose suites are run, and how."""

from __future__ import annotations

from conformance.commandline import DEFAULT_JOBS
from conformance.forkserver.client import ForkServer, Server
from conformance.forkserver.pytest_suite import PytestSuite, loop_under_test, quick

from . import pytest_exceptions, uvloop_exceptions, uvloop_suite
from .pytest_project import Project, PytestRun

#: Ends the worker of a test that takes longer; pytest-xdist starts another and goes on.
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
                r"^(?!.*asyncio)",  # tests that run on no backend
                r"\+uvloop|\btrio\b",  # the backends that are not under test
                r"test_(nonexistent|entrypoint)_main_module",  # they want a __main__ with a file; xdist's has none
                r"test_asyncio_run_does_not_leak_event_loop",  # a race, on any loop: in test_anyio.py without it
                r"::test_getaddrinfo\[",  # asks a name server on the Internet
                *((r"\+eager",) if quick() else ()),
            )
        ),
    ),
    "pytest-asyncio": Project(
        name="pytest-asyncio",
        arguments=("-q", "-p", "outcome_report", *_LIMITS, "tests"),
        needs={**_LIMIT_NEEDS, "hypothesis": "hypothesis"},
        plugins=("pytest_asyncio.plugin",),  # its tests start pytest themselves, and expect it to find the plugin
        # they make pytest's warning that the plugin is imported already, given by that way of naming it, an error
        excluded=r"unclosed_async_gen|_asyncgen_error|test_asyncio_run_after_async_fixture_does_not_leak_loop",
    ),
}

#: Every project whose suite is run; uvloop's runs in the fork server, as it is made of unittest tests.
EXCEPTIONS = {
    "uvloop": uvloop_exceptions.EXCEPTIONS,
    "anyio": pytest_exceptions.ANYIO,
    "pytest-asyncio": pytest_exceptions.PYTEST_ASYNCIO,
}


def start(project: str, loop: str, *, jobs: int) -> Server:
    """Something to list and run a project's tests with. Raises SuiteError when the suite cannot run here."""
    if project == "uvloop":
        return ForkServer(*uvloop_suite.server(loop, jobs=jobs))
    return PytestRun(PROJECTS[project], loop, jobs=jobs)


def pytest_suite(project: str) -> PytestSuite:
    """A project's suite for the pytest module that runs it."""
    return PytestSuite(
        f"{project}'s tests",
        lambda: start(project, loop_under_test(), jobs=DEFAULT_JOBS),
        EXCEPTIONS[project],
    )
