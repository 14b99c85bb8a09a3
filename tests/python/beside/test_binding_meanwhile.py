"""Other programs bind sockets to the port all the time, so the driver leaves the flow and takes it again."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections import Counter

from beside import Program, running
from harness.link import NEAR, Side

PORT, COUNT = 5981, 40_000
SO_RCVBUFFORCE = 33
# The address is not the loop socket's, so the driver takes the flow again after it has looked at the socket.
BINDER = f"""
import socket
while True:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(("127.0.0.1", {PORT}))
"""


class Inbox(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self.got: list[int] = []

    def datagram_received(self, data: bytes, addr: object) -> None:
        self.got.append(int(data))


def send(side: Side, tell: threading.Event) -> None:
    with side.socket() as sock:
        for number in range(COUNT):
            sock.sendto(b"%d" % number, (NEAR, PORT))
    tell.set()


def test_each_datagram_once(past: Program) -> None:
    ours = past.link.near.socket()
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    ours.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 64 << 20)
    ours.bind((NEAR, PORT))
    ours.setblocking(False)

    async def main() -> list[int]:
        transport, inbox = await past.loop.create_datagram_endpoint(Inbox, sock=ours)
        sent = threading.Event()
        sender = threading.Thread(target=send, args=(past.link.far, sent))
        sender.start()
        quiet = 0
        while quiet < 20:
            before = len(inbox.got)
            await asyncio.sleep(0.01)
            quiet = quiet + 1 if sent.is_set() and len(inbox.got) == before else 0
        sender.join()
        transport.close()
        return inbox.got

    with running(past.link.near, BINDER):
        got = past.run(main())
    counts = Counter(got)
    assert [number for number in range(COUNT) if number not in counts] == [], "lost"
    assert [number for number, times in counts.items() if times > 1] == [], "received twice"
    assert past.counters()["port_changes"] > 10
