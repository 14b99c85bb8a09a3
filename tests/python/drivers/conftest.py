"""A link between two namespaces, and a driver on its near end."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
from af_xdp_flow import PORT
from harness.link import NEAR, Link
from tool import Opener, Programs, Tool, compile_tool


@pytest.fixture(scope="session")
def driver_tool(tmp_path_factory: pytest.TempPathFactory) -> Programs:
    """The program with one driver in it, compiled on first use."""
    folder = tmp_path_factory.mktemp("driver_tool")
    return cache(lambda driver: compile_tool(folder, driver))


@pytest.fixture
def open_driver(driver_tool: Programs, link: Link) -> Iterator[Opener]:
    """Open a driver by name on the near end; check at the test's end that it ended properly."""
    tools: list[Tool] = []

    def open_(driver: str, *arguments: str, **options: Any) -> Tool:
        tool = Tool(driver_tool(driver), link.near, driver, *arguments, **options)
        tools.append(tool)
        return tool

    yield open_
    try:
        for tool in tools:
            if tool.process.returncode is None:
                tool.close()
    finally:
        for tool in tools:
            tool.process.kill()
            tool.process.wait()


@pytest.fixture
def peer(link: Link) -> Iterator[socket.socket]:
    """A kernel UDP socket at the far end, connected to the flow of the af_xdp tests."""
    with link.far.udp() as made:
        made.connect((NEAR, PORT))
        yield made
