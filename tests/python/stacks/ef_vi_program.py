"""A program on the ef_vi driver, for test_ef_vi.py: ``python ef_vi_program.py ROLE INTERFACE OWN PEER [SPIN]``.

``echo`` answers UDP and TCP, says "ready", and serves until its input ends. ``client`` talks to it, ``group`` and
``flood`` are the two ends of a group, ``raw`` sends frames, ``inject`` sends the frames of its input to ``receive``.
Each prints its results as one JSON object.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import sys
import time
from typing import Any

import sfloop
from sfloop.ethernet import EthernetProtocol, Flow

GROUP = "239.7.7.7"
PORT, TCP_PORT, GROUP_PORT = 7001, 7002, 7003


class Echo(asyncio.DatagramProtocol):
    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.transport.sendto(data, addr)


class Inbox(sfloop.udp.BatchProtocol):
    timestamps = True

    def __init__(self) -> None:
        self.queue: asyncio.Queue[tuple[bytes, int | None]] = asyncio.Queue()

    def datagrams_received(self, batch: Any) -> None:
        for data, _, received in batch:
            self.queue.put_nowait((bytes(data), received))


async def echo(own: str, peer: str) -> None:
    loop = asyncio.get_running_loop()
    await loop.create_datagram_endpoint(Echo, local_addr=("0.0.0.0", PORT))

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
        writer.close()

    await asyncio.start_server(serve, own, TCP_PORT)
    print("ready", flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    print(json.dumps(loop.stats()["stacks"]["tcpip"]["driver"]), flush=True)  # type: ignore[attr-defined]


async def ask_udp(loop: Any, peer: str) -> int:
    transport, inbox = await loop.create_datagram_endpoint(Inbox, remote_addr=(peer, PORT))
    answers = 0
    for size in (0, 1, 17, 100, 600, 1472, 1473, 9_000):
        transport.sendto(bytes(size))
        data, _ = await asyncio.wait_for(inbox.queue.get(), 5)
        answers += len(data) == size
    received: list[int | None] = []
    for _ in range(300):
        transport.sendto(b"x")
        received.append((await asyncio.wait_for(inbox.queue.get(), 5))[1])
    stamped = sum(stamp is not None and 0 <= time.time_ns() - stamp < 10**10 for stamp in received)
    transport.close()
    return answers if stamped > 290 else -stamped


async def ask_tcp(peer: str) -> bool:
    reader, writer = await asyncio.open_connection(peer, TCP_PORT)
    payload = bytes(range(256)) * 2_000
    writer.write(payload)
    writer.write_eof()
    same = await asyncio.wait_for(reader.read(), 20) == payload
    writer.close()
    return same


async def listen_to_group(loop: Any, own: str) -> list[str]:
    """Return the group's datagrams, each once, while the peer's kernel sends to the group too."""
    transport, inbox = await loop.create_datagram_endpoint(Inbox, local_addr=("0.0.0.0", GROUP_PORT))
    sfloop.multicast.join(transport.get_extra_info("socket"), GROUP, interface=own)
    print("joined", flush=True)
    got = []
    while True:
        data, _ = await asyncio.wait_for(inbox.queue.get(), 10)
        if data == b"end":
            transport.close()
            return got
        got.append(data.decode())


async def client(own: str, peer: str) -> None:
    loop: Any = asyncio.get_running_loop()
    found = {"udp": await ask_udp(loop, peer), "tcp": await ask_tcp(peer), "mode": loop.describe()["driver"]["mode"]}
    found["driver"] = loop.stats()["stacks"]["tcpip"]["driver"]
    print(json.dumps(found), flush=True)


async def group(own: str, peer: str) -> None:
    loop: Any = asyncio.get_running_loop()
    got = await listen_to_group(loop, own)
    print(json.dumps({"got": got, "counters": loop.stats()["stacks"]["tcpip"]}), flush=True)


def datagram(hwaddr: bytes, own: str, payload: bytes) -> bytes:
    """A frame with a UDP datagram to the group."""
    udp = struct.pack("!HHHH", 5, GROUP_PORT, 8 + len(payload), 0) + payload
    addresses = socket.inet_aton(own) + socket.inet_aton(GROUP)
    ip = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(udp), 0, 0, 1, 17, 0) + addresses
    total = sum(struct.unpack("!10H", ip))
    total = (total & 0xFFFF) + (total >> 16)
    ip = ip[:10] + struct.pack("!H", ~(total + (total >> 16)) & 0xFFFF) + ip[12:]
    return b"\x01\x00\x5e\x07\x07\x07" + hwaddr + b"\x08\x00" + ip + udp


async def flood(own: str, peer: str) -> None:
    """Send each line of the input to the group, past the kernel."""
    loop: Any = asyncio.get_running_loop()
    transport, _ = await loop.create_ethernet_endpoint(EthernetProtocol, sys.argv[2], driver="ef_vi")
    print("ready", flush=True)
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        transport.send(datagram(transport.get_extra_info("hwaddr"), own, line.strip().encode()))
    transport.close()


async def inject(own: str, peer: str) -> None:
    """Send each line of the input, a frame in hexadecimal."""
    loop: Any = asyncio.get_running_loop()
    transport, _ = await loop.create_ethernet_endpoint(EthernetProtocol, sys.argv[2], driver="ef_vi")
    print("ready", flush=True)
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        transport.send(bytes.fromhex(line))
        await asyncio.sleep(0.001)
    transport.close()
    print("sent", flush=True)


async def receive(own: str, peer: str) -> None:
    """Print the port, and, after the last datagram, every payload with its sender."""
    loop: Any = asyncio.get_running_loop()
    got: list[tuple[str, Any]] = []

    class Receiver(asyncio.DatagramProtocol):
        def datagram_received(self, data: bytes, addr: Any) -> None:
            got.append((data.decode(), addr))

    transport, _ = await loop.create_datagram_endpoint(Receiver, local_addr=(own, 0))
    print(transport.get_extra_info("sockname")[1], flush=True)
    end = time.monotonic() + 10
    while time.monotonic() < end and not any(text == "the last one" for text, _ in got):
        await asyncio.sleep(0.01)
    print(json.dumps({"got": got, "driver": loop.stats()["stacks"]["tcpip"]["driver"]}), flush=True)
    transport.close()


class Frames(EthernetProtocol):
    def __init__(self) -> None:
        self.received: list[int] = []
        self.sent: list[tuple[int, int]] = []

    def frame_received(self, frame: bytes, timestamp: int) -> None:
        self.received.append(timestamp)

    def frame_sent(self, number: int, timestamp: int) -> None:
        self.sent.append((number, timestamp))


async def raw(own: str, peer: str) -> None:
    """Frames to itself are not answered; each sent frame has its number and time."""
    loop: Any = asyncio.get_running_loop()
    interface = sys.argv[2]
    transport, frames = await loop.create_ethernet_endpoint(
        Frames, interface, driver="ef_vi", filters=[Flow("udp", (own, 9))], send_timestamps=True
    )
    frame = bytes(6) + transport.get_extra_info("hwaddr") + b"\x88\xb5" + bytes(50)
    numbers = [transport.send(frame) for _ in range(100)]
    end = time.monotonic() + 5
    while len(frames.sent) < 100 and time.monotonic() < end:
        await asyncio.sleep(0.001)
    recent = all(0 <= time.time_ns() - stamp < 10**10 for _, stamp in frames.sent)
    found = {"numbers": numbers, "sent": [number for number, _ in frames.sent], "recent": recent}
    print(json.dumps(found | {"mode": transport.get_extra_info("mode")}), flush=True)
    transport.close()
    await asyncio.sleep(0)


def main() -> None:
    role, interface, own, peer = sys.argv[1:5]
    spin = sys.argv[5] if len(sys.argv) > 5 else "adaptive"
    options: dict[str, Any] = {"spin": spin}
    if role not in ("raw", "flood", "inject"):
        options |= {"driver": "ef_vi", "interface": interface, "fallback": "error"}
    sfloop.run(globals()[role](own, peer), **options)


main()
