"""asyncio's UDP on the tcpip stack, over a wire in shared memory."""

from __future__ import annotations

import asyncio
import random
import socket
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import wire

import sfloop
from sfloop import udp

Far = Callable[[Any], Any]


def frames(loop: sfloop.Loop) -> tuple[int, int]:
    """Return the frames received from the wire and those sent to it."""
    driver = loop.stats()["stacks"]["tcpip"]["driver"]
    return driver["rx_frames"], driver["tx_frames"]


def test_what_a_loop_says_of_itself(near: sfloop.Loop, far: Far) -> None:
    described = near.describe()
    assert described["stack"] == "tcpip"
    assert described["driver"]["name"] == "shm"
    assert described["driver"]["address"] == wire.NEAR
    assert described["driver"]["peer"] == wire.FAR
    assert described["fell_back"] is False


@pytest.mark.parametrize("connected", [False, True])
def test_echo_by_the_wire(near: sfloop.Loop, far_echo: tuple[str, int], connected: bool) -> None:
    payloads = [random.Random(i).randbytes(size) for i, size in enumerate((1, 0, 64, 512, 1472, 3000))]

    async def main() -> None:
        where: Any = {"remote_addr": far_echo} if connected else {}
        transport, inbox = await near.create_datagram_endpoint(wire.Inbox, local_addr=(wire.NEAR, 0), **where)
        before = frames(near)
        for payload in payloads:
            transport.sendto(payload, None if connected else far_echo)
            assert await inbox.get() == (payload, far_echo)
        after = frames(near)
        assert after[0] - before[0] == after[1] - before[1] == len(payloads)
        transport.close()

    near.run_until_complete(main())


def test_larger_than_the_wire_takes(near: sfloop.Loop, far_echo: tuple[str, int]) -> None:
    async def main() -> None:
        transport, inbox = await near.create_datagram_endpoint(wire.Inbox, local_addr=(wire.NEAR, 0))
        for size in (9000, 20_000, 65_507):
            payload = random.Random(size).randbytes(size)
            transport.sendto(payload, far_echo)
            assert await inbox.get() == (payload, far_echo)
        transport.close()

    near.run_until_complete(main())


def test_bound_to_any_address(near: sfloop.Loop, far: Far) -> None:
    async def main() -> None:
        transport, inbox = await near.create_datagram_endpoint(wire.Inbox, local_addr=("0.0.0.0", 0))
        port = transport.get_extra_info("sockname")[1]

        async def send() -> Any:
            sender, _ = await asyncio.get_running_loop().create_datagram_endpoint(wire.Inbox, local_addr=(wire.FAR, 0))
            sender.sendto(b"by the wire", (wire.NEAR, port))
            wire.open_transports.append(sender)
            return sender.get_extra_info("sockname")

        sender = await near.run_in_executor(None, far, send())
        assert await inbox.get() == (b"by the wire", sender)
        with socket.socket(type=socket.SOCK_DGRAM) as local:
            local.bind(("127.0.0.1", 0))
            local.sendto(b"by loopback", ("127.0.0.1", port))
            assert await inbox.get() == (b"by loopback", local.getsockname())
            transport.sendto(b"back", local.getsockname())
            local.settimeout(5)
            assert local.recv(100) == b"back"
        transport.close()

    near.run_until_complete(main())


@pytest.mark.parametrize("address", [("127.0.0.1", 0), ("::1", 0)])
def test_other_addresses_are_the_kernels(near: sfloop.Loop, far: Far, address: Any) -> None:
    async def main() -> None:
        transport, inbox = await near.create_datagram_endpoint(wire.Inbox, local_addr=address)
        before = frames(near)
        transport.sendto(b"x", transport.get_extra_info("sockname")[:2])
        assert (await inbox.get())[0] == b"x"
        assert frames(near) == before
        assert transport.get_extra_info("socket").fileno() >= 0
        transport.close()

    near.run_until_complete(main())


def test_there_is_no_descriptor_to_write_to(near: sfloop.Loop, far: Far) -> None:
    async def main() -> None:
        transport, _ = await near.create_datagram_endpoint(wire.Inbox, local_addr=(wire.NEAR, 0))
        sock = transport.get_extra_info("socket")
        assert sock.fileno() == -1
        assert sock.family == socket.AF_INET
        assert sock.getsockname() == transport.get_extra_info("sockname")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 100_000)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) >= 100_000
        with pytest.raises(OSError, match="bypasses"):
            sock.dup()
        transport.close()

    near.run_until_complete(main())


def test_many_at_once_all_in_order(near: sfloop.Loop, far_echo: tuple[str, int]) -> None:
    async def main() -> None:
        transport, inbox = await near.create_datagram_endpoint(wire.Inbox, local_addr=(wire.NEAR, 0))
        for start in range(0, 2000, 100):
            for i in range(start, start + 100):
                transport.sendto(b"%d" % i, far_echo)
            for i in range(start, start + 100):
                assert (await inbox.get())[0] == b"%d" % i
        transport.close()

    near.run_until_complete(main())


def test_pause_reading(near: sfloop.Loop, far_echo: tuple[str, int]) -> None:
    async def main() -> None:
        transport, inbox = await near.create_datagram_endpoint(wire.Inbox, local_addr=(wire.NEAR, 0))
        transport.pause_reading()  # type: ignore[attr-defined]
        for i in range(50):
            transport.sendto(b"%d" % i, far_echo)
        await asyncio.sleep(0.05)
        assert inbox.queue.empty()
        transport.resume_reading()  # type: ignore[attr-defined]
        assert [(await inbox.get())[0] for _ in range(50)] == [b"%d" % i for i in range(50)]
        transport.close()

    near.run_until_complete(main())


def test_nobody_listens(near: sfloop.Loop, far: Far) -> None:
    async def main() -> None:
        with socket.socket(type=socket.SOCK_DGRAM) as closed:
            closed.bind(("127.0.0.1", 0))
            address = closed.getsockname()
        transport, inbox = await near.create_datagram_endpoint(
            wire.Inbox, local_addr=(wire.NEAR, 0), remote_addr=address
        )
        transport.sendto(b"x")
        assert isinstance(await asyncio.wait_for(inbox.errors.get(), 5), ConnectionRefusedError)
        transport.close()

    near.run_until_complete(main())


def test_ports_are_reserved(near: sfloop.Loop, far: Far) -> None:
    async def main() -> None:
        transport, _ = await near.create_datagram_endpoint(wire.Inbox, local_addr=(wire.NEAR, 0))
        with pytest.raises(OSError, match="in use"):
            await near.create_datagram_endpoint(wire.Inbox, local_addr=transport.get_extra_info("sockname"))
        transport.close()

    near.run_until_complete(main())


@pytest.mark.parametrize("zero_copy", [False, True])
def test_batches(near: sfloop.Loop, far_echo: tuple[str, int], zero_copy: bool) -> None:
    class Batches(udp.BatchProtocol):
        def __init__(self) -> None:
            self.received: list[bytes] = []

        def datagrams_received(self, batch: Sequence[udp.Datagram]) -> None:
            self.received += [bytes(data) for data, _, _ in batch]

    Batches.zero_copy = zero_copy

    async def main() -> None:
        transport, batches = await near.create_datagram_endpoint(Batches, local_addr=(wire.NEAR, 0))
        for i in range(60):
            transport.sendto(b"%d" % i, far_echo)
        while len(batches.received) < 60:
            await asyncio.sleep(0.001)
        assert batches.received == [b"%d" % i for i in range(60)]
        transport.close()

    near.run_until_complete(main())


def test_multicast(near: sfloop.Loop, far: Far) -> None:
    group = "239.255.42.77"

    async def main() -> None:
        sock = socket.socket(type=socket.SOCK_DGRAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((group, 0))
        port = sock.getsockname()[1]
        membership = socket.inet_aton(group) + socket.inet_aton(wire.NEAR)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)
        transport, inbox = await near.create_datagram_endpoint(wire.Inbox, sock=sock)
        before = frames(near)[0]

        async def send() -> None:
            sender, _ = await asyncio.get_running_loop().create_datagram_endpoint(wire.Inbox, local_addr=(wire.FAR, 0))
            pseudo = sender.get_extra_info("socket")
            pseudo.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(wire.FAR))
            for i in range(10):
                sender.sendto(b"%d" % i, (group, port))
            sender.close()

        await near.run_in_executor(None, far, send())
        assert [(await inbox.get())[0] for _ in range(10)] == [b"%d" % i for i in range(10)]
        assert frames(near)[0] - before == 10
        await asyncio.sleep(0.02)
        assert inbox.queue.empty()  # once each
        transport.close()

    near.run_until_complete(main())


def test_close_under_traffic(near: sfloop.Loop, far_echo: tuple[str, int]) -> None:
    async def main() -> None:
        for _ in range(20):
            transport, inbox = await near.create_datagram_endpoint(wire.Inbox, local_addr=(wire.NEAR, 0))
            for i in range(30):
                transport.sendto(b"%d" % i, far_echo)
            await inbox.get()
            transport.close()
            await asyncio.sleep(0)

    near.run_until_complete(main())


def test_the_loop_is_closed_under_traffic(name: str) -> None:
    near = wire.open_side(name, wire.NEAR)
    with wire.running_in_thread(wire.open_side(name, wire.FAR)) as far:

        async def serve() -> Any:
            loop = asyncio.get_running_loop()
            transport, _ = await loop.create_datagram_endpoint(wire.Echo, local_addr=(wire.FAR, 0))
            return transport.get_extra_info("sockname")

        address = far(serve())

        async def main() -> Any:
            transport, inbox = await near.create_datagram_endpoint(wire.Inbox, local_addr=(wire.NEAR, 0))
            for i in range(500):
                transport.sendto(b"%d" % i, address)
            await inbox.get()
            return transport

        transport = near.run_until_complete(main())
        near.close()
        with pytest.warns(ResourceWarning):
            del transport
            import gc

            gc.collect()


def test_a_third_side_is_refused(near: sfloop.Loop, far: Far, name: str) -> None:
    with pytest.raises(OSError, match="shm") as raised:
        wire.open_side(name, "127.77.0.3")
    assert "both sides" in str(raised.value) or "taken" in str(raised.value) or "in use" in str(raised.value)
    fallen = sfloop.Loop(sfloop.Options(driver="shm", interface=f"{name}@127.77.0.3"))
    assert fallen.describe()["stack"] == "kernel"
    assert fallen.describe()["fell_back"] is True
    fallen.close()


def test_a_pause_of_the_receiver_loses_nothing(near: sfloop.Loop, far: Far) -> None:
    """The sender finds the ring full, and its transport keeps the rest."""

    async def send_all(address: Any) -> None:
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(wire.Inbox, local_addr=(wire.FAR, 0), remote_addr=address)
        for number in range(6000):
            transport.sendto(number.to_bytes(4, "big") + bytes(96))
        while transport.get_write_buffer_size():
            await asyncio.sleep(0.01)
        transport.close()

    async def main() -> None:
        transport, inbox = await near.create_datagram_endpoint(wire.Inbox, local_addr=(wire.NEAR, 0))
        sending = near.run_in_executor(None, lambda: far(send_all(transport.get_extra_info("sockname"))))
        time.sleep(0.3)
        got = [await asyncio.wait_for(inbox.get(), 5) for _ in range(6000)]
        assert [int.from_bytes(data[:4], "big") for data, _ in got] == list(range(6000))
        await sending
        transport.close()

    near.run_until_complete(main())
