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
    "aiofastnet": Project(
        name="aiofastnet",
        # The other modules test functions and classes of aiofastnet's own.
        arguments=("-q", "-p", "outcome_report", *_LIMITS, "tests/test_smoke.py", "tests/test_protocol_error.py"),
        needs={**_LIMIT_NEEDS, "aiofastnet": "aiofastnet", "async_timeout": "async-timeout"},
        plugins=("pytest_asyncio.plugin",),
        compiled="aiofastnet",
        environment={"NO_AIOFN": "1"},  # connections by the loop's methods, instead of aiofastnet's functions
        excluded="|".join(
            (
                r"^(?!.*(ssl_mbio|stls|start_tls))",  # tests without TLS
                r"\buvloop\b",  # a loop that is not under test
                r"ssl_mbio_fall|ssl_sbio|ktls",  # attributes that aiofastnet reads; a loop sees ssl_mbio's connections
                r"\bsimple\b",  # only aiofastnet sees a difference: for a loop these protocols are BufferedProtocols
                r"test_exc_all",  # expects data_received() for such a protocol
                r"test_exc_connection_made",  # asyncio ends a TLS connection after an exception of connection_made()
                r"test_ssl_membio_enabled|test_transport_base|test_ssl_renegotiate",  # names of aiofastnet's
                r"test_ssl_server_hostname_not_passed",  # asyncio accepts an empty name, and checks none
                r"test_ssl_timeout_validation",  # asyncio checks a server's time limits for each connection
                r"test_sendfile_ssl_not_implemented",  # asyncio raises RuntimeError, aiofastnet NotImplementedError
            )
        ),
    ),
    "picows": Project(
        name="picows",
        # The other modules have no tests over TLS, except for those of proxies, which ask a name server.
        arguments=("-q", "-p", "outcome_report", *_LIMITS, "tests/test_basics.py", "tests/test_ws_logic.py"),
        needs={**_LIMIT_NEEDS, "picows": "picows", "async_timeout": "async-timeout"},
        plugins=("pytest_asyncio.plugin",),
        compiled="picows",
        excluded="|".join(
            (
                r"^(?!.*\bssl\b)",  # tests without TLS
                r"\buvloop\b",  # a loop that is not under test
            )
        ),
    ),
}

#: The exceptions of every project. uvloop's suite consists of unittest tests, so it runs in the fork server.
EXCEPTIONS = {
    "uvloop": uvloop_exceptions.EXCEPTIONS,
    "anyio": pytest_exceptions.ANYIO,
    "pytest-asyncio": pytest_exceptions.PYTEST_ASYNCIO,
    "aiofastnet": pytest_exceptions.AIOFASTNET,
    "picows": pytest_exceptions.PICOWS,
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
