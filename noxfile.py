"""``nox``: the tests on every version of Python that is found here. ``make test`` is the same for one of them."""

from __future__ import annotations

import nox

PYTHONS = ["3.10", "3.11", "3.12", "3.13", "3.14", "3.15"]

nox.options.sessions = ["tests"]
nox.options.error_on_missing_interpreters = False


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """Our own tests, and those of CPython that are about the loop itself."""
    session.install(".[test]")
    session.run("python", "-m", "pytest", "tests/python", *session.posargs)
    session.run("python", "tests/conformance", "--quick")


@nox.session(python=PYTHONS[-1])
def conformance(session: nox.Session) -> None:
    """All of CPython's event-loop tests, and other projects' suites."""
    session.install(".[test]")
    session.run("python", "-m", "pytest", "tests/conformance", "tests/third_party", *session.posargs)


@nox.session(python=PYTHONS[0])
def lint(session: nox.Session) -> None:
    """ruff, the layers, mypy."""
    session.install(".[test,lint]")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("python", "tools/check_structure.py")
    session.run("mypy")
