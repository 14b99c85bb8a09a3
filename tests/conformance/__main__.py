"""``python tests/conformance [--loop asyncio|uvloop|sfloop] [--quick] [-k TEXT]``: CPython's own tests on a loop."""

from __future__ import annotations

import sys
from pathlib import Path

if __package__ in (None, ""):  # run as a directory: make the package importable by its name
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from conformance import commandline, server_command
from conformance.cpython import CPythonSuite
from conformance.exceptions import EXCEPTIONS
from conformance.forkserver.client import ForkServer
from conformance.forkserver.server import serve


def main() -> int:
    options = commandline.build_parser("Run CPython's own event-loop tests on a loop.").parse_args()
    if options.serve:
        return serve(CPythonSuite(options.loop, quick=options.quick), jobs=options.jobs)
    command = server_command(options.loop, quick=options.quick, jobs=options.jobs)
    return commandline.run(options, "CPython's tests", lambda: ForkServer(command), EXCEPTIONS)


if __name__ == "__main__":
    sys.exit(main())
