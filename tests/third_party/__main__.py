"""``python tests/third_party PROJECT [--loop asyncio|uvloop|sfloop] [-k TEXT]``."""

from __future__ import annotations

import sys
from pathlib import Path

if __package__ in (None, ""):  # run as a directory: make the package importable by its name
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from conformance import commandline
from conformance.forkserver.client import Server
from conformance.forkserver.server import serve

from third_party import suites, uvloop_suite


def main() -> int:
    parser = commandline.build_parser("Run another project's own test suite on a loop.")
    parser.add_argument("project", choices=list(suites.EXCEPTIONS), help="whose suite")
    options = parser.parse_args()
    if options.serve:
        return serve(uvloop_suite.UvloopSuite(options.loop), jobs=options.jobs)

    def start() -> Server:
        return suites.start(options.project, options.loop, jobs=options.jobs)

    return commandline.run(options, f"{options.project}'s tests", start, suites.EXCEPTIONS[options.project])


if __name__ == "__main__":
    sys.exit(main())
