"""Facts from a NIC's driver, by the read-only ioctls of ``ethtool`` (<linux/ethtool.h>)."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import socket
import struct
from dataclasses import dataclass
from typing import Final

from sfloop.doctor.finding import UnseenError

_SIOCETHTOOL: Final = 0x8946
_GDRVINFO: Final = 0x03
_GCOALESCE: Final = 0x0E
_GSTRINGS: Final = 0x1B
_GSSET_INFO: Final = 0x37
_GFEATURES: Final = 0x3A
_GCHANNELS: Final = 0x3C
_SS_FEATURES: Final = 4
_STRING: Final = 32  # ETH_GSTRING_LEN


@dataclass(frozen=True)
class DriverInfo:
    """The result of ``ethtool -i``."""

    driver: str
    version: str
    firmware: str
    bus: str


@dataclass(frozen=True)
class Coalescing:
    """The result of ``ethtool -c``: how long the NIC may delay an interrupt, in µs and frames."""

    rx_us: int
    rx_frames: int
    adaptive_rx: bool


class Ethtool:
    """The ioctls. Each method raises UnseenError if the driver does not answer."""

    def driver_info(self, interface: str) -> DriverInfo:
        answer = self._ask(interface, struct.pack("=I192x", _GDRVINFO), "driver")
        return DriverInfo(*(_text(answer[4 + 32 * field : 36 + 32 * field]) for field in range(4)))

    def coalescing(self, interface: str) -> Coalescing:
        words = struct.unpack("=23I", self._ask(interface, struct.pack("=I88x", _GCOALESCE), "coalescing"))
        return Coalescing(words[1], words[2], bool(words[10]))

    def queues(self, interface: str) -> tuple[int, int]:
        """(receive queues in use, the most possible), combined queues included."""
        words = struct.unpack("=9I", self._ask(interface, struct.pack("=I32x", _GCHANNELS), "queues"))
        return words[5] + words[8], words[1] + words[4]

    def features(self, interface: str) -> dict[str, bool]:
        """Offload → whether it is active, with the names of ``ethtool -k``."""
        info = self._ask(interface, struct.pack("=IIQI", _GSSET_INFO, 0, 1 << _SS_FEATURES, 0), "offloads")
        count = struct.unpack_from("=I", info, 16)[0]
        strings = struct.pack("=III", _GSTRINGS, _SS_FEATURES, count) + bytes(_STRING * count)
        names = self._ask(interface, strings, "offloads")[12:]
        blocks = (count + 31) // 32
        answer = self._ask(interface, struct.pack("=II", _GFEATURES, blocks) + bytes(16 * blocks), "offloads")
        active = [struct.unpack_from("=I", answer, 8 + 16 * block + 8)[0] for block in range(blocks)]
        named = (_text(names[_STRING * bit : _STRING * (bit + 1)]) for bit in range(count))
        return {name: bool(active[bit // 32] >> bit % 32 & 1) for bit, name in enumerate(named) if name}

    def _ask(self, interface: str, request: bytes, what: str) -> bytes:
        try:
            return self.ioctl(interface, request)
        except OSError as error:
            if error.errno in (errno.EOPNOTSUPP, errno.EINVAL):
                raise UnseenError(f"the driver of {interface} does not report its {what}") from None
            if error.errno in (errno.EPERM, errno.EACCES):
                raise UnseenError(f"this process may not read {interface}'s {what}: run as root") from None
            raise UnseenError(f"{interface} did not report its {what} ({os.strerror(error.errno or 0)})") from None

    def ioctl(self, interface: str, request: bytes) -> bytes:
        """Make one SIOCETHTOOL request. The answer has the size of the request."""
        buffer = ctypes.create_string_buffer(request, len(request))
        wanted = struct.pack("16sP16x", interface.encode()[:15], ctypes.addressof(buffer))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
            fcntl.ioctl(control, _SIOCETHTOOL, wanted)
        return buffer.raw


def _text(field: bytes) -> str:
    return field.split(b"\0", 1)[0].decode(errors="replace").strip()
