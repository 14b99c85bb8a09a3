"""The certificates of the tests over TLS."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from harness.tlsfiles import Files

from sfloop.native.cores import tls_session

#: The TLS engines of the tests: the best one of this Python, its objects' methods called from C,
#: and its objects' methods called from Python, as in TLS within TLS.
ENGINES = ("", "memory-bio", "python")
#: Tests about the choice itself, and files of tests of it.
OF_ONE_ENGINE = {"test_the_engine_is_native_unless_it_is_asked_not_to_be", "test_who_has_the_records"}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    file = Path(metafunc.module.__file__).name
    if not file.startswith("test_tls") or file == "test_tls_engines.py" or "run" not in metafunc.fixturenames:
        return
    if metafunc.definition.originalname in OF_ONE_ENGINE or tls_session.refused("memory-bio") is not None:
        return
    metafunc.parametrize("_engine", ENGINES, indirect=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """CPython's own loop has no engines, and engines do not depend on stacks."""

    def is_one_too_many(item: pytest.Item) -> bool:
        chosen = getattr(item, "callspec", None)
        return chosen is not None and bool(chosen.params.get("_engine")) and chosen.params.get("loop_kind") != "sfloop"

    items[:] = [item for item in items if not is_one_too_many(item)]


class _Nobody:
    """A class without instances."""


@pytest.fixture(autouse=True)  # for pytest_generate_tests
def _engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    engine = getattr(request, "param", "")
    if engine == "memory-bio":
        tls_session.refuse("native")
    if engine == "python":
        monkeypatch.setattr("sfloop.transports.tlsprotocol.StreamCore", _Nobody)
    yield
    tls_session.refuse()


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="session")
def server_context(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost", "127.0.0.1").configure_cert(context)
    return context


@pytest.fixture(scope="session")
def client_context(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


@pytest.fixture
def files(authority: trustme.CA, tmp_path: Path) -> Files:
    return Files(authority, tmp_path)


@pytest.fixture
def contexts_of(authority: trustme.CA) -> Any:
    """Return a function that makes (server's, client's) context of a version."""

    def make(version: ssl.TLSVersion) -> tuple[ssl.SSLContext, ssl.SSLContext]:
        server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
        authority.issue_cert("localhost", "127.0.0.1").configure_cert(server)
        authority.configure_trust(client)
        for context in server, client:
            context.minimum_version = context.maximum_version = version
        return server, client

    return make
