"""create_datagram_endpoint in all its forms, and flow control, on the tcpip stack over a wire in shared memory."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any

import pytest
import wire

import sfloop

Far = Callable[[Any], Any]


def unused_port(address: str) -> int:
    with socket.socket(type=socket.SOCK_DGRAM) as probe:
        probe.bind((address, 0))
        port: int = probe.getsockname()[1]
    return port


def bound_and_connected(to: tuple[str, int]) -> socket.socket:
    sock = socket.socket(type=socket.SOCK_DGRAM)
    sock.setblocking(False)
    sock.bind((wire.NEAR, 0))
    sock.connect(to)
    return sock


#: Arguments, made for the far side's address, and whether a destination has to be named with each datagram.
FORMS: dict[str, tuple[Callable[[tuple[str, int]], dict[str, Any]], bool]] = {
    "local": (lambda to: {"local_addr": (wire.NEAR, 0)}, True),
    "any": (lambda to: {"local_addr": ("0.0.0.0", 0)}, True),
    "both": (lambda to: {"local_addr": (wire.NEAR, 0), "remote_addr": to}, False),
    "given port": (lambda to: {"local_addr": (wire.NEAR, unused_port(wire.NEAR)), "remote_addr": to}, False),
    "family": (lambda to: {"local_addr": (wire.NEAR, 0), "family": socket.AF_INET}, True),
    "protocol": (lambda to: {"local_addr": (wire.NEAR, 0), "proto": socket.IPPROTO_UDP}, True),
    "reuse_port": (lambda to: {"local_addr": (wire.NEAR, 0), "reuse_port": True}, True),
    "socket": (lambda to: {"sock": bound_and_connected(to)}, False),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_goes_by_the_wire(near: sfloop.Loop, far_echo: tuple[str, int], form: str) -> None:
    arguments, named = FORMS[form]

    async def main() -> None:
        transport, inbox = await near.create_datagram_endpoint(wire.Inbox, **arguments(far_echo))
        driver = near.stats()["stacks"]["tcpip"]["driver"]
        for i in range(5):
            transport.sendto(b"%d" % i, far_echo if named or i % 2 else None)
            assert await inbox.get() == (b"%d" % i, far_echo)
        after = near.stats()["stacks"]["tcpip"]["driver"]
        # When bound to any address, the first datagram to a destination may leave from another source, the kernel's
        # choice.
        assert after["rx_frames"] - driver["rx_frames"] >= (0 if form == "any" else 5)
        assert transport.get_extra_info("peername") == (None if named else far_echo)
        assert transport.get_extra_info("sockname")[1] > 0
        transport.close()

    near.run_until_complete(main())


def test_one_socket_sends_anywhere(near: sfloop.Loop, far_echo: tuple[str, int]) -> None:
    """Send to the far side by the wire, to all others by the kernel, in order for each."""

    async def main() -> None:
        transport, inbox = await near.create_datagram_endpoint(wire.Inbox, local_addr=(wire.NEAR, 0))
        with socket.socket(type=socket.SOCK_DGRAM) as elsewhere:
            elsewhere.bind(("127.0.0.1", 0))
            elsewhere.settimeout(5)
            for i in range(20):
                transport.sendto(b"%d" % i, elsewhere.getsockname() if i % 2 else far_echo)
            assert [elsewhere.recv(10) for _ in range(10)] == [b"%d" % i for i in range(1, 20, 2)]
        assert [(await inbox.get())[0] for _ in range(10)] == [b"%d" % i for i in range(0, 20, 2)]
        transport.close()

    near.run_until_complete(main())


def test_several_groups_on_one_socket(near: sfloop.Loop, far: Far) -> None:
    groups = ["239.255.42.78", "239.255.42.79"]
    left_out = "239.255.42.80"

    async def main() -> None:
        transport, inbox = await near.create_datagram_endpoint(wire.Inbox, local_addr=("0.0.0.0", 0))
        port = transport.get_extra_info("sockname")[1]
        for group in groups:
            sfloop.multicast.join(transport, group, interface=wire.NEAR)
        received = near.stats()["stacks"]["tcpip"]["driver"]["rx_frames"]

        async def send() -> None:
            sender, _ = await asyncio.get_running_loop().create_datagram_endpoint(wire.Inbox, local_addr=(wire.FAR, 0))
            pseudo = sender.get_extra_info("socket")
            pseudo.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(wire.FAR))
            for group in [*groups, left_out]:
                sender.sendto(group.encode(), (group, port))
            sender.close()

        async def inbox_has(count: int) -> list[str]:
            return [(await inbox.get())[0].decode() for _ in range(count)]

        await near.run_in_executor(None, far, send())
        assert await inbox_has(2) == groups
        assert near.stats()["stacks"]["tcpip"]["driver"]["rx_frames"] - received >= 2
        sfloop.multicast.leave(transport, groups[0], interface=wire.NEAR)
        await near.run_in_executor(None, far, send())
        assert await inbox_has(1) == groups[1:]
        await asyncio.sleep(0.02)
        assert inbox.queue.empty()
        transport.close()

    near.run_until_complete(main())


class Paced(wire.Inbox):
    def __init__(self) -> None:
        super().__init__()
        self.calls: list[str] = []

    def pause_writing(self) -> None:
        self.calls.append("pause")

    def resume_writing(self) -> None:
        self.calls.append("resume")


def test_flow_control(near: sfloop.Loop, name: str) -> None:
    """The far side is open and does not read: the wire fills up, then the transport's buffer. Nothing is lost."""
    other = wire.open_side(name, wire.FAR)
    receiver, inbox = other.run_until_complete(other.create_datagram_endpoint(wire.Inbox, local_addr=(wire.FAR, 0)))
    address = receiver.get_extra_info("sockname")

    async def fill() -> tuple[Any, Paced, int]:
        transport, paced = await near.create_datagram_endpoint(Paced, local_addr=(wire.NEAR, 0), remote_addr=address)
        transport.set_write_buffer_limits(high=20_000, low=5_000)  # type: ignore[attr-defined]
        await asyncio.sleep(0.01)  # the wire looks for its far side every millisecond
        sent = 0
        while not paced.calls:
            transport.sendto(sent.to_bytes(4, "big") * 100)
            sent += 1
            assert sent < 10_000
        assert transport.get_write_buffer_size() > 20_000  # type: ignore[attr-defined]
        return transport, paced, sent

    transport, paced, sent = near.run_until_complete(fill())
    assert near.stats()["stacks"]["tcpip"]["driver"]["tx_full"] > 0
    for _ in range(10_000):
        other.run_until_complete(asyncio.sleep(0))
        near.run_until_complete(asyncio.sleep(0.0005 if paced.calls == ["pause"] else 0))
        if inbox.queue.qsize() == sent:
            break
    assert paced.calls == ["pause", "resume"]
    assert [inbox.queue.get_nowait()[0] for _ in range(sent)] == [i.to_bytes(4, "big") * 100 for i in range(sent)]
    for loop, each in ((near, transport), (other, receiver)):
        each.abort()
        loop.run_until_complete(asyncio.sleep(0))
    other.close()
