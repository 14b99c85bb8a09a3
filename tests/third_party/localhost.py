"""Tests of IPv6 that bind to ``localhost``, on a machine whose hosts file gives that name no IPv6 address.

They run in a mount namespace of their own, which needs root, with a hosts file that has such an address. Nothing
changes outside.
"""

from __future__ import annotations

import functools
import os
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path

HOSTS = Path("/etc/hosts")
_IN_NAMESPACE = 'mount --bind "$0" /etc/hosts && rm "$0" && exec "$@"'


def is_ipv6() -> bool:
    """Whether a socket can be bound to the IPv6 address of ``localhost``."""
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("localhost", 0))
    except OSError:
        return False
    return True


def command_prefix() -> list[str]:
    """The words before a command that make ``localhost`` also ``::1``. Empty if it already is, or if that is not
    possible."""
    if is_ipv6() or not _namespaces_work():
        return []
    with tempfile.NamedTemporaryFile("w", prefix="hosts-", delete=False) as hosts:  # the command removes it
        hosts.write(HOSTS.read_text() + "\n::1 localhost\n")
    os.chmod(hosts.name, 0o644)
    return ["unshare", "--mount", "sh", "-c", _IN_NAMESPACE, hosts.name]


@functools.cache
def _namespaces_work() -> bool:
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        return False
    probe = ["unshare", "--mount", "sh", "-c", "mount --bind /etc/hosts /etc/hosts"]
    return subprocess.run(probe, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0
