"""The options pcap, trace and faults: drivers that wrap the driver."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from pathlib import Path
from typing import Any

import pytest
import wire

import sfloop

COUNT = 200


def exchange(name: str, **options: Any) -> int:
    """Send numbered datagrams to an echo on the far side and count the echoes. The options are the near side's."""
    near = wire.open_side(name, wire.NEAR, **options)

    async def serve() -> Any:
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(wire.Echo, local_addr=(wire.FAR, 0))
        return transport.get_extra_info("sockname")

    async def main(address: Any) -> int:
        transport, inbox = await near.create_datagram_endpoint(wire.Inbox, local_addr=(wire.NEAR, 0))
        for i in range(COUNT):
            transport.sendto(b"%d" % i, address)
            await asyncio.sleep(0.0005)
        await asyncio.sleep(0.05)
        transport.close()
        return inbox.queue.qsize()

    try:
        with wire.running_in_thread(wire.open_side(name, wire.FAR)) as far:
            return int(near.run_until_complete(main(far(serve()))))
    finally:
        near.close()


def test_pcap(name: str, tmp_path: Path) -> None:
    file = tmp_path / "frames.pcap"
    assert exchange(name, pcap=str(file)) == COUNT
    content = file.read_bytes()
    magic, major, minor, _, _, _, link_type = struct.unpack_from("=IHHiIII", content)
    assert (magic, major, minor, link_type) == (0xA1B23C4D, 2, 4, 1)
    position, packets, last = 24, [], (0, 0)
    while position < len(content):
        seconds, nanoseconds, captured, length = struct.unpack_from("=IIII", content, position)
        assert captured == length
        assert (seconds, nanoseconds) >= last
        last = (seconds, nanoseconds)
        packets.append(content[position + 16 : position + 16 + captured])
        position += 16 + captured
    assert len(packets) == 2 * COUNT
    addresses = {(socket.inet_ntoa(packet[26:30]), socket.inet_ntoa(packet[30:34])) for packet in packets}
    assert addresses == {(wire.NEAR, wire.FAR), (wire.FAR, wire.NEAR)}


def test_trace(name: str, tmp_path: Path) -> None:
    file = tmp_path / "frames.txt"
    assert exchange(name, trace=str(file)) == COUNT
    lines = file.read_text().splitlines()
    assert len(lines) == 2 * COUNT
    assert {line.split()[0] for line in lines} == {"rx", "tx"}
    assert all(f"{wire.NEAR}:" in line and f"{wire.FAR}:" in line for line in lines)


def test_faults_with_a_capture_of_what_they_leave(name: str, tmp_path: Path) -> None:
    file = tmp_path / "frames.pcap"
    returned = exchange(name, faults="tx.loss=20%,seed=5", pcap=str(file))
    assert 0.6 * COUNT < returned < 0.95 * COUNT
    again = exchange(name, faults="tx.loss=20%,seed=5")
    assert again == returned  # the same seed, the same losses


@pytest.mark.parametrize("faults", ["lost=1%", "loss=lots", "loss=200%"])
def test_faults_that_are_none(name: str, faults: str) -> None:
    with pytest.raises(OSError, match=f"fault='{faults}'"):
        wire.open_side(name, wire.NEAR, faults=faults)


def test_a_capture_that_cannot_be_written(name: str) -> None:
    with pytest.raises(OSError, match="pcap='/nowhere/frames.pcap'"):
        wire.open_side(name, wire.NEAR, pcap="/nowhere/frames.pcap")


@pytest.mark.parametrize("option", ["pcap", "trace", "faults"])
@pytest.mark.parametrize(("value", "error"), [("", ValueError), ("a\0b", ValueError), (1, TypeError)])
def test_bad_values(option: str, value: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match=f"{option}="):
        sfloop.Options(**{option: value})


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")  # an error from Python 3.15
def test_a_forked_child_leaves_the_wire_alone(name: str) -> None:
    """The child's loop is a copy, which falls back to its kernel sockets; the parent goes on."""
    near = wire.open_side(name, wire.NEAR)

    async def serve() -> Any:
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(wire.Echo, local_addr=(wire.FAR, 0))
        return transport.get_extra_info("sockname")

    async def main(address: Any) -> None:
        transport, inbox = await near.create_datagram_endpoint(wire.Inbox, local_addr=(wire.NEAR, 0))
        for i in range(100):
            if i == 50:
                child = os.fork()
                if child == 0:
                    os._exit(0 if sfloop.new_event_loop().run_until_complete(asyncio.sleep(0.01, 1)) == 1 else 1)
            transport.sendto(b"%d" % i, address)
            assert (await inbox.get())[0] == b"%d" % i
        assert os.waitpid(child, 0)[1] == 0
        transport.close()

    try:
        with wire.running_in_thread(wire.open_side(name, wire.FAR)) as far:
            near.run_until_complete(main(far(serve())))
    finally:
        near.close()
