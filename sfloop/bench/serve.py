"""One contender's server, or one microbenchmark: ``python -m sfloop.bench.serve --loop uvloop --program tcp.protocol``.

The programs are plain asyncio, and the same for every loop. A program prints its port to standard output (``{"port":
4711}``), and later its measurements, if it makes any. Each is one JSON object on a line.
"""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import importlib
import json
import os
import resource
import signal
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from sfloop.bench.loops import loop_factory

#: A coroutine function of a module in sfloop.bench.programs. It is called with its parameters.
Program = Callable[[Mapping[str, Any]], Coroutine[Any, Any, None]]

PROGRAMS = "sfloop.bench.programs"


def say(message: Mapping[str, Any]) -> None:
    """Write one line for the bench."""
    print(json.dumps(message), flush=True)


def program_name(program: Program) -> str:
    """The name of a program on the command line: ``module.function``."""
    module = program.__module__.rpartition(".")[2]
    return f"{module}.{program.__name__}"


def program_of(name: str) -> Program:
    """The program that has this name."""
    module, _, function = name.rpartition(".")
    program: Program = getattr(importlib.import_module(f"{PROGRAMS}.{module}"), function)
    return program


def _run(factory: Callable[[], asyncio.AbstractEventLoop], main: Coroutine[Any, Any, None]) -> None:
    """Like asyncio.Runner with a loop_factory, which Python 3.10 does not have."""
    loop = factory()
    try:
        asyncio.set_event_loop(loop)
        loop.run_until_complete(main)
    finally:
        asyncio.set_event_loop(None)
        loop.close()


def main(argv: list[str] | None = None) -> int:
    """Run a program on a loop until it ends or is killed."""
    parser = argparse.ArgumentParser(
        prog="sfloop.bench.serve", description=__doc__.splitlines()[0] if __doc__ else None
    )
    parser.add_argument("--loop", required=True, help="asyncio, or the module of an event loop")
    parser.add_argument("--program", required=True, help="module.function in sfloop.bench.programs")
    parser.add_argument("--parameters", type=json.loads, default={}, metavar="JSON", help="parameters of the program")
    parser.add_argument("--cpu", type=int, help="the CPU to run on")
    options = parser.parse_args(argv)
    # Die with the bench, because a killed bench must not leave servers that spin for ever (prctl(2): PR_SET_PDEATHSIG
    # is 1).
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    if options.cpu is not None:
        os.sched_setaffinity(0, {options.cpu})
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    program = program_of(options.program)
    _run(loop_factory(options.loop), program(options.parameters))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
