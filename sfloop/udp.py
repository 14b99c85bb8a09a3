"""What UDP can do here beyond asyncio: whole batches, receive timestamps, no copy."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

__all__ = ["BatchProtocol", "Datagram"]

#: (data, address of the sender, time of reception in ns of ``CLOCK_REALTIME`` or None if it is not known)
Datagram = tuple["bytes | memoryview", Any, "int | None"]


class BatchProtocol(asyncio.DatagramProtocol):
    """A datagram protocol that is given all the datagrams that one look at the socket has brought.

    On an sfloop loop one call of :meth:`datagrams_received` has up to 64. On any other loop it is called for each
    datagram by itself, so the protocol runs there too. ::

        class Feed(sfloop.udp.BatchProtocol):
            timestamps = True

            def datagrams_received(self, batch):
                for data, address, received in batch:
                    ...

        await loop.create_datagram_endpoint(Feed, local_addr=("0.0.0.0", 26400))
    """

    #: Set it, in the class, to be told when the NIC or the kernel received each datagram.
    timestamps: bool = False
    #: Set it, in the class, to be given views of the memory that was received into instead of bytes. They are valid
    #: until ``datagrams_received`` returns and are released then; what is to be kept has to be copied. A view that is
    #: kept all the same is reported to the loop's exception handler, and shows what comes later.
    zero_copy: bool = False

    def datagrams_received(self, batch: Sequence[Datagram]) -> None:
        """Called with the datagrams in the order of their arrival. An exception is reported; the transport goes on."""

    def datagram_received(self, data: bytes, addr: Any) -> None:
        """What loops other than sfloop's call. One datagram is a batch of one, without a timestamp."""
        self.datagrams_received([(memoryview(data) if self.zero_copy else data, addr, None)])
