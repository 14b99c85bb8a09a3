"""Nested runs, by nest_asyncio and nest_asyncio2. Each test is a separate program, because these patch all of
asyncio."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from harness import programs

#: Only nest_asyncio2 supports Python 3.14.
PATCHES = ["nest_asyncio2"] if sys.version_info >= (3, 14) else ["nest_asyncio", "nest_asyncio2"]

HEAD = """
import warnings
warnings.simplefilter("ignore", DeprecationWarning)
import importlib
nest = importlib.import_module(sys.argv[2])
loop = new_loop(kind)
asyncio.set_event_loop(loop)
reports = []
loop.set_exception_handler(lambda loop, context: reports.append(context))

async def answer(seconds=0.01):
    await asyncio.sleep(seconds)
    return 42
"""

TAIL = """
assert not reports, reports
loop.close()
print("done")
"""


def nested(kind: str, patch: str, body: str) -> None:
    assert programs.run(kind, HEAD + body + TAIL, patch, limit=60) == "done\n"


@pytest.mark.parametrize("patch", PATCHES)
def test_applied_in_a_coroutine(loop_kind: str, patch: str) -> None:
    nested(
        loop_kind,
        patch,
        """
async def main():
    nest.apply()
    mine = asyncio.current_task()
    ticks = []
    ticker = loop.call_later(0.001, ticks.append, 1)
    assert loop.run_until_complete(answer()) == 42
    assert asyncio.current_task() is mine and asyncio.get_running_loop() is loop
    assert ticks == [1]
    assert asyncio.run(answer()) == 42
    async def deeper():
        assert loop.run_until_complete(answer()) == 42
        return asyncio.run(answer())
    assert asyncio.run(deeper()) == 42
    try:
        loop.run_until_complete(asyncio.wait_for(asyncio.sleep(9), 0.01))
    except asyncio.TimeoutError:
        pass
    return await answer()

assert loop.run_until_complete(main()) == 42
assert asyncio.run(answer()) == 42
""",
    )


@pytest.mark.parametrize("patch", PATCHES)
def test_applied_before_the_loop_runs(loop_kind: str, patch: str) -> None:
    nested(
        loop_kind,
        patch,
        """
nest.apply(loop)

async def outer():
    # A task that ends while another has the loop run ends neither run.
    short = loop.create_task(answer(0.01))
    got = loop.run_until_complete(answer(0.05))
    assert short.done()
    return got

assert loop.run_until_complete(asyncio.wait_for(outer(), 9)) == 42

# The future of the outermost run is done while a run within it continues.
late = []
async def within():
    late.append(loop.run_until_complete(answer(0.05)))
task = loop.create_task(within())
assert loop.run_until_complete(answer(0.01)) == 42
loop.run_until_complete(task)
assert late == [42]

# run_forever() within a run ends by stop(), and the outer run goes on.
async def stops():
    loop.call_later(0.01, loop.stop)
    loop.run_forever()
    return await answer()
assert loop.run_until_complete(stops()) == 42

# An exception ends the run within, and is the caller's.
async def fails():
    raise LookupError
async def catches():
    try:
        loop.run_until_complete(fails())
    except LookupError:
        return await answer()
assert loop.run_until_complete(catches()) == 42
""",
    )


@pytest.mark.parametrize("patch", PATCHES)
def test_streams_and_threads(loop_kind: str, patch: str) -> None:
    nested(
        loop_kind,
        patch,
        """
nest.apply(loop)

async def main():
    async def serve(reader, writer):
        # A handler has the loop run: the client is served meanwhile.
        data = loop.run_until_complete(reader.readexactly(5))
        writer.write(data.upper() * 100_000)
        loop.run_until_complete(writer.drain())
        writer.close()
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    writer.write(b"hello")
    assert await reader.read() == b"HELLO" * 100_000
    writer.close()
    await writer.wait_closed()
    server.close()
    await server.wait_closed()
    assert loop.run_until_complete(loop.run_in_executor(None, time.sleep, 0.01)) is None

loop.run_until_complete(main())
loop.run_until_complete(loop.shutdown_default_executor())
""",
    )


def test_a_forbidden_run_is_refused_as_on_asyncio(loop_kind: str) -> None:
    nested(
        loop_kind,
        "asyncio",
        """
assert not hasattr(loop, "_nest_patched")
async def main():
    coroutine = answer()
    try:
        loop.run_until_complete(coroutine)
    except RuntimeError as error:
        assert "already running" in str(error)
    coroutine.close()
    return await answer()
assert loop.run_until_complete(main()) == 42
""",
    )


@pytest.mark.sfloop_only("asyncio reports an error of the handle, which is running already, and loses its event")
@pytest.mark.parametrize("patch", PATCHES)
def test_a_run_in_a_callback_of_a_transport(loop_kind: str, patch: str) -> None:
    nested(
        loop_kind,
        patch,
        """
received = []

class Datagrams(asyncio.DatagramProtocol):
    def connection_made(self, transport):
        self.transport = transport
    def datagram_received(self, data, address):
        received.append(data)
        assert loop.run_until_complete(answer(0.001)) == 42  # a poll: others may receive into the same memory
        received.append(data)

class Answers(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport, self.writable = transport, loop.create_future()
        transport.set_write_buffer_limits(0)
    def data_received(self, data):
        # The callback waits for its own transport: it may send meanwhile, and does not receive.
        self.transport.write(bytes(8_000_000))
        loop.run_until_complete(self.writable)
        self.transport.close()
    def resume_writing(self):
        self.writable.set_result(None)

async def main():
    transport, _ = await loop.create_datagram_endpoint(Datagrams, local_addr=("127.0.0.1", 0))
    other, _ = await loop.create_datagram_endpoint(Datagrams, local_addr=("127.0.0.1", 0))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for i in range(40):
            sock.sendto(b"%d" % i * 100, transport.get_extra_info("sockname"))
        nest.apply()
        for i in range(40, 50):
            sock.sendto(b"%d" % i * 100, other.get_extra_info("sockname"))
        await until(lambda: len(received) == 100)

    assert sorted(received) == sorted([b"%d" % i * 100 for i in range(50)] * 2)
    transport.close()
    other.close()
    server = await loop.create_server(Answers, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    writer.write(b"x")
    assert len(await reader.read()) == 8_000_000
    writer.close()
    server.close()

loop.run_until_complete(main())
""",
    )


@pytest.mark.sfloop_only("there, two threads run the loop at a time")
@pytest.mark.parametrize("patch", PATCHES)
def test_a_run_in_another_thread_is_refused(loop_kind: str, patch: str) -> None:
    nested(
        loop_kind,
        patch,
        """
nest.apply(loop)
refused = []
def elsewhere():
    coroutine = answer()
    try:
        loop.run_until_complete(coroutine)
    except RuntimeError as error:
        refused.append(str(error))
    coroutine.close()
async def main():
    await loop.run_in_executor(None, elsewhere)
loop.run_until_complete(main())
loop.run_until_complete(loop.shutdown_default_executor())
assert refused == ["This event loop is already running in another thread"], refused
""",
    )


@pytest.mark.skipif(sys.version_info < (3, 11), reason="tasks share a context from Python 3.11")
@pytest.mark.parametrize("patch", ["nest_asyncio2"])
def test_tasks_that_share_a_context_wait_for_the_run_within(loop_kind: str, patch: str) -> None:
    nested(
        loop_kind,
        patch,
        """
import contextvars
nest.apply(loop)
order = []
async def first():
    loop.create_task(second(), context=context)
    order.append(loop.run_until_complete(answer()))
async def second():
    order.append("second")
context = contextvars.copy_context()
async def main():
    await loop.create_task(first(), context=context)
    await asyncio.sleep(0)
loop.run_until_complete(main())
assert order == [42, "second"], order
""",
    )


@pytest.mark.sfloop_only("asyncio's own queues")
@pytest.mark.skipif(sys.version_info >= (3, 14), reason="nest_asyncio does not know this version of Python")
def test_relatives_of_nest_asyncio_that_patch_the_class(loop_kind: str) -> None:
    nested(
        loop_kind,
        "nest_asyncio",
        """
class Patched(type(loop)):
    pass
loop.close()
loop = Patched()
asyncio.set_event_loop(loop)
nest._patch_loop(loop)  # without the mark in asyncio
assert Patched.__dict__["_run_once"] is not None
async def main():
    return loop.run_until_complete(answer())
assert loop.run_until_complete(main()) == 42
""",
    )


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="ib_async calls nest_asyncio")
def test_ib_async(loop_kind: str) -> None:
    nested(
        loop_kind,
        "asyncio",
        """
import ib_async.util as util
util.patchAsyncio()
assert util.run(answer()) == 42
async def main():
    return util.run(answer(), answer())
assert loop.run_until_complete(main()) == [42, 42]
""",
    )


CELLS = [
    "import asyncio; loop = asyncio.get_running_loop(); type(loop).__module__",
    "import warnings; warnings.simplefilter('ignore'); import {patch}; {patch}.apply()\n"
    "async def answer():\n    await asyncio.sleep(0.01)\n    return 42\n"
    "asyncio.run(answer()), loop.run_until_complete(answer())",
    "await answer()",
]


@pytest.mark.timeout(120)
@pytest.mark.parametrize("patch", PATCHES)
@pytest.mark.parametrize("start", ["import sfloop; sfloop.install(); ", ""], ids=["sfloop", "asyncio"])
@pytest.mark.filterwarnings("ignore")
def test_a_notebook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, start: str, patch: str) -> None:
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    kernel = tmp_path / "kernels" / "tested"
    kernel.mkdir(parents=True)
    command = [sys.executable, "-c", f"{start}from ipykernel.kernelapp import main; main()", "-f", "{connection_file}"]
    kernel.joinpath("kernel.json").write_text(json.dumps({"argv": command, "display_name": "x", "language": "python"}))
    for variable in ("JUPYTER_PATH", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR"):
        monkeypatch.setenv(variable, str(tmp_path))
    cells = [nbformat.v4.new_code_cell(source.replace("{patch}", patch)) for source in CELLS]
    notebook = nbformat.v4.new_notebook(cells=cells)
    nbclient.NotebookClient(notebook, timeout=60, kernel_name="tested").execute(cwd=str(tmp_path))
    shown: list[Any] = [cell.outputs[-1].data["text/plain"] for cell in notebook.cells]
    assert shown[0] == ("'sfloop.loop'" if start else "'asyncio.unix_events'")
    assert shown[1:] == ["(42, 42)", "42"]


@pytest.mark.parametrize("patch", PATCHES)
def test_timers_go_by_the_clock_of_a_test(loop_kind: str, patch: str) -> None:
    nested(
        loop_kind,
        patch,
        """
from sfloop.testing import Clock
nest.apply(loop)
async def main():
    return loop.run_until_complete(answer(3600)) + loop.run_until_complete(answer(3600))

with Clock(0).on(loop):
    assert loop.run_until_complete(main()) == 84
    assert loop.time() == 7200
""",
    )
