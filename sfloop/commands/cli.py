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
from sfloop.common.names import nearest
from sfloop.options.options import DRIVERS, FALLBACKS, SPIN_MODES, STACKS, TLS, from_text, variable_of

__all__ = ["main"]

#: The exit status of a wrong command line, as in shells and argparse.
USAGE_ERROR = 2

#: Commands in packages of their own, which have a main(). They are imported on use.
_COMMANDS_APART = {
    "doctor": "check this machine: what works, what it costs, and how to fix it",
    "ping": "measure round trips by ICMP, UDP or TCP on any stack and driver",
    "demo": "run market data and orders on asyncio, uvloop and sfloop in turn",
    "bench": "run the benchmarks side by side",
}

_OPTION_HELP = {
    "stack": ("STACK", f"network stack: {', '.join(STACKS)}"),
    "driver": ("DRIVER", f"frame driver of the tcpip stack: {', '.join(DRIVERS)}"),
    "interface": ("NAME", "network interface to accelerate, as `ip link` names it"),
    "spin": ("SPIN", f"{', '.join(SPIN_MODES)}, or microseconds to spin after the last event before the loop sleeps"),
    "cpu": ("N", "CPU to pin the loop's thread to"),
    "fallback": ("HOW", f"if the stack or driver cannot be used: {', '.join(FALLBACKS)}"),
    "pcap": ("FILE", "write the frames that pass the tcpip stack's driver to a nanosecond pcap file"),
    "trace": ("FILE", "write one line about each of these frames; - is standard error"),
    "faults": ("WHAT", "faults of the driver for tests: loss=1%%,delay=50us..2ms,seed=7"),
    "tcp": ("LIMITS", "limits of the tcpip stack's TCP: congestion=newreno,time_wait=5"),
    "linger": ("SECONDS", "the longest wait of loop.close() for closed connections to deliver their data"),
    "ring": ("FRAMES", "frames in the driver's receive ring; a larger one survives a longer pause"),
    "tcpdirect": ("ATTRIBUTES", "attributes of TCPDirect, which override ZF_ATTR: n_bufs=8192;pio=0"),
    "tls": ("HOW", f"who processes TLS records: {', '.join(TLS)}"),
}


#: The options of ``run`` that take no value.
_FLAGS = ("--help", "--force")


def main(argv: Sequence[str] | None = None) -> int:
    """The ``sfloop`` command.

    :param argv: the arguments without the program's name; None: ``sys.argv``.
    :return: the exit status.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    # These commands parse their own arguments, --help included.
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
        which.error(f"unknown option: {unknown[0]}{nearest(unknown[0], which._option_string_actions)}")
    if parsed.command is None:
        parser.print_help()
        return USAGE_ERROR
    if parsed.command == "run":
        return _run(parsed, program)
    return _backends(parsed)


def _split_at_program(arguments: list[str]) -> tuple[list[str], list[str]]:
    """Split the arguments of ``run`` into its own options and the program. The program begins at ``-m``, after ``--``,
    or at the first argument that is not an option, as on the interpreter's command line. argparse cannot do this,
    because its REMAINDER loses a ``--`` that belongs to the program."""
    position = 0
    while position < len(arguments):
        argument = arguments[position]
        if argument == "--":
            return arguments[:position], arguments[position + 1 :]
        if argument.startswith("-m") or not argument.startswith("-") or argument == "-":
            return arguments[:position], arguments[position:]
        takes_value = argument.startswith("--") and "=" not in argument and argument not in _FLAGS
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
        "backends", help="list the stacks, drivers and TLS engines of this build and machine", allow_abbrev=False
    )
    listing.add_argument("--json", action="store_true", help="as JSON, for programs")
    listing.set_defaults(parser=listing)
    return parser


class _Version(argparse.Action):
    """``--version``. Reads the package's metadata only when it is used."""

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
            The options are also set in the environment (SFLOOP_SPIN and so on), so loops that the program or its
            child processes make with sfloop have them, too. A program that chooses a loop of its own keeps
            that loop, and a line on standard error says so, unless --force replaces it."""),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    for name, (metavar, text) in _OPTION_HELP.items():
        run.add_argument(f"--{name}", metavar=metavar, action=_Option, help=text)
    run.add_argument(
        "--force",
        action="store_true",
        help="replace the loops that the program chooses, uvloop's and asyncio's, by sfloop's, in child processes too",
    )
    # Only for --help, because the program has been split off before these arguments are parsed.
    run.add_argument("-m", metavar="module", help="run a module like python -m, with the arguments that follow")
    run.set_defaults(options={}, parser=run)


class _Option(argparse.Action):
    """An option of the loop. It is checked during parsing, so that the error has the name as it was typed."""

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
        parsed.parser.error("no program given: name a script, or -m and a module")
    first, *arguments = program
    if first == "-m":
        if not arguments:
            parsed.parser.error("-m needs the name of a module")
        first = f"-m{arguments.pop(0)}"
    try:
        variables = {variable_of(name): str(value) for name, value in parsed.options.items()}
        running.prepare(parsed.options, variables, forced=parsed.force)
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
    for heading in ("", "name", "available", "description", "why"):
        table.add_column(heading, overflow="fold")  # an ellipsis would hide the end of paths and variables
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
