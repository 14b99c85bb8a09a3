"""``sfloop bench``: sfloop side by side with every event loop installed and with servers in C. See README.md here."""

from __future__ import annotations

import sys


def main(argv: list[str] | None = None) -> int:
    """Runs ``sfloop bench`` with the given arguments, by default those of the process; returns the exit status.

    0: measured, whether or not the bars were met. 1: it could not be measured, or sfloop failed in a case.
    2: the arguments are wrong. 3: with ``--fail-slower``, this build is slower than the other. 130: interrupted.
    """
    from sfloop.bench import cli
    from sfloop.bench.errors import BenchError

    try:
        options = cli.parser().parse_args(argv)
    except SystemExit as leaving:  # argparse has written its help or its error
        return leaving.code if isinstance(leaving.code, int) else 2
    try:
        return cli.bench(options)
    except BenchError as error:
        print(f"sfloop bench: {error}", file=sys.stderr)
        return 2 if str(error).startswith("--") else 1
