"""Run a Python script on uvloop: ``python uvloop_run.py script.py args…``, the counterpart of ``sfloop run``."""

import sys
from pathlib import Path

if __name__ == "__main__":
    del sys.argv[0]
    # As for a script that is run directly; and first of all, lest modules beside this file are imported.
    sys.path[0] = str(Path(sys.argv[0]).resolve().parent)

    import asyncio
    import runpy
    import warnings

    import uvloop

    with warnings.catch_warnings():
        # Event loop policies are deprecated since Python 3.14. For a script that calls asyncio.run() by itself, and
        # passes it no loop factory, there is no other way in.
        warnings.simplefilter("ignore", DeprecationWarning)
        asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    runpy.run_path(sys.argv[0], run_name="__main__")
