"""The time that messages take from the exchange's clock to the client's callback."""

from __future__ import annotations

from array import array

from hdrh.histogram import HdrHistogram

NS_PER_DAY = 86_400 * 1_000_000_000


class WireLatency:
    """Collects, for each message, the ns from the timestamp inside it to its arrival.

    Recording only appends to an array, and the histogram is built at the end, because measuring must disturb little.
    Exchange and client must share a clock: they do on one machine; on two machines, use PTP.
    """

    def __init__(self) -> None:
        self._values = array("q")

    def record(self, packet: bytes, received: int) -> None:
        """Record the messages of a MoldUDP64 packet that arrived at ``received`` (ns, ``time.time_ns``)."""
        now = received % NS_PER_DAY
        offset, size = 20, len(packet)
        while offset < size:
            # ITCH: the six-byte timestamp begins five bytes into the message, and the message follows its two-byte
            # length.
            self._values.append(now - int.from_bytes(packet[offset + 7 : offset + 13], "big"))
            offset += 2 + (packet[offset] << 8 | packet[offset + 1])

    def histogram(self) -> tuple[str, int]:
        """Return (HdrHistogram in its base64 text form, number of values below zero because a clock was set back)."""
        histogram = HdrHistogram(1, 100 * 1_000_000_000, 3)
        negative = 0
        for value in self._values:
            if value < -NS_PER_DAY // 2:  # midnight passed between the two times
                value += NS_PER_DAY
            if value < 0:
                negative += 1
            histogram.record_value(max(1, min(value, 100 * 1_000_000_000)))
        return histogram.encode().decode("ascii"), negative
