"""Raw frames: create_ethernet_endpoint over shared memory."""

from __future__ import annotations

import asyncio
import errno
import gc
import socket
import struct
from typing import Any

import pytest
import wire
from raw_frames import HEADER, PORT, Frames, is_recent, run

import sfloop
from sfloop.ethernet import EthernetBatchProtocol, EthernetProtocol, Flow


@pytest.fixture
def loop(ethernet_loop: sfloop.Loop) -> sfloop.Loop:
    return ethernet_loop


async def pair(
    loop: sfloop.Loop, protocol: Any = Frames
) -> tuple[sfloop.transports.ethernet.EthernetTransport, Any, Any, Any]:
    """Open both sides of a wire on one loop."""
    name = wire.new_name()
    near, near_protocol = await loop.create_ethernet_endpoint(Frames, f"{name}@{wire.NEAR}")
    far, far_protocol = await loop.create_ethernet_endpoint(protocol, f"{name}@{wire.FAR}")
    return near, near_protocol, far, far_protocol


# ---- shared memory ----


def test_frames_both_ways(loop: sfloop.Loop) -> None:
    async def main() -> None:
        near, near_frames, far, far_frames = await pair(loop)
        assert (near.get_extra_info("driver"), near.get_extra_info("interface")[-11:]) == ("shm", "@127.77.0.1")
        longest = near.get_extra_info("mtu") + 18
        for number, size in enumerate((14, 60, 61, 1500, longest), start=1):
            frame = HEADER + bytes(size - 14)
            sent = frame if number % 2 else memoryview(bytearray(frame))
            assert near.send(sent) == number
            got, timestamp = await far_frames.get()
            assert got == frame
            assert is_recent(timestamp)
        far.send(HEADER + b"back")
        assert (await near_frames.get())[0] == HEADER + b"back"
        assert far.stats()["rx_frames"] == 5
        assert loop.stats()["sockets"] == 3  # the two, and asyncio's self-pipe
        near.close()
        far.abort()
        assert await near_frames.lost is None
        assert await far_frames.lost is None
        assert near.send(HEADER) == 0
        assert near.stats() == {}
        assert "closed" in repr(near)

    run(loop, main())


def test_what_is_no_frame_is_refused(loop: sfloop.Loop) -> None:
    async def main() -> None:
        near, _, far, far_frames = await pair(loop)
        for bad in (b"", bytes(13), bytes(near.get_extra_info("mtu") + 19)):
            with pytest.raises(ValueError, match=f"a frame of {len(bad)} bytes"):
                near.send(bad)
        with pytest.raises(TypeError, match="'str'"):
            near.send("text")  # type: ignore[arg-type]
        assert near.send(HEADER) == 1
        assert (await far_frames.get())[0] == HEADER
        near.close()
        far.close()

    run(loop, main())


def test_a_full_ring_pauses_the_protocol_and_loses_nothing(loop: sfloop.Loop) -> None:
    async def main() -> None:
        near, near_frames, far, far_frames = await pair(loop)
        near.set_write_buffer_limits(high=20_000)
        total = 0
        for number in range(5_000):
            near.send(HEADER + number.to_bytes(4, "big") + bytes(100))
            total += 1
            if not near_frames.writing:
                break
        assert not near_frames.writing
        assert near.get_write_buffer_size() > 20_000
        for number in range(total):
            assert (await far_frames.get())[0][14:18] == number.to_bytes(4, "big")
        assert near_frames.writing
        assert near.get_write_buffer_size() == 0
        near.send(HEADER + b"last")
        near.close()
        assert (await far_frames.get())[0] == HEADER + b"last"
        far.close()

    run(loop, main())


def test_closing_sends_what_waits(loop: sfloop.Loop) -> None:
    async def main() -> None:
        near, near_frames, far, far_frames = await pair(loop)
        for number in range(1_500):
            near.send(HEADER + number.to_bytes(4, "big"))
        assert near.get_write_buffer_size() > 0
        near.close()
        for number in range(1_500):
            assert (await far_frames.get())[0][14:18] == number.to_bytes(4, "big")
        assert await near_frames.lost is None
        far.close()

    run(loop, main())


def test_paused_reading_keeps_a_burst(loop: sfloop.Loop) -> None:
    async def main() -> None:
        near, _, far, far_frames = await pair(loop)
        far.pause_reading()
        assert not far.is_reading()
        for number in range(300):
            near.send(HEADER + number.to_bytes(4, "big"))
        await asyncio.sleep(0.02)
        assert far_frames.received.empty()
        far.resume_reading()
        assert (await far_frames.get())[0][14:18] == bytes(4)
        await asyncio.sleep(0.02)
        while not far_frames.received.empty():
            far_frames.received.get_nowait()
        near.send(HEADER + b"after")
        assert (await far_frames.get())[0] == HEADER + b"after"
        near.close()
        far.close()

    run(loop, main())


class Batches(EthernetBatchProtocol):
    zero_copy = True

    def __init__(self) -> None:
        self.frames: list[bytes] = []
        self.batches = 0
        self.kept: list[Any] = []
        self.keep = False
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def frames_received(self, frames: Any) -> None:
        self.batches += 1
        for frame, timestamp in frames:
            assert isinstance(frame, memoryview)
            assert is_recent(timestamp)
            self.frames.append(bytes(frame))
            if self.keep:
                self.kept.append(memoryview(frame))
        if len(self.frames) == 100:
            self.done.set_result(None)


def test_batches_without_copies(loop: sfloop.Loop) -> None:
    async def main() -> None:
        near, _, far, batches = await pair(loop, Batches)
        for number in range(100):
            near.send(HEADER + number.to_bytes(4, "big"))
        await asyncio.wait_for(batches.done, 5)
        assert batches.frames == [HEADER + number.to_bytes(4, "big") for number in range(100)]
        assert batches.batches < 100
        near.close()
        far.close()

    run(loop, main())


def test_a_view_that_is_kept_is_reported_and_safe(loop: sfloop.Loop) -> None:
    reports: list[dict[str, Any]] = []
    kept: list[Any] = []

    async def main() -> None:
        near, _, far, batches = await pair(loop, Batches)
        loop.set_exception_handler(lambda _, context: reports.append(context))
        batches.keep = True
        near.send(HEADER + b"kept")
        while not reports:
            await asyncio.sleep(0.001)
        kept.extend(batches.kept)
        near.close()
        far.close()
        await asyncio.sleep(0.01)

    run(loop, main())
    assert isinstance(reports[0]["exception"], BufferError)
    loop.close()
    assert len(bytes(kept[0])) == 18  # the memory is there for as long as somebody looks at it
    kept.clear()
    reports.clear()


def test_exceptions_of_the_protocol_are_reported(loop: sfloop.Loop) -> None:
    class Raises(EthernetProtocol):
        def frame_received(self, frame: bytes, timestamp: int) -> None:
            raise RuntimeError(frame[14:].decode())

    reports: list[str] = []

    async def main() -> None:
        loop.set_exception_handler(lambda _, context: reports.append(str(context["exception"])))
        near, _, far, _ = await pair(loop, Raises)
        near.send(HEADER + b"one")
        near.send(HEADER + b"two")
        while len(reports) < 2:
            await asyncio.sleep(0.001)
        near.close()
        far.close()

    run(loop, main())
    assert reports == ["one", "two"]


def test_many_endpoints_come_and_go_beside_sockets(loop: sfloop.Loop) -> None:
    async def main() -> None:
        left, right = socket.socketpair()
        left.setblocking(False)
        for _ in range(30):
            near, near_frames, far, far_frames = await pair(loop)
            near.send(HEADER)
            await far_frames.get()
            right.send(b"x")
            assert await loop.sock_recv(left, 1) == b"x"
            near.close()
            far.close()
            await asyncio.gather(near_frames.lost, far_frames.lost)
        left.close()
        right.close()

    run(loop, main())


def test_as_many_as_there_is_room_for(loop: sfloop.Loop) -> None:
    async def main() -> None:
        opened = [await loop.create_ethernet_endpoint(Frames, f"{wire.new_name()}@{wire.NEAR}") for _ in range(8)]
        with pytest.raises(OSError) as raised:
            await loop.create_ethernet_endpoint(Frames, f"{wire.new_name()}@{wire.NEAR}")
        assert raised.value.errno == errno.ENOSPC
        for transport, _ in opened:
            transport.close()

    run(loop, main())


def test_beside_the_tcpip_stack() -> None:
    name = wire.new_name()
    loop = wire.open_side(name, wire.NEAR)

    async def main() -> None:
        inbox_transport, inbox = await loop.create_datagram_endpoint(wire.Inbox, local_addr=(wire.NEAR, PORT))
        far, _ = await loop.create_ethernet_endpoint(Frames, f"{name}@{wire.FAR}")
        udp = struct.pack("!HHHH", 1, PORT, 8 + 4, 0) + b"raw!"
        ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 32, 0, 0, 64, 17, 0, *map(socket.inet_aton, (wire.FAR, wire.NEAR)))
        total = sum(struct.unpack("!10H", ip))
        total = (total & 0xFFFF) + (total >> 16)
        ip = ip[:10] + struct.pack("!H", ~total & 0xFFFF) + ip[12:]
        far.send(bytes.fromhex("02007f4d0001 02007f4d0002 0800") + ip + udp)
        assert await inbox.get() == (b"raw!", (wire.FAR, 1))
        far.close()
        inbox_transport.close()

    try:
        run(loop, main())
    finally:
        loop.close()


def test_a_transport_that_is_dropped_open_warns() -> None:
    loop = sfloop.Loop(sfloop.Options(stack="kernel"))

    async def main() -> None:
        await loop.create_ethernet_endpoint(Frames, f"{wire.new_name()}@{wire.NEAR}")

    run(loop, main())
    with pytest.warns(ResourceWarning, match="unclosed transport <EthernetTransport"):
        loop.close()
        gc.collect()


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"interface": "nothere0"}, OSError, "nothere0"),
        ({"interface": "lo", "driver": "shm"}, ValueError, "wire's name"),
        ({"interface": "lo", "driver": "nodriver"}, ValueError, "nodriver"),
        ({"interface": "lo", "driver": "dpdk"}, OSError, "dpdk: not built"),
        ({"interface": "lo", "sniff": True}, OSError, "not an Ethernet|CAP_NET_RAW"),
        ({"interface": "lo", "driver": "af_xdp", "sniff": True}, OSError, "af_xdp: "),
    ],
)
def test_errors(loop: sfloop.Loop, arguments: dict[str, Any], error: type[Exception], words: str) -> None:
    async def main() -> None:
        with pytest.raises(error, match=words):
            await loop.create_ethernet_endpoint(Frames, **arguments)

    run(loop, main())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("icmp", ("10.0.0.1", 1)), "'udp' or 'tcp'"),
        (("udp", ("10.0.0", 1)), "not an IPv4 address"),
        (("udp", ("10.0.0.1", 0)), "1 to 65535"),
        (("udp", ("10.0.0.1", 1), ("", 5)), "leave remote out"),
    ],
)
def test_what_is_no_flow(arguments: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Flow(*arguments)
