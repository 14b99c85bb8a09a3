"""Views of a loop's descriptors for asyncio's own code: a selector and a mapping of transports."""

from __future__ import annotations

import selectors
import socket
from asyncio import events
from collections.abc import Mapping, MutableMapping
from typing import Any

from sfloop.native.cores.descriptors import WatchingCore

__all__ = ["TransportsByDescriptor", "WatchedDescriptors", "overrides_calls"]

# asyncio's transports call these methods of the socket. sfloop's transports use the descriptor instead.
_CALLS = ("recv", "recv_into", "recvfrom", "send", "sendmsg", "sendto")


def overrides_calls(sock: Any) -> bool:
    """Whether the socket's class overrides methods that send or receive, as proxies and tests do."""
    kind = type(sock)
    return (
        kind is not socket.socket
        and issubclass(kind, socket.socket)  # not isinstance(), because a mock of a socket passes that test
        and any(getattr(kind, name) is not getattr(socket.socket, name) for name in _CALLS)
    )


class WatchedDescriptors(selectors.BaseSelector):
    """The loop's descriptors in the form of a selector, for asyncio's own code."""

    def __init__(self, core: WatchingCore) -> None:
        self._core = core

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return {fd: _selector_key(fd, *handles) for fd, handles in self._core._watched().items()}

    def get_key(self, fileobj: Any) -> selectors.SelectorKey:
        fd = fileobj if isinstance(fileobj, int) else fileobj.fileno()
        try:
            return self.get_map()[fd]
        except KeyError:
            raise KeyError(f"{fileobj!r} is not registered") from None

    def _refuse(self, *args: Any, **kwargs: Any) -> Any:
        raise RuntimeError("sfloop polls in native code: use loop.add_reader() and loop.add_writer()")

    register = unregister = modify = _refuse

    def select(self, timeout: float | None = None) -> list[Any]:
        """Run one whole turn and return no events. Code that gives the loop a ``_run_once()`` of its own, like
        nest_asyncio, calls this method."""
        loop: Any = self._core
        if timeout is not None:
            loop.call_later(timeout, lambda: None)
        with loop._signals_wake():
            loop._run_once_nested()
        return []


def _selector_key(fd: int, reader: events.Handle | None, writer: events.Handle | None) -> selectors.SelectorKey:
    mask = (selectors.EVENT_READ if reader is not None else 0) | (selectors.EVENT_WRITE if writer is not None else 0)
    return selectors.SelectorKey(fd, fd, mask, (reader, writer))


class TransportsByDescriptor:
    """The methods of a mapping {descriptor: transport} that asyncio's code uses. The native core has the transports,
    except for asyncio's own (see overrides_calls())."""

    def __init__(self, core: WatchingCore, asyncios: MutableMapping[int, Any]) -> None:
        self._core = core
        self._asyncios = asyncios

    def __setitem__(self, fd: int, transport: Any) -> None:
        self._asyncios[fd] = transport

    def __delitem__(self, fd: int) -> None:
        del self._asyncios[fd]

    def get(self, fd: int) -> Any:
        core = self._core._transport_core(fd)
        return self._asyncios.get(fd) if core is None else core.get_transport()

    def __getitem__(self, fd: int) -> Any:  # used by asyncio up to Python 3.11
        transport = self.get(fd)
        if transport is None:
            raise KeyError(fd)
        return transport
