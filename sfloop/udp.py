"""UDP beyond asyncio: batches of datagrams, receive timestamps, and data without a copy."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

__all__ = ["BatchProtocol", "Datagram"]

#: (data, sender's address, receive time in ns of ``CLOCK_REALTIME`` or None if it is unknown)
Datagram = tuple["bytes | memoryview", Any, "int | None"]


class BatchProtocol(asyncio.DatagramProtocol):
    """A datagram protocol that receives batches of datagrams.

    On an sfloop loop, one call of :meth:`datagrams_received` has up to 64 datagrams: all that one read of the socket
    returned. Any other loop calls it once for each datagram, so the protocol works there, too. ::

        class Feed(sfloop.udp.BatchProtocol):
            timestamps = True

            def datagrams_received(self, batch):
                for data, address, received in batch:
                    ...

        await loop.create_datagram_endpoint(Feed, local_addr=("0.0.0.0", 26400))
    """

    #: Set this in the class to get the time at which the NIC or the kernel received each datagram.
    timestamps: bool = False
    #: Set this in the class to get memoryviews of the receive buffer instead of bytes. The loop releases them when
    #: ``datagrams_received`` returns, so copy the data that you keep. If the callback keeps a view, the loop reports
    #: that to its exception handler, and the view shows later data.
    zero_copy: bool = False

    def datagrams_received(self, batch: Sequence[Datagram]) -> None:
        """Called with the datagrams in the order of their arrival. The loop reports an exception to its exception
        handler, and the transport goes on."""

    def datagram_received(self, data: bytes, addr: Any) -> None:
        """Called by loops other than sfloop's, once for each datagram. Passes on a batch of one datagram without a
        timestamp."""
        self.datagrams_received([(memoryview(data) if self.zero_copy else data, addr, None)])
