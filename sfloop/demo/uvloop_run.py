"""Run a Python script on uvloop: ``python uvloop_run.py script.py args…``, the counterpart of ``sfloop run``."""

import sys
from pathlib import Path

if __name__ == "__main__":
    del sys.argv[0]
    # As for a script that is run directly. Do this first, so that no module beside this file is imported.
    sys.path[0] = str(Path(sys.argv[0]).resolve().parent)

    import asyncio
    import runpy
    import warnings

    import uvloop

    with warnings.catch_warnings():
        # Event loop policies are deprecated since Python 3.14, but a script that calls asyncio.run() without a loop
        # factory offers no other way.
        warnings.simplefilter("ignore", DeprecationWarning)
        asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    runpy.run_path(sys.argv[0], run_name="__main__")
