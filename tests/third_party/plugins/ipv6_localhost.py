"""A pytest plugin: skips tests that cannot work because ``localhost`` has no IPv6 address here, and says so."""

from __future__ import annotations

import re

import pytest
from third_party import localhost

REASON = "localhost has no IPv6 address on this machine: add '::1 localhost' to /etc/hosts, or run as root"
_OF_IPV6 = re.compile(r"ipv6|dualstack|test_getaddrinfo|test_connection_refused|test_tcp_listener_")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if not localhost.is_ipv6():
        for item in items:
            if _OF_IPV6.search(item.nodeid):
                item.add_marker(pytest.mark.skip(reason=REASON))
