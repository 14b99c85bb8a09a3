"""Wrong arguments, and objects used after their end: asyncio's own exception or a clear one, never a crash."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import warnings
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from harness.connections import facing_socket, udp
from harness.loops import drain, new_loop
from harness.observed import Contexts, Run
from harness.recording import DatagramRecorder, Recorder

CLOSED_LOOP: dict[str, Callable[[Any], Coroutine[Any, Any, Any]]] = {
    "create_connection": lambda loop: loop.create_connection(asyncio.Protocol, "127.0.0.1", 1),
    "create_server": lambda loop: loop.create_server(asyncio.Protocol, "127.0.0.1", 0),
    "create_datagram_endpoint": lambda loop: loop.create_datagram_endpoint(
        asyncio.DatagramProtocol, local_addr=("127.0.0.1", 0)
    ),
    "create_unix_connection": lambda loop: loop.create_unix_connection(asyncio.Protocol, "/nowhere"),
    "subprocess_exec": lambda loop: loop.subprocess_exec(asyncio.SubprocessProtocol, "true"),
    "getaddrinfo": lambda loop: loop.getaddrinfo("127.0.0.1", 1),
    "sock_recv": lambda loop: waiting_recv(loop),
}


async def waiting_recv(loop: Any) -> None:
    a, b = socket.socketpair()
    with a, b:
        a.setblocking(False)
        await loop.sock_recv(a, 1)


# The garbage collector frees the objects that asyncio's own Python code leaves here.
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore:coroutine .* was never awaited:RuntimeWarning")
@pytest.mark.parametrize("method", CLOSED_LOOP)
def test_a_closed_loop(loop_kind: str, method: str) -> None:
    """Another loop runs the coroutine, which finds its own loop closed."""
    loop, other = new_loop(loop_kind), new_loop(loop_kind)
    loop.close()
    with pytest.raises((RuntimeError, OSError)):
        other.run_until_complete(asyncio.wait_for(CLOSED_LOOP[method](loop), 5))
    drain(other)
    other.close()
    gc.collect()


def test_a_stream_transport_whose_loop_is_closed(loop_kind: str) -> None:
    loop: Any = new_loop(loop_kind)
    a, b = socket.socketpair()
    b.setblocking(False)
    transport, _ = loop.run_until_complete(loop.create_connection(Recorder, sock=b))
    loop.close()
    calls: list[Callable[[], Any]] = [
        lambda: transport.write(b"x" * 10_000_000),
        lambda: transport.writelines([b"x"]),
        lambda: transport.pause_reading(),
        lambda: transport.resume_reading(),
        lambda: transport.write_eof(),
        lambda: transport.get_write_buffer_size(),
        lambda: transport.is_reading(),
        lambda: repr(transport),
        lambda: transport.close(),
        lambda: transport.abort(),
        lambda: transport.write(b"x"),
    ]
    for call in calls:
        try:
            call()
        except (RuntimeError, OSError, AttributeError):
            continue  # asyncio's transports fail in several ways; sfloop's may as well
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        calls.clear()
        transport = _ = b = call = None  # type: ignore[assignment]
        gc.collect()
    a.close()


def test_a_datagram_transport_whose_loop_is_closed(loop_kind: str) -> None:
    loop: Any = new_loop(loop_kind)
    transport, _ = loop.run_until_complete(
        loop.create_datagram_endpoint(asyncio.DatagramProtocol, local_addr=("127.0.0.1", 0))
    )
    address = transport.get_extra_info("sockname")
    loop.close()
    calls: list[Callable[[], Any]] = [
        lambda: transport.sendto(b"x", address),
        lambda: transport.close(),
        lambda: transport.abort(),
    ]
    for call in calls:
        try:
            call()
        except (RuntimeError, OSError, AttributeError):
            continue
    repr(transport)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        transport = _ = call = None  # type: ignore[assignment]
        gc.collect()


@pytest.mark.sfloop_only("asyncio's transport is left half closed")
def test_a_descriptor_closed_under_a_stream_transport(run: Run, contexts: Contexts) -> None:
    """A bug of the program: the transport fails with EBADF or ends, and does not touch the number's next file."""

    async def main() -> None:
        async with facing_socket(Recorder) as (protocol, peer):
            sock = protocol.transport.get_extra_info("socket")
            import os

            os.close(sock.fileno())
            protocol.transport.write(b"x")
            try:
                exc = await asyncio.wait_for(asyncio.shield(protocol.lost), 1)
                assert exc is None or isinstance(exc, OSError)
            except asyncio.TimeoutError:
                pytest.fail("neither an error nor connection_lost")

    try:
        run(main())
    except OSError as exc:  # closing the socket object, whose descriptor is gone
        assert exc.errno == 9
    contexts.clear()


@pytest.mark.parametrize("protocol", [None, object(), 5, "text"])
def test_protocols_that_are_none(run: Run, contexts: Contexts, protocol: Any) -> None:
    """Found when the first callback is due: reported, not a crash."""

    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        a, b = socket.socketpair()
        a.setblocking(False)
        transport: Any = None
        try:
            transport, _ = await asyncio.wait_for(loop.create_connection(lambda: protocol, sock=a), 2)
            b.send(b"x")
            await asyncio.sleep(0.01)
        except (AttributeError, TypeError, asyncio.TimeoutError):
            pass
        if transport is not None:
            transport.abort()
            await asyncio.sleep(0.01)
        a.close()
        b.close()

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        run(main())
        gc.collect()
    contexts.clear()


def test_set_protocol_to_something_else(run: Run, contexts: Contexts) -> None:
    async def main() -> None:
        async with facing_socket(Recorder) as (protocol, peer):
            transport: Any = protocol.transport
            transport.set_protocol(object())
            peer.sendall(b"x")
            await asyncio.sleep(0.02)
            assert transport.is_closing(), "an AttributeError in data_received is fatal"
            protocol.lost.set_result(None)

    run(main())
    assert contexts
    contexts.clear()


def test_writing_to_another_loops_transport(loop_kind: str, loop: asyncio.AbstractEventLoop) -> None:
    """Not thread-safe and not recommended, but in one thread it works: the bytes are sent at once."""
    other: Any = new_loop(loop_kind)
    a, b = socket.socketpair()
    b.setblocking(False)
    transport, _ = other.run_until_complete(other.create_connection(asyncio.Protocol, sock=b))

    async def main() -> bytes:
        transport.write(b"from another loop")
        a.setblocking(False)
        return await loop.sock_recv(a, 100)

    assert loop.run_until_complete(main()) == b"from another loop"
    transport.close()
    drain(other)
    other.close()
    a.close()


@pytest.mark.parametrize("delay", ["1", None, object()])
def test_delays_that_are_no_numbers(loop: asyncio.AbstractEventLoop, delay: Any) -> None:
    with pytest.raises(TypeError):
        loop.call_later(delay, print)


@pytest.mark.sfloop_only("asyncio puts them into its heap, and every later turn fails")
@pytest.mark.parametrize("when", ["1", None, object(), 1j])
def test_times_that_are_no_numbers(loop: asyncio.AbstractEventLoop, when: Any) -> None:
    with pytest.raises(TypeError):
        loop.call_at(when, print)


def test_calls_without_arguments(loop: asyncio.AbstractEventLoop) -> None:
    any_loop: Any = loop
    for method in ("call_soon", "call_soon_threadsafe", "call_later", "call_at", "add_reader", "run_until_complete"):
        with pytest.raises(TypeError):
            getattr(any_loop, method)()
    for method in ("call_soon", "call_later", "call_soon_threadsafe"):
        with pytest.raises(TypeError):
            getattr(any_loop, method)(1, print, nonsense=3)


def test_a_context_that_is_none_of_contextvars(loop: asyncio.AbstractEventLoop, contexts: Contexts) -> None:
    """asyncio finds it at the call and reports it. An early TypeError is accepted too."""
    any_loop: Any = loop
    try:
        any_loop.call_soon(print, context="not a context")
    except TypeError:
        return
    with pytest.raises((AttributeError, TypeError)):
        drain(loop)
        context = contexts.take()
        raise context["exception"]


def test_pause_reading_from_within_a_closed_transport(run: Run) -> None:
    async def main() -> None:
        async with udp(DatagramRecorder) as endpoint:
            transport: Any = endpoint.transport
            transport.close()
            await endpoint.lost
            for name in ("pause_reading", "resume_reading"):
                with contextlib.suppress(AttributeError, NotImplementedError):  # asyncio's has none
                    getattr(transport, name)()
            transport.close()
            transport.abort()
            repr(transport)

    run(main())


def test_run_until_complete_of_something_else(loop: asyncio.AbstractEventLoop, loop_kind: str) -> None:
    any_loop: Any = loop
    with pytest.raises(TypeError, match="An asyncio.Future, a coroutine or an awaitable is required"):
        any_loop.run_until_complete(5)
    other = new_loop(loop_kind)
    future = other.create_future()
    with pytest.raises(ValueError, match="belongs? to a different loop|loop argument must agree"):
        any_loop.run_until_complete(future)
    other.close()


@pytest.mark.sfloop_only("they are sfloop's own")
def test_constructor_arguments(loop_kind: str) -> None:
    import sfloop

    with pytest.raises(TypeError):
        sfloop.Loop("not options")  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        sfloop.new_event_loop(nonsense=1)  # type: ignore[call-arg]
    gc.collect()
