"""The command line of ``sfloop ping``."""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
import sys
from collections.abc import Callable, Coroutine, Sequence
from textwrap import dedent
from typing import TYPE_CHECKING, Any, Final

import sfloop
from sfloop.backends.interfaces import wire_of
from sfloop.options.options import Options, from_text
from sfloop.ping import probes
from sfloop.ping.frames import icmp_by_frames
from sfloop.ping.report import as_json, lines
from sfloop.ping.rounds import HEADER, Outcome
from sfloop.ping.serve import LOOPBACK, address_of, serve

if TYPE_CHECKING:
    from sfloop.loop import Loop

#: The default port of both ends.
PORT: Final = 7007
_LARGEST: Final = 65_000
#: Options of the loop that the command takes. Their names and values are those of `sfloop run`.
_OPTIONS: Final = ("stack", "driver", "interface", "spin", "cpu", "fallback")

_PROBES: Final[dict[str, Callable[[probes.Series], Coroutine[Any, Any, Outcome]]]] = {
    "icmp": probes.icmp,
    "udp": probes.udp,
    "tcp": probes.tcp,
    "tcp-connect": probes.tcp_connect,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command. Returns the exit status: 0 if there were replies, else 1."""
    parser = _parser()
    parsed = parser.parse_args(argv)
    try:
        options = _options(parsed)
    except (ValueError, OSError) as error:
        parser.error(str(error))
    if parsed.serve:
        return _serve(parser, parsed, options)
    if parsed.host is None:
        parser.error("no host given: name a host to ping, or give --serve")
    if not HEADER <= parsed.size <= _LARGEST:
        parser.error(f"--size={parsed.size}: must be from {HEADER} to {_LARGEST} bytes")
    if parsed.count < 1 or parsed.warmup < 0 or parsed.interval < 0 or parsed.timeout <= 0:
        parser.error("--count must be 1 or more, --timeout above 0, --warmup and --interval 0 or more")
    return _ping(parser, parsed, options)


def _options(parsed: argparse.Namespace) -> Options:
    given = {
        name: from_text(name, getattr(parsed, name), label=f"--{name}")
        for name in _OPTIONS
        if getattr(parsed, name) is not None
    }
    # Never fall back silently, because a figure must belong to the stack that was asked for.
    return Options.resolve(**{"fallback": "error", **given})


def _ping(parser: argparse.ArgumentParser, parsed: argparse.Namespace, options: Options) -> int:
    bypass = options.driver is not None or options.stack in ("tcpip", "tcpdirect")
    protocol = parsed.protocol or ("udp" if bypass else "icmp")
    by_frames = protocol == "icmp" and bypass
    asked = options
    driver, interface = options.driver, options.interface or ""
    if by_frames:
        if options.stack == "tcpdirect" or options.driver == "shm" or options.interface is None:
            parser.error(
                "--protocol icmp on a bypass stack needs --interface and a frame driver that sniffs (packet, ef_vi), "
                "because TCPDirect and the shm driver have no ICMP. Use --protocol udp or tcp"
            )
        # The endpoint has a frame driver of its own, so the loop needs none.
        options = Options.resolve(stack="kernel", spin=options.spin, cpu=options.cpu)
    try:
        series = _series(parsed, asked, protocol)
        loop = sfloop.new_event_loop(options)
    except OSError as error:
        parser.error(str(error))
    try:
        if by_frames:
            outcome = loop.run_until_complete(icmp_by_frames(series, interface, driver))
        else:
            outcome = loop.run_until_complete(_PROBES[protocol](series))
        about = _about(loop, parsed, protocol, series, outcome.stack)
    except (OSError, asyncio.TimeoutError) as error:
        print(f"sfloop ping: {parsed.host}: {str(error) or 'no answer'}", file=sys.stderr)
        return 1
    finally:
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()
    if parsed.json:
        print(json.dumps(as_json(about, outcome)))
    else:
        print("\n".join(lines(about, outcome)))
    return 0 if outcome.times else 1


def _series(parsed: argparse.Namespace, options: Options, protocol: str) -> probes.Series:
    if protocol == "icmp" and options.driver not in (None, "shm"):
        parsed.family = "4"  # by frames
    family = {"4": socket.AF_INET, "6": socket.AF_INET6, None: socket.AF_UNSPEC}[parsed.family]
    kind = socket.SOCK_STREAM if protocol.startswith("tcp") else socket.SOCK_DGRAM
    port = 0 if protocol == "icmp" else parsed.port
    found = socket.getaddrinfo(parsed.host, port, family, kind)[0]
    # Name the source, because a shared-memory wire is not a network interface and the kernel would choose another one.
    source = (wire_of(options)[1], 0) if options.driver == "shm" else None
    return probes.Series(
        found[0], found[4], source, parsed.count, parsed.interval, parsed.size, parsed.timeout, parsed.warmup
    )


def _about(
    loop: Loop, parsed: argparse.Namespace, protocol: str, series: probes.Series, carried_by: str
) -> dict[str, Any]:
    described = loop.describe()
    driver = described["driver"]
    host = series.address[0]
    return {
        "target": str(host) if protocol == "icmp" else f"{host}:{series.address[1]}",
        "protocol": protocol,
        "size": parsed.size,
        "stack": described["stack"],
        "driver": None if driver is None else f"{driver['name']} ({driver['mode']})",
        "interface": described["interface"],
        "carried_by": carried_by,
    }


def _serve(parser: argparse.ArgumentParser, parsed: argparse.Namespace, options: Options) -> int:
    try:
        host = parsed.host or _own_address(options)
        loop = sfloop.new_event_loop(options)
    except (OSError, ValueError) as error:
        parser.error(str(error))

    def ready(address: str, port: int) -> None:
        print(f"echoing UDP and TCP at {address}:{port} on the {loop.describe()['stack']} stack", flush=True)

    try:
        loop.run_until_complete(serve(host, parsed.port, ready))
    except OSError as error:
        parser.error(str(error))
    finally:
        loop.close()
    return 0


def _own_address(options: Options) -> str:
    """The default address to listen at. It is not the wildcard address, because an open echo service must be asked
    for."""
    if options.driver == "shm":
        return wire_of(options)[1]
    return LOOPBACK if options.interface is None else address_of(options.interface)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="sfloop ping",
        usage="sfloop ping HOST [options]\n       sfloop ping --serve [HOST] [options]",
        description="Measure round trips to a host, one at a time, in the program: percentiles and a histogram.",
        epilog=dedent("""\
            Any host's kernel answers icmp. For udp and tcp run `sfloop ping --serve`, or another echo server, on
            the host. tcp-connect measures handshakes with any open port. The exit status is 1 if there was no
            reply."""),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    listening = f"with --serve, the address to listen on (default: that of --interface, or {LOOPBACK})"
    add("host", nargs="?", metavar="HOST", help=f"the host to ping; {listening}")
    add("--serve", action="store_true", help="be the server: echo UDP and TCP until interrupted")
    add("--protocol", choices=list(_PROBES), help="default: icmp, or udp with --stack or --driver")
    add("--port", type=int, default=PORT, help=f"the port of udp and tcp (default: {PORT})")
    family = parser.add_mutually_exclusive_group()
    family.add_argument("-4", dest="family", action="store_const", const="4", help="IPv4 only")
    family.add_argument("-6", dest="family", action="store_const", const="6", help="IPv6 only")
    add("--count", type=int, default=1000, metavar="N", help="round trips (default: 1000)")
    add("--warmup", type=int, default=100, metavar="N", help="uncounted round trips before them (default: 100)")
    add("--interval", type=float, default=0.0, metavar="S", help="seconds between two messages (default: 0)")
    add("--size", type=int, default=64, metavar="BYTES", help="size of a message without headers (default: 64)")
    add("--timeout", type=float, default=1.0, metavar="S", help="seconds after which a message is lost (default: 1)")
    add("--json", action="store_true", help="as JSON, for programs")
    for name in _OPTIONS:
        add(f"--{name}", metavar=name.upper(), help="option of the loop, as in `sfloop run`")
    return parser
