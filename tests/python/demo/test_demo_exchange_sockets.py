"""The simulator's feed and request server on real sockets."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import pytest

from sfloop.demo import feed, itch, moldudp64
from sfloop.demo.retransmission import RequestServer
from sfloop.demo.session_plan import SessionPlan, prepare


@pytest.fixture
def plan() -> SessionPlan:
    return prepare("TEST", seed=2, seconds=0.3, warm_up=0.1, loss=0.0)


@pytest.fixture
def server(plan: SessionPlan) -> Iterator[RequestServer]:
    server = RequestServer(plan.session, seed=1, loss=0.0)
    for packet in plan.packets:
        server.add(packet)
    yield server
    server.close()


@pytest.fixture
def peer() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(5)
        yield sock


def messages(plan: SessionPlan) -> list[bytes]:
    return [bytes(p.data[offset : offset + length]) for p in plan.packets for offset, length in p.messages]


def receiver_of(address: tuple[str, int]) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(address)
    if address[0] == feed.GROUP:
        membership = socket.inet_aton(address[0]) + socket.inet_aton(feed.LOOPBACK)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)
    sock.settimeout(5)
    return sock


@pytest.mark.parametrize("multicast", [True, False])
def test_feed(plan: SessionPlan, monkeypatch: pytest.MonkeyPatch, multicast: bool) -> None:
    if not multicast:
        monkeypatch.setattr(feed, "why_no_multicast", lambda: "no multicast here")
    publisher = feed.Feed(plan.session)
    assert publisher.unicast_because == (None if multicast else "no multicast here")
    first, second, third = plan.packets[:3]
    second.lost = True
    with receiver_of(publisher.address) as receiver:
        before = time.time_ns() % itch.NS_PER_DAY
        for packet in (first, second, third):
            publisher.publish(packet)
        publisher.heartbeat()
        publisher.end_of_session()
        after = time.time_ns() % itch.NS_PER_DAY
        got = [moldudp64.decode(receiver.recv(2048)) for _ in range(4)]
    publisher.close()
    assert [packet.sequence for packet in got] == [1, third.sequence, third.next_sequence, third.next_sequence]
    assert [packet.count for packet in got[2:]] == [moldudp64.HEARTBEAT, moldudp64.END_OF_SESSION]
    for message in got[0].messages:
        assert before <= itch.decode(message).timestamp <= after or after < before
    assert publisher.lost_messages == set(range(second.sequence, second.next_sequence))
    assert (publisher.sent_packets, publisher.lost_packets) == (2, 1)


def test_unicast_feed_goes_on_without_a_listener(plan: SessionPlan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "why_no_multicast", lambda: "no multicast here")
    publisher = feed.Feed(plan.session)
    for packet in plan.packets[:5]:
        publisher.publish(packet)
    assert publisher.sent_packets == 5
    publisher.close()


def test_multicast_on_loopback_works_here() -> None:
    assert feed.why_no_multicast() is None


def test_why_there_is_no_multicast_is_said() -> None:
    assert feed.why_no_multicast("127.0.0.1") == (
        "sending to 127.0.0.1 through the loopback interface failed: Address already in use"
    )
    assert feed.why_no_multicast("203.0.113.1") is not None


def test_multicast_of_another_address() -> None:
    with feed.multicast_socket(feed.GROUP, "127.0.0.2") as sock:
        assert sock.getsockname()[0] == "127.0.0.2"
        assert sock.getsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL) == 1
        assert socket.inet_ntoa(sock.getsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, 4)) == "127.0.0.2"
    with feed.multicast_socket(feed.GROUP) as sock:
        assert sock.getsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL) == 0


def test_request_server_sends_what_was_asked_for(plan: SessionPlan, server: RequestServer, peer: socket.socket) -> None:
    peer.sendto(moldudp64.encode_request(plan.session, 5, 3), server.address)
    server.poll()
    answer = moldudp64.decode(peer.recv(2048))
    assert (answer.session, answer.sequence, answer.messages) == (plan.session, 5, tuple(messages(plan)[4:7]))
    assert (server.asked_for, server.answered) == ({5, 6, 7}, {5, 6, 7})


def test_answer_holds_what_fits_a_packet_and_no_more_than_there_is(
    plan: SessionPlan, server: RequestServer, peer: socket.socket
) -> None:
    everything = messages(plan)
    peer.sendto(moldudp64.encode_request(plan.session, 1, 5000), server.address)
    server.poll()
    packet = peer.recv(4096)
    answer = moldudp64.decode(packet)
    assert len(packet) <= moldudp64.MAX_PACKET < len(packet) + 2 + len(everything[len(answer.messages)])
    assert list(answer.messages) == everything[: len(answer.messages)]
    peer.sendto(moldudp64.encode_request(plan.session, len(everything), 10), server.address)
    server.poll()
    assert moldudp64.decode(peer.recv(2048)).messages == (everything[-1],)


@pytest.mark.parametrize(
    ("request_packet", "problem"),
    [
        (b"short", "request packet has 20 bytes, not 5"),
        (moldudp64.encode_request(b"OTHER     ", 1, 1), "but this is b'TEST"),
        (moldudp64.encode_request(b"TEST      ", 0, 1), "request for 1 messages from 0 on; there are 1 to"),
        (moldudp64.encode_request(b"TEST      ", 10**6, 1), "from 1000000 on"),
        (moldudp64.encode_request(b"TEST      ", 1, 0), "request for 0 messages"),
        (moldudp64.encode_request(b"TEST      ", 1, 0xFFFF), "request for 65535 messages"),
    ],
)
def test_requests_that_make_no_sense(
    server: RequestServer, peer: socket.socket, request_packet: bytes, problem: str
) -> None:
    peer.sendto(request_packet, server.address)
    server.poll()
    assert problem in server.refused[0]
    peer.settimeout(0.05)
    with pytest.raises(TimeoutError):
        peer.recv(2048)


def test_requests_are_ignored_as_often_as_asked_for(plan: SessionPlan, peer: socket.socket) -> None:
    server = RequestServer(plan.session, seed=1, loss=0.5)
    server.add(plan.packets[0])
    for _ in range(100):
        peer.sendto(moldudp64.encode_request(plan.session, 1, 1), server.address)
        server.poll()
    server.close()
    assert server.requests == 100
    assert 30 < server.ignored < 70
