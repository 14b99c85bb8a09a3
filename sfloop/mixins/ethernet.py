"""Raw Ethernet frames: the loop's method, around the transport."""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeVar, cast

from sfloop.backends import open_frame_driver
from sfloop.mixins.processes import Processes

if TYPE_CHECKING:
    from sfloop.ethernet import EthernetProtocol, Flow
    from sfloop.loop import Loop
    from sfloop.options.options import DriverOption
    from sfloop.transports.ethernet import EthernetTransport

_P = TypeVar("_P", bound="EthernetProtocol")


class RawFrames(Processes):
    """``create_ethernet_endpoint``, which asyncio has not."""

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
        """Open an interface for raw frames, by a frame driver of the endpoint's own.

        Received are the flows of ``filters``, which are taken from the kernel; or, with ``sniff``, copies of all that
        the interface receives, whoever it is for, and the kernel goes on as if nobody looked. With neither, the
        endpoint only sends (over a shm wire, everything arrives). ::

            class Feed(sfloop.ethernet.EthernetProtocol):
                def frame_received(self, frame, timestamp):
                    ...

            feed = sfloop.ethernet.Flow("udp", ("239.1.1.1", 26400))
            transport, protocol = await loop.create_ethernet_endpoint(Feed, "enp1s0f0", filters=[feed])
            transport.send(frame)

        :param protocol_factory: makes an :class:`sfloop.ethernet.EthernetProtocol`, or one that takes batches.
        :param interface: the kernel's name; or a shm wire and this side's address, ``"feed@127.77.0.1"``.
        :param driver: ``"ef_vi"``, ``"af_xdp"``, ``"packet"`` or ``"shm"``; ``None`` takes the best that works there.
        :param send_timestamps: have the NIC tell when frames have left, if it can (``frame_sent()``); it costs.
        :returns: (transport, protocol): an :class:`sfloop.transports.ethernet.EthernetTransport`.
        :raises OSError: no driver can do what was asked for; each one's reason.
        :raises ValueError: an argument is not possible.
        """
        from sfloop.transports.ethernet import EthernetTransport  # most programs never need it

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
        try:
            await waiter
        except BaseException:
            transport.close()
            raise
        return transport, protocol
