"""The transport of raw Ethernet frames."""

from __future__ import annotations

import asyncio
import warnings
from typing import TYPE_CHECKING, Any

from sfloop.native.cores import ethernet
from sfloop.native.cores.ethernet import EthernetCore
from sfloop.transports.base import WriteBuffer, _set_result_unless_cancelled, end_dropped, is_ending

if TYPE_CHECKING:
    from sfloop.ethernet import EthernetProtocol, Flow
    from sfloop.loop import Loop


class EthernetTransport(WriteBuffer, asyncio.BaseTransport):
    """Sends and receives whole Ethernet frames through a frame driver of its own.

    ``get_extra_info`` has ``interface``, ``driver``, ``mode`` (the driver's mode, as text), ``mtu`` in bytes,
    ``hwaddr`` (6 bytes) and ``send_timestamps`` (whether the driver reports when frames leave).
    """

    __slots__ = ("__weakref__", "_core", "_loop")

    _core: EthernetCore
    _extra: dict[str, Any]

    def __init__(self, loop: Loop, core_arguments: tuple[Any, ...], interface: str) -> None:
        super().__init__({"interface": interface})
        self._loop: Loop | None = None
        self._core = EthernetCore(loop, self, *core_arguments)
        self._loop = loop
        described = self._core.describe()
        if described is not None:
            names = ("driver", "mode", "mtu", "hwaddr", "send_timestamps")
            self._extra.update(zip(names, described, strict=True))

    def _start(self, protocol: EthernetProtocol, waiter: asyncio.Future[None]) -> None:
        assert self._loop is not None
        self._core.set_protocol(protocol)
        self._loop.call_soon(protocol.connection_made, self)
        self._loop.call_soon(self._core.start_reading)
        self._loop.call_soon(_set_result_unless_cancelled, waiter, None)

    def _discard(self) -> None:
        """Release a transport that was not started."""
        self._core.dispose()
        self._loop = None

    def __repr__(self) -> str:
        state = "closed" if self._loop is None else "closing" if self._core.closing else "open"
        return f"<{type(self).__name__} {state} {self._extra.get('driver')} on {self._extra['interface']}>"

    def __del__(self, _warn: Any = warnings.warn) -> None:
        if getattr(self, "_loop", None) is not None:
            try:
                _warn(f"unclosed transport {self!r}", ResourceWarning, source=self)
            finally:
                if not is_ending(self._core, self._loop):
                    loop, self._loop = self._loop, None
                    end_dropped(self._core, loop, None)

    # ---- frames ----

    send = ethernet.send

    def add_filter(self, flow: Flow) -> None:
        """Receive the frames of this flow, too. On a network interface the kernel then does not receive them.

        :raises OSError: the flow was already added (``EEXIST``), the NIC has no filter left (``ENOSPC``), or it cannot
            match such a flow (``EOPNOTSUPP``).
        """
        self._core.filter(True, *flow.key)

    def remove_filter(self, flow: Flow) -> None:
        """Leave the flow to the kernel again.

        :raises OSError: the flow was not added (``ENOENT``).
        """
        self._core.filter(False, *flow.key)

    def stats(self) -> dict[str, int]:
        """The driver's counters: ``rx_frames``, ``rx_bytes``, ``rx_dropped`` (no room), ``rx_invalid`` (errors), and
        the same for sending. Empty once the transport is closed."""
        return self._core.stats()

    # ---- protocol and reading ----

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Deliver to this protocol from now on."""
        self._core.set_protocol(protocol)

    def get_protocol(self) -> asyncio.BaseProtocol:
        """The current protocol."""
        return self._core.get_protocol()

    def is_reading(self) -> bool:
        """True if the transport is receiving."""
        return self._core.is_reading()

    def pause_reading(self) -> None:
        """Deliver no frames until resume_reading(). The driver keeps a burst of frames; later frames are lost."""
        self._core.pause_reading()

    def resume_reading(self) -> None:
        """Deliver frames again."""
        self._core.resume_reading()

    # ---- the end ----

    def is_closing(self) -> bool:
        """True if the transport is closing or closed."""
        return self._core.closing

    def close(self) -> None:
        """Stop receiving, send the waiting frames, then close the driver and call connection_lost(None)."""
        self._core.close(self)

    def abort(self) -> None:
        """Close at once. Waiting frames are lost."""
        self._core.force_close(None, self)

    def _fatal_error(self, exc: BaseException, message: str = "Fatal error on transport") -> None:
        try:
            if not isinstance(exc, OSError) and self._loop is not None:
                self._loop.call_exception_handler(
                    {"message": message, "exception": exc, "transport": self, "protocol": self._core.get_protocol()}
                )
        finally:  # the exception handler may raise SystemExit or KeyboardInterrupt
            self._core.force_close(exc, self)

    def _call_connection_lost(self, exc: BaseException | None) -> None:
        protocol: Any = self._core.get_protocol()
        try:
            if protocol is not None:
                protocol.connection_lost(exc)
        finally:
            self._core.dispose()
            self._loop = None
