"""The certificates of the tests over TLS."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from sfloop.native.engine import tls_session

#: What the tests over TLS run on: every engine for records. The first is what this Python has.
REFUSED: dict[str, tuple[tls_session.Engine, ...]] = {"memory-bio": ("native",), "sslproto": ("native", "memory-bio")}
#: Tests about the choice itself, and files of tests of it.
OF_ONE_ENGINE = {"test_the_engine_is_native_unless_it_is_asked_not_to_be", "test_who_has_the_records"}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    file = Path(metafunc.module.__file__).name
    if not file.startswith("test_tls") or file == "test_tls_engines.py" or "run" not in metafunc.fixturenames:
        return
    if metafunc.definition.originalname in OF_ONE_ENGINE or tls_session.refused("memory-bio") is not None:
        return
    metafunc.fixturenames.append("_engine")
    metafunc.parametrize("_engine", ["", *REFUSED], indirect=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """CPython's own loop has no engines."""

    def is_of_asyncio(item: pytest.Item) -> bool:
        chosen = getattr(item, "callspec", None)
        return chosen is not None and bool(chosen.params.get("_engine")) and chosen.params.get("loop_kind") == "asyncio"

    items[:] = [item for item in items if not is_of_asyncio(item)]


@pytest.fixture
def _engine(request: pytest.FixtureRequest) -> Iterator[None]:
    tls_session.refuse(*REFUSED.get(request.param, ()))
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
