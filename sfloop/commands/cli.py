"""The ``sfloop`` command: ``run``, ``doctor``, ``ping``, ``demo``, ``bench``, ``backends``."""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from textwrap import dedent
from typing import Any

import sfloop
from sfloop.backends import Backend, backends
from sfloop.options.options import DRIVERS, FALLBACKS, SPIN_MODES, STACKS, TLS, from_text, nearest, variable_of

__all__ = ["main"]

#: What a shell's own commands exit with when they are called wrongly, and argparse too.
USAGE_ERROR = 2

#: Commands that are packages of their own with a main(), imported when they are called.
_COMMANDS_APART = {
    "doctor": "what this machine can do, what it costs as it is, and what mends it",
    "ping": "round trips by ICMP, UDP or TCP over any stack and driver, with a histogram",
    "demo": "market data and orders on asyncio, uvloop and sfloop in turn",
    "bench": "the side-by-side benchmarks",
}

_OPTION_HELP = {
    "stack": ("STACK", f"network stack: {', '.join(STACKS)}"),
    "driver": ("DRIVER", f"frame driver under the tcpip stack: {', '.join(DRIVERS)}"),
    "interface": ("NAME", "network interface to accelerate, as `ip link` names it"),
    "spin": ("SPIN", f"{', '.join(SPIN_MODES)}, or microseconds to spin after the last event before sleeping"),
    "cpu": ("N", "CPU to pin the loop's thread to"),
    "fallback": ("HOW", f"when what was asked for cannot be had: {', '.join(FALLBACKS)}"),
    "pcap": ("FILE", "write the frames that pass the tcpip stack's driver to a nanosecond pcap file"),
    "trace": ("FILE", "write a line on each of them; - is standard error"),
    "faults": ("WHAT", "have the driver lose, delay … frames, for tests: loss=1%%,delay=50us..2ms,seed=7"),
    "tcp": ("LIMITS", "limits of the tcpip stack's TCP: congestion=newreno,time_wait=5"),
    "linger": ("SECONDS", "how long closing the loop may wait for closed connections to deliver what they have sent"),
    "ring": ("FRAMES", "frames of the driver's receive ring: how long a pause a busy feed survives"),
    "tcpdirect": ("ATTRIBUTES", "attributes of TCPDirect, over those of ZF_ATTR: n_bufs=8192;pio=0"),
    "tls": ("HOW", f"records of TLS connections: {', '.join(TLS)}"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """The ``sfloop`` command. Returns the exit status; ``argv`` are the arguments without the program's name."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    # These have parsers of their own, which should also see --help.
    if arguments[:1] and arguments[0] in _COMMANDS_APART:
        command = importlib.import_module(f"sfloop.{arguments[0]}")
        status: int = command.main(arguments[1:])
        return status
    program: list[str] = []
    if arguments[:1] == ["run"]:
        options, program = _split_at_program(arguments[1:])
        arguments = ["run", *options]
    parser = _parser()
    parsed, unknown = parser.parse_known_args(arguments)
    if unknown:
        which: argparse.ArgumentParser = getattr(parsed, "parser", parser)
        which.error(f"no such option: {unknown[0]}{nearest(unknown[0], which._option_string_actions)}")
    if parsed.command is None:
        parser.print_help()
        return USAGE_ERROR
    if parsed.command == "run":
        return _run(parsed, program)
    return _backends(parsed)


def _split_at_program(arguments: list[str]) -> tuple[list[str], list[str]]:
    """``run``'s own options, and what follows: the program, which begins at ``-m``, after ``--``, or at the first
    argument that is no option, as the interpreter's own command line has it. Not left to argparse, whose REMAINDER
    loses a ``--`` that is the program's."""
    position = 0
    while position < len(arguments):
        argument = arguments[position]
        if argument == "--":
            return arguments[:position], arguments[position + 1 :]
        if argument.startswith("-m") or not argument.startswith("-") or argument == "-":
            return arguments[:position], arguments[position:]
        takes_value = argument.startswith("--") and "=" not in argument and argument != "--help"
        position += 2 if takes_value else 1
    return arguments, []


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="sfloop",
        description="An asyncio event loop for Linux that busy-polls instead of sleeping.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action=_Version)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    _add_run(commands)
    for name, text in _COMMANDS_APART.items():
        commands.add_parser(name, help=text, add_help=False)
    listing = commands.add_parser(
        "backends", help="the stacks, drivers and TLS engines that this build and machine have", allow_abbrev=False
    )
    listing.add_argument("--json", action="store_true", help="as JSON, for programs")
    listing.set_defaults(parser=listing)
    return parser


class _Version(argparse.Action):
    """``--version``, read from the package's metadata only when asked for."""

    def __init__(self, option_strings: Sequence[str], dest: str, **_: Any) -> None:
        super().__init__(option_strings, dest, nargs=0, help="the version of sfloop, and of Python")

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        print(f"sfloop {sfloop.__version__} (Python {sys.version.split()[0]})")
        parser.exit()


def _add_run(commands: Any) -> None:
    run = commands.add_parser(
        "run",
        help="run an unmodified asyncio program on sfloop",
        usage="sfloop run [options] [--] script.py [args…]\n       sfloop run [options] -m module [args…]",
        description="Run an unmodified asyncio program on sfloop, as `python script.py` or `python -m module` would.",
        epilog=dedent("""\
            The options are also set in the environment (SFLOOP_SPIN and so on), so that loops which the program
            or its child processes make with sfloop have them too. A program that chooses a loop of its own keeps
            that loop."""),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    for name, (metavar, text) in _OPTION_HELP.items():
        run.add_argument(f"--{name}", metavar=metavar, action=_Option, help=text)
    # For the help only: the program has been split off before these arguments are parsed.
    run.add_argument("-m", metavar="module", help="run a module, as python -m does; what follows belongs to it")
    run.set_defaults(options={}, parser=run)


class _Option(argparse.Action):
    """One of the loop's options, checked where it is parsed so that the error names it as it was typed."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        try:
            value = from_text(self.dest, values, label=option_string or self.dest)
        except ValueError as error:
            parser.error(str(error))
        namespace.options = {**namespace.options, self.dest: value}


def _run(parsed: argparse.Namespace, program: list[str]) -> int:
    from sfloop.commands import run as running

    if not program:
        parsed.parser.error("what to run? give a script, or -m and a module")
    first, *arguments = program
    if first == "-m":
        if not arguments:
            parsed.parser.error("-m needs the name of a module")
        first = f"-m{arguments.pop(0)}"
    try:
        running.prepare(parsed.options, {variable_of(name): str(value) for name, value in parsed.options.items()})
    except (ValueError, OSError) as error:
        parsed.parser.error(str(error))
    if first.startswith("-m"):
        running.run_module(first.removeprefix("-m"), arguments)
    else:
        running.run_script(first, arguments)
    return 0


def _backends(parsed: argparse.Namespace) -> int:
    listed = backends()
    if parsed.json:
        print(json.dumps([asdict(backend) for backend in listed], indent=2))
        return 0
    try:
        _print_table(listed)
    except ModuleNotFoundError:
        _print_plain(listed)
    return 0


def _print_table(listed: Sequence[Backend]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD)
    for heading in ("", "name", "available", "what it is", "why"):
        table.add_column(heading)
    for backend in listed:
        table.add_row(
            backend.kind,
            f"[bold]{backend.name}[/bold]",
            "[green]yes[/green]" if backend.available else "no",
            backend.description,
            backend.reason,
        )
    Console().print(table)


def _print_plain(listed: Sequence[Backend]) -> None:
    for backend in listed:
        available = "yes" if backend.available else "no"
        print(f"{backend.kind:7} {backend.name:10} {available:4} {backend.description} ({backend.reason})")
