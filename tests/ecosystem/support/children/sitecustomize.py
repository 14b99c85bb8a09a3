"""Makes the loop under test asyncio's default in a process that a suite starts. See ``support.loop_in_children``."""

import asyncio
import os
import sys
import warnings

if os.environ.get("SFLOOP_TEST_LOOP") == "sfloop":
    import sfloop

    if sys.version_info < (3, 16):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of policies, from 3.14 on
            asyncio.set_event_loop_policy(sfloop.EventLoopPolicy())
