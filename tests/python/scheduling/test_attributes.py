"""asyncio's code keeps the loop's state in attributes. They are fields of our loop, because a look-up of a method would
otherwise search the loop's dictionary first."""

from __future__ import annotations

import asyncio
import signal
import sys

import pytest
from harness.connections import tcp_pair
from harness.observed import Run
from harness.recording import Echo, Recorder


@pytest.mark.sfloop_only("asyncio's own loop has a dictionary")
def test_the_dictionary_of_a_loop_stays_empty(loop: asyncio.AbstractEventLoop, run: Run) -> None:
    assert vars(loop) == {}

    async def main() -> None:
        async with tcp_pair(Echo, Recorder):
            await asyncio.to_thread(int)
            process = await asyncio.create_subprocess_exec(sys.executable, "-c", "")
            await process.wait()
        loop.add_signal_handler(signal.SIGUSR1, int)
        loop.remove_signal_handler(signal.SIGUSR1)
        transport, _ = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, ("127.0.0.1", 0))
        transport.close()

    before = loop.get_exception_handler()
    loop.set_debug(True)
    run(main())
    loop.set_debug(False)
    loop.set_task_factory(None)
    loop.set_exception_handler(before)
    run(loop.shutdown_default_executor())
    assert vars(loop) == {}
