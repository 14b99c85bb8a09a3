"""Raw frames on an interface of the kernel's: create_ethernet_endpoint over AF_PACKET and AF_XDP."""

from __future__ import annotations

import asyncio
import errno
import struct
from collections.abc import Coroutine
from typing import Any

import pytest
from harness.link import FAR, INTERFACE, NEAR, Link
from raw_frames import HEADER, PORT, Frames, is_recent, run

import sfloop
from sfloop.ethernet import Flow


@pytest.fixture
def loop(ethernet_loop: sfloop.Loop) -> sfloop.Loop:
    return ethernet_loop


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
