"""A pytest plugin: the module ``tests.utils`` of nats-py's tests, with the servers that they connect to.

Each test case starts its servers in setUp. The ports are those in the tests, so the tests need a network namespace of
their own.
"""

from __future__ import annotations

import asyncio
import functools
import signal
import ssl
import sys
import tempfile
import unittest
import unittest.mock  # the tests use it, and import unittest only
from collections.abc import Callable, Coroutine
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import trustme

from ecosystem.services import nats as _service

_ADDRESS = "127.0.0.1"

_folder = tempfile.TemporaryDirectory(prefix="sfloop-nats-files-")


def get_config_file(path: str) -> str:
    """The path of a file that the tests read."""
    return str(Path(_folder.name) / path)


@functools.cache
def _tls() -> tuple[dict[str, Any], ssl.SSLContext]:
    """The settings of a server that demands a certificate, and the context of a client that has one."""
    folder, authority = Path(_folder.name), trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    server = authority.issue_cert("localhost", _ADDRESS)
    server.private_key_pem.write_to_path(folder / "server-key.pem")
    for blob in server.cert_chain_pems:
        blob.write_to_path(folder / "server.pem", append=True)
    context = ssl.create_default_context()
    authority.configure_trust(context)
    authority.issue_cert("client@example.org").configure_cert(context)
    files = {
        "cert_file": str(folder / "server.pem"),
        "key_file": str(folder / "server-key.pem"),
        "ca_file": str(folder / "ca.pem"),
    }
    return {**files, "verify": True}, context


class Server:
    """A server that can be stopped and started again. A stop gives it no time to say goodbye to its clients."""

    def __init__(self, port: int, **settings: Any) -> None:
        self.http_port = port + 4000
        self._port, self._settings = port, {"http": f"{_ADDRESS}:{self.http_port}", **settings}
        self._running = ExitStack()

    def start(self) -> None:
        self._running.enter_context(_service.nats(_ADDRESS, self._port, self._settings, stop=signal.SIGKILL))

    def stop(self) -> None:
        self._running.close()


class _Case(unittest.TestCase):
    """Each of ``servers`` has a port and settings. ``at_first`` of them are started before the test."""

    servers: tuple[tuple[int, dict[str, Any]], ...] = ()
    at_first: int | None = None
    tls = False

    def setUp(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.addCleanup(self.loop.close)
        if self.tls:
            self.ssl_ctx = _tls()[1]
        self.server_pool = [Server(port, **self._settings(settings)) for port, settings in self.servers]
        for server in self.server_pool:
            self.addCleanup(server.stop)
        for server in self.server_pool[: self.at_first]:
            server.start()

    def _settings(self, settings: dict[str, Any]) -> dict[str, Any]:
        if not self.tls:
            return settings
        if "websocket" in settings:
            return {"websocket": {**settings["websocket"], "tls": _tls()[0]}}
        return {**settings, "tls": _tls()[0]}


def _user(name: str, password: str) -> dict[str, Any]:
    return {"authorization": {"user": name, "password": password}}


def _member(number: int, routes: tuple[int, ...], **settings: Any) -> tuple[int, dict[str, Any]]:
    """A member of a cluster: its client port 4222 + `number`, and the cluster's port 2000 above."""
    others = [f"nats://{_ADDRESS}:{6222 + other}" for other in routes]
    cluster = {"name": "CLUSTER", "listen": f"{_ADDRESS}:{6222 + number}", "routes": others}
    return 4222 + number, {"cluster": cluster, **settings}


class SingleServerTestCase(_Case):
    servers = ((4222, {}),)


class SingleJetStreamServerTestCase(_Case):
    servers = ((4222, {"jetstream": {}}),)


class SingleJetStreamServerLimitsTestCase(_Case):
    pass


class MultiServerAuthTestCase(_Case):
    servers = ((4223, _user("foo", "bar")), (4224, _user("hoge", "fuga")))


class MultiServerAuthTokenTestCase(_Case):
    servers = tuple((4223 + i, {"authorization": {"token": t}}) for i, t in enumerate(("token", "token", "secret")))


class NoAuthUserServerTestCase(_Case):
    servers = (
        (
            4555,
            {
                "authorization": {
                    "users": [
                        {"user": "foo", "password": "bar"},
                        {"user": "bar", "password": "bar", "permissions": {"subscribe": {"deny": ["foo"]}}},
                    ]
                },
                "no_auth_user": "foo",
            },
        ),
    )


class TLSServerTestCase(_Case):
    servers = ((4224, {}),)
    tls = True


class MultiTLSServerAuthTestCase(MultiServerAuthTestCase):
    tls = True


class TLSServerHandshakeFirstTestCase(_Case):
    pass


class SingleWebSocketServerTestCase(_Case):
    servers = ((4222, {"websocket": {"listen": f"{_ADDRESS}:8080", "no_tls": True}}),)


class SingleWebSocketTLSServerTestCase(_Case):
    servers = ((4222, {"websocket": {"listen": f"{_ADDRESS}:8081"}}),)
    tls = True


class ClusteringTestCase(_Case):
    servers = tuple(_member(number, (1, 2, 3)) for number in (1, 2, 3))
    at_first = 1


class ClusteringDiscoveryAuthTestCase(_Case):
    servers = tuple(_member(number, (1,), **_user("foo", "bar")) for number in (1, 2, 3))


class NkeysServerTestCase(_Case):
    pass


class TrustedServerTestCase(_Case):
    pass


_Test = Callable[..., Coroutine[Any, Any, None]]


def async_test(test: _Test, timeout: float = 5) -> Callable[..., None]:
    """Run the test on a loop of its own."""

    @functools.wraps(test)
    def run(case: unittest.TestCase) -> None:
        asyncio.run(asyncio.wait_for(test(case), timeout))

    return run


def async_long_test(test: _Test) -> Callable[..., None]:
    """Run the test on a loop of its own, with more time."""
    return async_test(test, timeout=10)


sys.modules["tests.utils"] = sys.modules[__name__]
