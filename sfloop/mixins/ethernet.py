"""Raw Ethernet frames: the loop's method that opens an endpoint."""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeVar, cast

from sfloop.backends import open_frame_driver
from sfloop.mixins.processes import Processes
from sfloop.transports.base import connected

if TYPE_CHECKING:
    from sfloop.ethernet import EthernetProtocol, Flow
    from sfloop.loop import Loop
    from sfloop.options.options import DriverOption
    from sfloop.transports.ethernet import EthernetTransport

_P = TypeVar("_P", bound="EthernetProtocol")


class RawFrames(Processes):
    """``create_ethernet_endpoint``, which asyncio does not have."""

    __slots__ = ()

    async def create_ethernet_endpoint(
        self,
        protocol_factory: Callable[[], _P],
        interface: str,
        *,
        driver: DriverOption | None = None,
        filters: Iterable[Flow] = (),
        sniff: bool = False,
        send_timestamps: bool = False,
    ) -> tuple[EthernetTransport, _P]:
        """Open an interface for raw Ethernet frames. The endpoint has a frame driver of its own.

        With ``filters`` the endpoint receives these flows, and the kernel does not. With ``sniff`` it receives copies
        of all frames that the interface receives, for any destination, and the kernel receives them, too. With neither,
        the endpoint only sends; on a shm wire it receives everything. ::

            class Feed(sfloop.ethernet.EthernetProtocol):
                def frame_received(self, frame, timestamp):
                    ...

            feed = sfloop.ethernet.Flow("udp", ("239.1.1.1", 26400))
            transport, protocol = await loop.create_ethernet_endpoint(Feed, "enp1s0f0", filters=[feed])
            transport.send(frame)

        :param protocol_factory: makes an :class:`sfloop.ethernet.EthernetProtocol` or ``EthernetBatchProtocol``.
        :param interface: the kernel's name of the interface; or a shm wire and this end's address,
            ``"feed@127.77.0.1"``.
        :param driver: ``"ef_vi"``, ``"af_xdp"``, ``"packet"`` or ``"shm"``; ``None``: the best that works on the
            interface.
        :param send_timestamps: ask the NIC for transmit timestamps (``frame_sent()``). They cost time on each frame.
        :returns: (transport, protocol); the transport is an :class:`sfloop.transports.ethernet.EthernetTransport`.
        :raises OSError: no driver can do this. The message has the reason of each driver.
        :raises ValueError: an argument is not allowed.
        """
        from sfloop.transports.ethernet import EthernetTransport  # only here, because most programs do not need it

        self._check_closed()
        flows = list(filters)
        opened: list[EthernetTransport] = []

        def open_driver(name: str, wire: str, address: str) -> None:
            packed = int.from_bytes(socket.inet_aton(address), sys.byteorder)
            ring = cast("Loop", self).options.ring_frames
            arguments: tuple[Any, ...] = (name, wire, packed, [], ring, None, sniff, send_timestamps)
            opened.append(EthernetTransport(cast("Loop", self), arguments, interface))

        open_frame_driver(driver, interface, sniff, open_driver)
        (transport,) = opened
        waiter = self.create_future()
        try:
            for flow in flows:
                transport.add_filter(flow)
            protocol = protocol_factory()
            transport._start(protocol, waiter)
        except BaseException:
            transport._discard()
            raise
        await connected(transport, waiter)
        return transport, protocol
