"""The simulator's market-data feed: MoldUDP64 packets by UDP multicast, on the loopback interface by default.

Where the loopback interface does not carry multicast, the feed falls back to unicast UDP to one receiver.
"""

from __future__ import annotations

import socket
import time
from typing import Protocol

from . import itch, moldudp64
from .session_plan import Packet

LOOPBACK = "127.0.0.1"
GROUP = "239.255.42.99"
"""An administratively scoped address (RFC 2365), which is not assigned to anybody."""

PROBE_SECONDS = 0.2


class Sender(Protocol):
    """The sender of a feed: a connected UDP socket, or an object like one."""

    def send(self, data: bytes | bytearray, /) -> object: ...
    def getpeername(self) -> tuple[str, int]: ...
    def close(self) -> None: ...


def multicast_socket(group: str, interface: str = LOOPBACK) -> socket.socket:
    """A UDP socket bound to a port of the address ``interface`` that sends to ``group`` through that interface only."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(interface))
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 1)
        # A TTL of 0 keeps datagrams on this machine, 1 keeps them on the local network.
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 0 if interface == LOOPBACK else 1)
        sock.bind((interface, 0))
        # Use the sender's own port number for the group, too, so that no other program can choose it.
        sock.connect((group, sock.getsockname()[1]))
    except OSError:
        sock.close()
        raise
    return sock


def why_no_multicast(group: str = GROUP) -> str | None:
    """Test whether a datagram to ``group`` through the loopback interface arrives. Returns None, or the failure as
    text."""
    try:
        with multicast_socket(group) as sender, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
            receiver.bind(sender.getpeername())
            membership = socket.inet_aton(group) + socket.inet_aton(LOOPBACK)
            receiver.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)
            receiver.settimeout(PROBE_SECONDS)
            sender.send(b"probe")
            receiver.recv(16)
    except TimeoutError:
        return f"a datagram sent to {group} through the loopback interface did not arrive"
    except OSError as error:
        return f"sending to {group} through the loopback interface failed: {error.strerror or error}"
    return None


def unicast_socket() -> socket.socket:
    """A UDP socket that sends to a free port of 127.0.0.1."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind((LOOPBACK, 0))
        address = probe.getsockname()
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.connect(address)
    return sock


class Feed:
    """Sends packets to ``address``. If that is not a multicast group, ``unicast_because`` has the reason, else None.

    Without a ``sender`` it uses the loopback interface.
    """

    def __init__(self, session: bytes, sender: Sender | None = None) -> None:
        self._session = session
        self.unicast_because = why_no_multicast() if sender is None else None
        self._sender = sender or (multicast_socket(GROUP) if self.unicast_because is None else unicast_socket())
        self.address: tuple[str, int] = self._sender.getpeername()
        self.next_sequence = 1
        self.sent_packets = 0
        self.lost_packets = 0
        self.lost_messages: set[int] = set()

    def publish(self, packet: Packet) -> int:
        """Write the time into every message of ``packet`` and send it, unless it is to be lost.

        Returns the time in ns of ``time.monotonic_ns``, which is the best estimate of the wire time.
        """
        data = packet.data
        now = time.monotonic_ns()
        stamp = (time.time_ns() % itch.NS_PER_DAY).to_bytes(6, "big")
        for offset, _ in packet.messages:
            data[offset + itch.TIMESTAMP_OFFSET : offset + itch.TIMESTAMP_OFFSET + 6] = stamp
        if packet.lost:
            self.lost_packets += 1
            self.lost_messages.update(range(packet.sequence, packet.next_sequence))
        else:
            self._send(data)
            self.sent_packets += 1
        self.next_sequence = packet.next_sequence
        return now

    def heartbeat(self) -> None:
        """Tell the receivers the next sequence number, which lets them notice that the last packet was lost."""
        self._send(moldudp64.encode_heartbeat(self._session, self.next_sequence))

    def end_of_session(self) -> None:
        """Tell the receivers that no further message will come."""
        self._send(moldudp64.encode_end_of_session(self._session, self.next_sequence))

    def _send(self, data: bytes | bytearray) -> None:
        try:
            self._sender.send(data)
        except ConnectionRefusedError:
            # Unicast only: there is no receiver yet, or no longer. The feed goes on.
            pass

    def close(self) -> None:
        self._sender.close()
