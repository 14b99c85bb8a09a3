"""Raw frames: create_ethernet_endpoint over shared memory, AF_PACKET and AF_XDP."""

from __future__ import annotations

import asyncio
import errno
import gc
import socket
import struct
import time
from collections.abc import Coroutine, Iterator
from typing import Any

import pytest
import wire
from harness.link import FAR, INTERFACE, NEAR, Link, made_link, unavailable

import sfloop
from sfloop.ethernet import EthernetBatchProtocol, EthernetProtocol, Flow
from sfloop.testing import live_objects

PORT = 7001
HEADER = bytes(range(12)) + struct.pack("!H", 0x88B5)  # a type for experiments (IEEE 802)


class Frames(EthernetProtocol):
    """Keeps received frames."""

    def __init__(self) -> None:
        self.received: asyncio.Queue[tuple[bytes, int]] = asyncio.Queue()
        self.lost: asyncio.Future[BaseException | None] = asyncio.get_running_loop().create_future()
        self.writing = True
        self.pauses = 0

    def connection_lost(self, exc: BaseException | None) -> None:
        self.lost.set_result(exc)

    def frame_received(self, frame: bytes, timestamp: int) -> None:
        self.received.put_nowait((frame, timestamp))

    def pause_writing(self) -> None:
        self.writing = False
        self.pauses += 1

    def resume_writing(self) -> None:
        self.writing = True

    async def get(self) -> tuple[bytes, int]:
        return await asyncio.wait_for(self.received.get(), 5)

    async def udp(self, payload: bytes) -> int:
        """Return the timestamp of the frame that ends with a UDP payload; skip others."""
        while True:
            frame, timestamp = await self.get()
            if frame.endswith(payload):
                return timestamp


@pytest.fixture(params=["adaptive", "never"])
def loop(request: pytest.FixtureRequest) -> Iterator[sfloop.Loop]:
    made = sfloop.Loop(sfloop.Options(spin=request.param, stack="kernel"))
    yield made
    made.close()
    gc.collect()
    assert live_objects()["ethernet_transports"] == 0


def run(loop: sfloop.Loop, main: Coroutine[Any, Any, Any]) -> Any:
    return loop.run_until_complete(asyncio.wait_for(main, 20))


async def pair(
    loop: sfloop.Loop, protocol: Any = Frames
) -> tuple[sfloop.transports.ethernet.EthernetTransport, Any, Any, Any]:
    """Open both sides of a wire on one loop."""
    name = wire.new_name()
    near, near_protocol = await loop.create_ethernet_endpoint(Frames, f"{name}@{wire.NEAR}")
    far, far_protocol = await loop.create_ethernet_endpoint(protocol, f"{name}@{wire.FAR}")
    return near, near_protocol, far, far_protocol


def is_recent(timestamp: int) -> bool:
    return 0 <= time.time_ns() - timestamp < 5_000_000_000


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


# ---- an interface of the kernel ----


@pytest.fixture
def link() -> Iterator[Link]:
    reason = unavailable()
    if reason:
        pytest.skip(reason)
    with made_link() as made:
        yield made


class OnLink:
    """The loop on the near end of the link."""

    def __init__(self, loop: sfloop.Loop, link: Link) -> None:
        self.loop, self.link = loop, link

    def run(self, main: Coroutine[Any, Any, Any]) -> Any:
        with self.link.near.entered():
            return run(self.loop, main)


@pytest.fixture
def on_link(loop: sfloop.Loop, link: Link) -> OnLink:
    return OnLink(loop, link)


@pytest.mark.parametrize("driver", ["packet", "af_xdp", None])
def test_frames_of_a_flow(on_link: OnLink, driver: Any) -> None:
    flow = Flow("udp", (NEAR, PORT))

    async def main() -> None:
        transport, frames = await on_link.loop.create_ethernet_endpoint(
            Frames, INTERFACE, driver=driver, filters=[flow]
        )
        assert transport.get_extra_info("driver") == (driver or "af_xdp")
        assert transport.get_extra_info("hwaddr") == on_link.link.near.mac()
        with on_link.link.near.udp(PORT) as kernel, on_link.link.far.udp() as made:
            made.sendto(b"to the endpoint", (NEAR, PORT))
            assert is_recent(await frames.udp(b"to the endpoint"))
            with pytest.raises(OSError) as raised:
                transport.add_filter(flow)
            assert raised.value.errno == errno.EEXIST
            transport.remove_filter(flow)
            made.sendto(b"to the kernel", (NEAR, PORT))
            assert kernel.recv(100) == b"to the kernel"
            kernel.setblocking(False)
            transport.add_filter(flow)
            made.sendto(b"to the endpoint again", (NEAR, PORT))
            await frames.udp(b"to the endpoint again")
            with pytest.raises(BlockingIOError):
                kernel.recv(100)
        transport.close()

    on_link.run(main())


@pytest.mark.parametrize("driver", ["packet", "af_xdp"])
def test_frames_sent_arrive(on_link: OnLink, driver: Any) -> None:
    async def main() -> None:
        with on_link.link.far.raw() as raw:
            transport, _ = await on_link.loop.create_ethernet_endpoint(Frames, INTERFACE, driver=driver)
            frame = on_link.link.far.mac() + on_link.link.near.mac() + struct.pack("!H", 0x88B5) + bytes(100)
            for _ in range(100):
                assert transport.send(frame)
            raw.settimeout(5)
            seen = 0
            while seen < 100:
                seen += raw.recv(2000) == frame
            transport.close()

    on_link.run(main())


def test_sniffing_takes_nothing_away(on_link: OnLink) -> None:
    async def main() -> None:
        transport, frames = await on_link.loop.create_ethernet_endpoint(Frames, INTERFACE, sniff=True)
        assert transport.get_extra_info("driver") == "packet"
        with on_link.link.near.udp(PORT) as kernel, on_link.link.far.udp() as made, on_link.link.far.raw() as raw:
            made.sendto(b"for both", (NEAR, PORT))
            assert kernel.recv(100) == b"for both"
            assert is_recent(await frames.udp(b"for both"))
            raw.send(HEADER + b"for somebody else" + bytes(60))
            await frames.udp(b"for somebody else" + bytes(60))
            kernel.sendto(b"from here", (FAR, made.getsockname()[1]))  # sniffed frames are received ones only
            assert made.recv(100) == b"from here"
        transport.close()

    on_link.run(main())


def test_an_interface_that_goes_away_ends_the_transport(on_link: OnLink) -> None:
    async def main() -> None:
        transport, frames = await on_link.loop.create_ethernet_endpoint(Frames, INTERFACE, driver="packet", sniff=True)
        on_link.link.near.ip("link", "del", INTERFACE)
        assert isinstance(await asyncio.wait_for(frames.lost, 5), OSError)
        assert transport.is_closing()

    on_link.run(main())
