"""os.fork and multiprocessing while loops exist.

Each program is written out whole, although some lines recur, because the order of loop, fork and callback is the test.
"""

from __future__ import annotations

import pytest
from harness import programs

# The child runs its own loop, opens a connection, and exits cleanly.
CHILD = """
def child_work():
    loop = new_loop(kind)
    async def main():
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(b"child\\n")
        assert await reader.readline() == b"CHILD\\n"
        writer.close()
        await writer.wait_closed()
        server.close()
        await asyncio.sleep(0.01)
    async def serve(reader, writer):
        writer.write((await reader.readline()).upper())
        writer.close()
        await writer.wait_closed()
    loop.run_until_complete(asyncio.wait_for(main(), 10))
    close(loop)

def forked(work):
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            work()
            status = 0
        except BaseException:
            import traceback
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
    return pid

def reap(pid):
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert status == 0, f"the child ended with {status}"
"""

NOT_RUNNING = (
    CHILD
    + """
loop = new_loop(kind)
a, b = socket.socketpair()
seen = []
loop.add_reader(b, lambda: (seen.append(b.recv(100)), loop.stop()))
reap(forked(child_work))
a.send(b"the parent's")
loop.run_forever()
assert seen == [b"the parent's"]
close(loop)
print("both work")
"""
)

RUNNING = (
    CHILD
    + """
async def main():
    loop = asyncio.get_running_loop()
    a, b = socket.socketpair()
    seen = []
    loop.add_reader(b, lambda: seen.append(b.recv(100)))
    pid = forked(child_work)
    # The child spins, sleeps and closes its own loop meanwhile; the parent must not lose an event to it.
    for i in range(50):
        a.send(b"x")
        await until(lambda: len(seen) == i + 1)
        loop.call_soon_threadsafe(int)
        await asyncio.sleep(0.002)
    await asyncio.get_running_loop().run_in_executor(None, reap, pid)
    loop.remove_reader(b)
loop = new_loop(kind)
loop.run_until_complete(main())
close(loop)
print("both work")
"""
)

INHERITED = (
    CHILD
    + """
async def main():
    loop = asyncio.get_running_loop()
    a, b = socket.socketpair()
    seen = []
    loop.add_reader(b, lambda: seen.append(b.recv(100)))
    timer = loop.call_later(3600, print)

    def use_inherited():
        # This runs inside the parent's callback. The child's calls on the inherited loop must not affect the parent.
        for call in (
            lambda: loop.call_soon(int),
            lambda: loop.call_later(0, int),
            lambda: loop.call_soon_threadsafe(int),
            lambda: loop.remove_reader(b),
            lambda: loop.add_reader(a, int),
            lambda: loop.remove_reader(a),
            lambda: timer.cancel(),
            lambda: loop.stop(),
            lambda: loop.time(),
            lambda: loop.is_running(),
        ):
            try:
                call()
            except (RuntimeError, OSError, ValueError):
                pass
        os.close(b.fileno())
    reap(forked(use_inherited))
    assert not timer.cancelled()
    a.send(b"still watched")
    await until(lambda: seen == [b"still watched"])
    loop.remove_reader(b)
    timer.cancel()
loop = new_loop(kind)
loop.run_until_complete(main())
close(loop)
print("the parent is not disturbed")
"""
)

OWN_LOOP_INSIDE = (
    CHILD
    + """
async def main():
    # As multiprocessing does it: a fork inside a callback of the running loop, and a loop of the child's own there.
    reap(forked(child_work))
    await asyncio.sleep(0.001)
loop = new_loop(kind)
loop.run_until_complete(main())
close(loop)
print("done")
"""
)

CLOSED_IN_CHILD = (
    CHILD
    + """
loop = new_loop(kind)
a, b = socket.socketpair()
seen = []
loop.add_reader(b, lambda: (seen.append(b.recv(100)), loop.stop()))
def close_inherited():
    loop.close()
    assert loop.is_closed()
    child_work()
reap(forked(close_inherited))
a.send(b"x")
loop.run_forever()
assert seen == [b"x"]
close(loop)
print("done")
"""
)

RUN_IN_CHILD = (
    CHILD
    + """
loop = new_loop(kind)
timer = []
loop.call_later(0.05, timer.append, "fired")
def run_inherited():
    # A loop that was idle at the fork can be run in the child.
    loop.call_later(0.1, loop.stop)
    loop.run_forever()
    assert timer == ["fired"], timer
    loop.call_soon_threadsafe(loop.stop)
    loop.run_forever()
reap(forked(run_inherited))
assert timer == []
loop.call_later(0.1, loop.stop)
loop.run_forever()
assert timer == ["fired"]
close(loop)
print("done")
"""
)

MULTIPROCESSING = """
import multiprocessing
from concurrent.futures import ProcessPoolExecutor

def in_child(i):
    loop = new_loop(kind)
    try:
        return loop.run_until_complete(asyncio.sleep(0.001, i * i))
    finally:
        loop.close()

async def main():
    loop = asyncio.get_running_loop()
    context = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(2, mp_context=context) as pool:
        results = await asyncio.gather(*(loop.run_in_executor(pool, in_child, i) for i in range(10)))
    assert results == [i * i for i in range(10)], results

if __name__ == "__main__":
    loop = new_loop(kind)
    loop.run_until_complete(asyncio.wait_for(main(), 15))
    close(loop)
    print("done")
"""

SIGNALS_APART = (
    CHILD
    + """
async def main():
    loop = asyncio.get_running_loop()
    seen = []
    loop.add_signal_handler(signal.SIGUSR1, seen.append, "parent")
    def raise_in_child():
        signal.signal(signal.SIGUSR1, lambda *args: None)
        for _ in range(10):
            os.kill(os.getpid(), signal.SIGUSR1)
        child_work()
    reap(forked(raise_in_child))
    await asyncio.sleep(0.02)
    assert seen == [], seen
    os.kill(os.getpid(), signal.SIGUSR1)
    await until(lambda: seen == ["parent"])
    loop.remove_signal_handler(signal.SIGUSR1)
loop = new_loop(kind)
loop.run_until_complete(main())
close(loop)
print("done")
"""
)

CONNECTIONS_STAY = (
    CHILD
    + """
class Echo(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport
    def data_received(self, data):
        self.transport.write(data)

async def main():
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Echo, "127.0.0.1", 0)
    address = server.sockets[0].getsockname()
    reader, writer = await asyncio.open_connection(*address)
    pid = forked(child_work)
    for i in range(20):
        writer.write(b"%d\\n" % i)
        assert await reader.readline() == b"%d\\n" % i
        r, w = await asyncio.open_connection(*address)
        w.write(b"new\\n")
        assert await r.readline() == b"new\\n"
        w.close()
        await w.wait_closed()
    await loop.run_in_executor(None, reap, pid)
    writer.close()
    await writer.wait_closed()
    await asyncio.sleep(0.01)
    server.close()
    await server.wait_closed()
loop = new_loop(kind)
loop.run_until_complete(asyncio.wait_for(main(), 15))
close(loop)
print("done")
"""
)

# CPython warns about a fork in a process with threads, and an executor's idle thread is one.
QUIET = "ignore::DeprecationWarning"


@pytest.mark.parametrize(
    ("program", "output"),
    [
        pytest.param(NOT_RUNNING, "both work", id="a loop that does not run"),
        pytest.param(RUNNING, "both work", id="a loop that runs"),
        pytest.param(OWN_LOOP_INSIDE, "done", id="the child's own loop inside a callback"),
        pytest.param(MULTIPROCESSING, "done", id="multiprocessing"),
        pytest.param(CONNECTIONS_STAY, "done", id="connections of the parent"),
    ],
)
def test_fork(loop_kind: str, program: str, output: str) -> None:
    assert programs.run(loop_kind, program, PYTHONWARNINGS=QUIET) == f"{output}\n"


@pytest.mark.sfloop_only("asyncio shares its epoll set and its self-pipe with the child")
@pytest.mark.parametrize(
    ("program", "output"),
    [
        pytest.param(INHERITED, "the parent is not disturbed", id="the child uses the inherited loop"),
        pytest.param(CLOSED_IN_CHILD, "done", id="the child closes the inherited loop"),
        pytest.param(RUN_IN_CHILD, "done", id="the child runs the inherited loop"),
        pytest.param(SIGNALS_APART, "done", id="signals of the child"),
    ],
)
@pytest.mark.parametrize("spin", ["adaptive", "never", "always"])
def test_isolation(loop_kind: str, program: str, output: str, spin: str) -> None:
    assert programs.run(loop_kind, program, SFLOOP_SPIN=spin, PYTHONWARNINGS=QUIET) == f"{output}\n"
