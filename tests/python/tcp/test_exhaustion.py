"""Running out of descriptors, and very many connections."""

from __future__ import annotations

import resource

import pytest
from harness import programs

HARD = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
MANY = 10_000 if HARD == resource.RLIM_INFINITY or HARD >= 11_000 else 2_000

EMFILE = """
import resource

class Served(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport
    def data_received(self, data):
        self.transport.write(data)

contexts = []

async def main():
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda loop, context: contexts.append(context))
    server = await loop.create_server(Served, "127.0.0.1", 0)
    address = server.sockets[0].getsockname()
    # These connections wait in the listen queue, for the process has no descriptor left to accept them with.
    clients = [socket.socket() for _ in range(20)]
    spare = [os.dup(0) for _ in range(200)]
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(spare) + 1, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    for client in clients:
        client.setblocking(False)
        client.connect_ex(address)
    await asyncio.sleep(0.2)
    assert contexts, "running out of descriptors was not reported"
    assert contexts[0]["message"] == "socket.accept() out of system resource", contexts[0]
    assert contexts[0]["exception"].errno == 24
    assert contexts[0]["socket"].getsockname() == address
    most = 20 if kind == "sfloop" else 110      # asyncio goes on for `backlog` attempts before it pauses
    assert len(contexts) < most, f"reported {len(contexts)} times: no pause between attempts"
    assert server.is_serving()
    for fd in spare:
        os.close(fd)
    for i, client in enumerate(clients):
        await loop.sock_sendall(client, b"%d" % i)
        assert await asyncio.wait_for(loop.sock_recv(client, 100), 10) == b"%d" % i
        client.close()
    server.close()
    await server.wait_closed()

loop = new_loop(kind)
loop.run_until_complete(main())
close(loop)
print("served")
"""


def test_out_of_descriptors_during_accept(loop_kind: str) -> None:
    assert programs.run(loop_kind, EMFILE) == "served\n"


CLOSE_WHILE_EMFILE = """
import resource
loop = new_loop(kind)
async def main():
    loop.set_exception_handler(lambda loop, context: None)
    server = await loop.create_server(asyncio.Protocol, "127.0.0.1", 0)
    address = server.sockets[0].getsockname()
    client = socket.socket()
    spare = [os.dup(0) for _ in range(200)]
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(spare) + 1, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    client.setblocking(False)
    client.connect_ex(address)
    await asyncio.sleep(0.05)
    server.close()              # while accepting is put off
    for fd in spare:
        os.close(fd)
    await asyncio.sleep(1.2)    # past the time when it would be tried again
    client.close()
loop.run_until_complete(main())
loop.close()
print("closed")
"""


@pytest.mark.sfloop_only("asyncio tries to serve the closed socket again and reports the failure")
def test_closing_a_server_that_is_out_of_descriptors(loop_kind: str) -> None:
    assert programs.run(loop_kind, CLOSE_WHILE_EMFILE) == "closed\n"


CLIENTS = """
import errno, resource, selectors
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
port, many = int(sys.argv[2]), int(sys.argv[3])
# Plain sockets, all connecting at once; then one byte each way on every one of them.
socks = []
for i in range(many):
    sock = socket.socket()
    sock.setblocking(False)
    error = sock.connect_ex(("127.0.0.1", port))
    assert error in (0, errno.EINPROGRESS), os.strerror(error)
    socks.append(sock)
selector = selectors.EpollSelector()
for sock in socks:
    selector.register(sock, selectors.EVENT_WRITE)
answered = 0
deadline = time.monotonic() + 60
while answered < many:
    assert time.monotonic() < deadline, f"{answered} of {many} answered"
    for key, mask in selector.select(1):
        if mask & selectors.EVENT_WRITE:
            key.fileobj.send(b"x")
            selector.modify(key.fileobj, selectors.EVENT_READ)
        else:
            assert key.fileobj.recv(10) == b"x"
            selector.unregister(key.fileobj)
            answered += 1
print(answered, flush=True)
sys.stdin.readline()
for i, sock in enumerate(socks):
    if i % 2:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, bytes([1]) + bytes(7))   # half of them reset
    sock.close()
print("closed", flush=True)
"""

SERVER = """
import gc, resource
from harness import leaks
from sfloop.testing.leaks import snapshot
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
many = int(sys.argv[2])
made = lost = 0

class Served(asyncio.Protocol):
    def connection_made(self, transport):
        global made
        made += 1
        self.transport = transport
    def data_received(self, data):
        self.transport.write(data)
    def connection_lost(self, exc):
        global lost
        lost += 1

async def main():
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Served, "127.0.0.1", 0, backlog=65535)
    print(server.sockets[0].getsockname()[1], flush=True)
    await until(lambda: made == many, 60)
    await until(lambda: lost == many, 60)
    server.close()
    await server.wait_closed()

loop = new_loop(kind)
close(loop)
before = snapshot()
loop = new_loop(kind)
loop.run_until_complete(main())
close(loop)
del loop
leaked = leaks.check(before)
assert not leaked, leaked
print(made, lost)
"""


@pytest.mark.timeout(150)
@pytest.mark.parametrize("many", [MANY])
def test_connections_opened_at_once(loop_kind: str, many: int) -> None:
    """10,000 where RLIMIT_NOFILE can be raised so far, 2,000 where it cannot: the number is in the test's id."""
    server = programs.start(loop_kind, SERVER, str(many))
    assert server.stdout is not None
    port = server.stdout.readline().strip()
    try:
        assert port, "the server did not start"
        clients = programs.start(loop_kind, CLIENTS, port, str(many))
        assert clients.stdout is not None and clients.stdin is not None
        assert clients.stdout.readline() == f"{many}\n", programs.finish(clients)
        out, err = clients.communicate("close\n", timeout=60)
        assert (out, clients.returncode) == ("closed\n", 0), err
    except BaseException:
        server.kill()
        raise
    finally:
        out, err = programs.finish(server, 70)
    assert (out, server.returncode) == (f"{many} {many}\n", 0), err
