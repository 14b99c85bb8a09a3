"""The location of the demo's client, and its command on each loop."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

CLIENT = "market_data_client.py"


def locate_client() -> Path:
    """The client program: in ``examples/`` of a source checkout, or in the installed package.

    Raises FileNotFoundError, which names both places, if it is in neither.
    """
    here = Path(__file__).resolve().parent
    places = [here / "examples" / CLIENT, here.parents[1] / "examples" / CLIENT]
    for place in places:
        if place.is_file():
            return place
    raise FileNotFoundError(
        f"the demo's client is neither at {places[0]} (an installation) nor at {places[1]} (a source checkout); "
        f"reinstall sfloop, or name the file with --client"
    )


def command(loop: str, client: Path, arguments: Sequence[str], options: Sequence[str] = ()) -> list[str]:
    """The command that runs ``client`` on ``loop``: asyncio, uvloop, or sfloop with ``options``."""
    script = [str(client), *arguments]
    if loop == "asyncio":
        return [sys.executable, *script]
    if loop == "uvloop":
        return [sys.executable, str(Path(__file__).with_name("uvloop_run.py")), *script]
    return [sys.executable, "-m", "sfloop", "run", *options, *script]
