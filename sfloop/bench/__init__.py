"""``sfloop bench``: measures sfloop, all other installed event loops, and servers in C side by side. See README.md
here."""

from __future__ import annotations

import sys


def main(argv: list[str] | None = None) -> int:
    """Run ``sfloop bench``. Returns the exit status.

    0: measured, whether or not the bars were met. 1: the measurement failed, or sfloop failed in a case. 2: wrong
    arguments. 3: with ``--fail-slower``, this build is slower than the other. 130: interrupted.

    :param argv: the arguments; None: those of the process.
    """
    from sfloop.bench import cli
    from sfloop.bench.errors import BenchError

    try:
        options = cli.parser().parse_args(argv)
    except SystemExit as leaving:  # argparse has printed its help or an error
        return leaving.code if isinstance(leaving.code, int) else 2
    try:
        return cli.bench(options)
    except BenchError as error:
        print(f"sfloop bench: {error}", file=sys.stderr)
        return 2 if str(error).startswith("--") else 1
