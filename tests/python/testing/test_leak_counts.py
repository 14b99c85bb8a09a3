"""sfloop.testing.no_leaks and veth_link."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

import sfloop
from sfloop import testing
from sfloop.testing import netns
from sfloop.testing.link import INTERFACE


def test_descriptors() -> None:
    with pytest.raises(testing.LeakError, match="descriptor [0-9]+ -> pipe:") as raised, testing.no_leaks(patience=0):
        ends = os.pipe()
    assert len(raised.value.leaked) == 2
    for end in ends:
        os.close(end)


def test_loops_and_what_they_hold() -> None:
    kept: list[Any] = []
    with pytest.raises(testing.LeakError) as raised, testing.no_leaks(patience=0):
        loop = sfloop.new_event_loop()
        kept.append(loop.call_later(60, print))
        left, right = socket.socketpair()
        loop.add_reader(left, print)
    lines = "\n".join(raised.value.leaked)
    for what in ("1 live engines", "1 live timer_handles", "live watchers", "-> socket:"):
        assert what in lines
    loop.remove_reader(left)
    loop.close()
    left.close()
    right.close()


def test_a_block_that_raises() -> None:
    with pytest.raises(ZeroDivisionError), testing.no_leaks(patience=0):
        left = os.open("/dev/null", os.O_RDONLY)
        raise ZeroDivisionError
    os.close(left)


def test_a_run_leaves_nothing() -> None:
    async def main() -> None:
        await asyncio.get_running_loop().run_in_executor(None, time.sleep, 0)

    with testing.no_leaks():
        sfloop.run(main())


@pytest.mark.skipif(netns.unavailable() is not None, reason=str(netns.unavailable()))
def test_namespaces_are_deleted_also_after_a_failure() -> None:
    def named(side: testing.Side) -> bool:
        return Path("/run/netns", side.namespace).exists()

    with testing.no_leaks(), pytest.raises(ZeroDivisionError):
        with testing.veth_link(queues=2) as one, testing.veth_link() as two:
            sides = [one.near, one.far, two.near, two.far]
            assert all(map(named, sides))
            assert len({side.namespace for side in sides}) == 4
            one.set_mtu(1280)
            shown = subprocess.run(
                ["ip", "-n", one.far.namespace, "link", "show", INTERFACE], capture_output=True, text=True, check=True
            )
            assert "mtu 1280" in shown.stdout
            with pytest.raises(testing.NamespaceError, match="ip -n .* link set veth0 mtu nonsense failed"):
                one.near.set_link("mtu", "nonsense")
            raise ZeroDivisionError
    assert not any(map(named, sides))
