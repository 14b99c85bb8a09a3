"""The TLS protocol between a transport and the program's protocol: handshake, flow control, and the end of the session.

The callbacks come in the same order as those of ``asyncio.sslproto``. Differences:

- Ciphertext is passed at once to the transport below, which has the write limits. So the limits count all buffered
  data.
- ``pause_reading()`` pauses the transport below, so unread ciphertext stays in its socket.
- After ``close()`` the protocol receives nothing. Data from the peer is then dropped, for a short time only.
- ``close_notify`` and the end of the connection are reported after all data before them, even after a pause.

If OpenSSL's functions can be called directly, the records of an open session bypass this class
(``sfloop.native.cores.tls``).
"""

from __future__ import annotations

import asyncio
import ssl
from asyncio import constants
from typing import Any

from sfloop.native.cores import tls
from sfloop.native.cores.stream import StreamCore
from sfloop.transports.tlsasyncio import take_held
from sfloop.transports.tlschannel import AGAIN, RECORD, State, TLSChannel, logger

SHUTDOWN_TIMEOUT = 30.0  # asyncio's default; Python 3.10 does not have it

# A peer that still sends after our close_notify may not have read it yet. These limits (bytes, seconds) end the wait
# for the peer's close_notify.
MOST_DROPPED = 1024 * 1024
LONGEST_DROPPING = 1.0


def _timeout(name: str, value: float | None, default: float) -> float:
    if value is None:
        return default
    if value <= 0:
        raise ValueError(f"{name} should be a positive number, got {value}")
    return value


def _default_context(server_side: bool, server_hostname: str | None) -> ssl.SSLContext:
    if server_side:
        raise ValueError("Server side SSL needs a valid SSLContext")
    context = ssl.create_default_context()
    if not server_hostname:
        context.check_hostname = False
    return context


class TLSProtocol(TLSChannel):
    """The complete TLS protocol. Takes the arguments of ``asyncio.sslproto.SSLProtocol``."""

    _timer: asyncio.TimerHandle | None = None  # of the handshake, then of the shutdown
    _dropping: asyncio.TimerHandle | None = None
    _opening = False  # the handshake has ended, but its waiter has not run yet
    _notified = False  # close_notify was sent
    _dropped = 0  # bytes received after that
    _released = False

    def __init__(
        self,
        loop: Any,
        app_protocol: Any,
        sslcontext: ssl.SSLContext | None,
        waiter: asyncio.Future[None] | None,
        server_side: bool = False,
        server_hostname: str | None = None,
        call_connection_made: bool = True,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
    ) -> None:
        super().__init__(loop, app_protocol)
        self._handshake_timeout = _timeout(
            "ssl_handshake_timeout", ssl_handshake_timeout, constants.SSL_HANDSHAKE_TIMEOUT
        )
        self._shutdown_timeout = _timeout("ssl_shutdown_timeout", ssl_shutdown_timeout, SHUTDOWN_TIMEOUT)
        if not sslcontext:
            sslcontext = _default_context(server_side, server_hostname)
        self._waiter = waiter
        self._made = not call_connection_made
        self._extra: dict[str, Any] = {"sslcontext": sslcontext}
        name = server_hostname if server_hostname and not server_side else None
        self._sslobj = sslcontext.wrap_bio(
            self._incoming, self._outgoing, server_side=server_side, server_hostname=name
        )

    @property
    def _sslcontext(self) -> ssl.SSLContext:
        """asyncio's protocol has the context in this attribute, and aiohttp's tests read it."""
        context: ssl.SSLContext = self._extra["sslcontext"]
        return context

    def _get_extra_info(self, name: str, default: Any = None) -> Any:
        if name in self._extra:
            return self._extra[name]
        return default if self._transport is None else self._transport.get_extra_info(name, default)

    # ---- callbacks of the transport below ----

    def connection_made(self, transport: Any) -> None:
        """Start the handshake."""
        self._transport = transport
        if self._state is State.ENDED:  # it was closed meanwhile
            transport.abort()
            return
        if self._loop.get_debug():
            logger.debug("%r starts SSL handshake", self)
        self._started = self._loop.time()
        self._enter(State.HANDSHAKE)
        self._app_writing_paused = bool(getattr(transport, "_protocol_paused", False))
        transport.set_write_buffer_limits(self._high, self._low)
        core = getattr(transport, "_core", None)  # the transport of TLS within TLS has no core
        if isinstance(core, StreamCore):
            self._records = tls.Records.attach(self, self._app_transport, core)
            if self._records is not None:
                vars(self._app_transport)["write"] = self._records.write
        self._timer = self._loop.call_later(self._handshake_timeout, self._handshake_takes_long)
        self._incoming.write(take_held(self._app_protocol))
        self._do_handshake()

    def data_received(self, data: bytes) -> None:
        """Called with ciphertext, unless the native records receive it."""
        if self._state is not State.ENDED:
            self._incoming.write(data)
            self.advance()

    def advance(self) -> None:
        """Process the ciphertext that has arrived."""
        if self._state is State.OPEN:
            if not self._app_reading_paused and not self._opening:
                self._do_read()
        elif self._state is State.HANDSHAKE:
            self._do_handshake()
        elif self._state is State.CLOSING:
            self._do_shutdown()

    def eof_received(self) -> bool | None:
        """Called when the connection below has received EOF. True: keep it open until reading is resumed."""
        if self._loop.get_debug():
            logger.debug("%r received EOF", self)
        self._eof = True
        if self._state is State.HANDSHAKE:
            self._handshake_failed(ConnectionResetError())
        elif self._state is State.OPEN and (self._app_reading_paused or self._opening):
            return True
        else:
            self.advance()
        return None

    def connection_lost(self, exc: BaseException | None) -> None:
        """Called when the connection below is lost."""
        self._enter(State.ENDED)
        transport, self._app_transport, self._transport = self._app_transport, None, None
        records, self._records = self._records, None
        if records is not None:
            records.detach()
            vars(transport).pop("write", None)
        if transport is not None:
            transport._closed = True
        for timer in self._timer, self._dropping:
            if timer is not None:
                timer.cancel()
        self._timer = self._dropping = None
        self._drop_backlog()
        protocol, self._app_protocol = self._app_protocol, None
        if self._made:
            self._loop.call_soon(protocol.connection_lost, exc)
        if exc is None:
            exc = ConnectionAbortedError("SSL handshake was aborted")
        self._wake_waiter(exc)
        self._sslobj = None
        if self._released:
            self.release()

    # ---- the handshake ----

    def _do_handshake(self) -> None:
        try:
            self._sslobj.do_handshake()
            peercert = self._sslobj.getpeercert()
        except AGAIN:
            self._process_outgoing()
        except Exception as exc:
            self._handshake_failed(exc)
        else:
            self._handshake_done(peercert)

    def _handshake_done(self, peercert: Any) -> None:
        assert self._timer is not None
        self._timer.cancel()
        self._timer = None
        if self._loop.get_debug():
            logger.debug("%r: SSL handshake took %.1f ms", self, (self._loop.time() - self._started) * 1e3)
        tls = self._sslobj
        self._extra.update(peercert=peercert, cipher=tls.cipher(), compression=tls.compression(), ssl_object=tls)
        self._enter(State.OPEN)
        if self._made and self._waiter is not None:
            # start_tls() must return the transport before data arrives, because the program may set another protocol.
            self._open, self._opening = False, True
            self._state_changed()
            self._wake_waiter(None)
            self._loop.call_soon(self._opened)
            self._process_outgoing()
            return
        if not self._made:
            self._made = True
            self._app_protocol.connection_made(self._app_transport)
        self._wake_waiter(None)
        self._opened()

    def _opened(self) -> None:
        self._opening = False
        if self._state is not State.OPEN:
            return
        self._open = True
        self._state_changed()
        if self._app_reading_paused:
            self._transport.pause_reading()
        if self._write_backlog:
            self._write_waiting()
        self.advance()
        self._process_outgoing()

    def _handshake_failed(self, exc: BaseException) -> None:
        if isinstance(exc, ssl.CertificateError):
            self._fatal_error(exc, "SSL handshake failed on verifying the certificate")
        else:
            self._fatal_error(exc, "SSL handshake failed")
        self._wake_waiter(exc)

    def _handshake_takes_long(self) -> None:
        self._fatal_error(
            ConnectionAbortedError(
                f"SSL handshake is taking longer than {self._handshake_timeout} seconds: aborting the connection"
            )
        )

    def _wake_waiter(self, exc: BaseException | None) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is None or waiter.done():
            return
        if exc is None:
            waiter.set_result(None)
        else:
            waiter.set_exception(exc)

    # ---- the end of the session ----

    def _start_shutdown(self) -> None:
        if self._state in (State.CLOSING, State.ENDED):
            return
        if self._app_transport is not None:
            self._app_transport._closed = True
        if self._state is not State.OPEN or getattr(self._transport, "_collected", None) is not None:
            self._abort(None)
            return
        self._enter(State.CLOSING)
        self._timer = self._loop.call_later(self._shutdown_timeout, self._shutdown_takes_long)
        self._transport.resume_reading()  # the peer's close_notify has not arrived yet
        self._do_shutdown()

    def _do_shutdown(self) -> None:
        try:
            ended = self._drop_received()
            if self._write_backlog:
                self._do_write()
            if not self._write_backlog and not self._notified and not self._eof:
                self._notified = True
                ended = self._notify() or ended
            self._process_outgoing()
        except Exception as exc:
            self._fatal_error(exc, "Error occurred during shutdown")
            return
        if self._eof or (ended and self._notified):
            assert self._timer is not None
            self._timer.cancel()
            self._call_eof_received()  # asyncio calls it after close(), too
            if self._transport is not None:
                self._transport.close()
        elif self._dropped > MOST_DROPPED:
            self._stop_dropping()
        elif self._dropped and self._dropping is None:
            self._dropping = self._loop.call_later(LONGEST_DROPPING, self._stop_dropping)

    def _drop_received(self) -> bool:
        """Drop received data. Returns whether the peer has ended the session."""
        while True:
            waiting = self._incoming.pending
            try:
                data = self._sslobj.read(RECORD)
            except ssl.SSLZeroReturnError:
                return True
            except ssl.SSLWantReadError:
                return False
            except (ssl.SSLEOFError, ssl.SSLSyscallError):
                # OpenSSL raises these for a session ticket that comes after our close_notify, and when no data is left.
                if self._incoming.pending == waiting:
                    return False
            else:
                if not data:
                    return True
                if self._notified:
                    self._dropped += len(data)

    def _notify(self) -> bool:
        """Send close_notify. Returns whether the peer has sent its own."""
        try:
            self._sslobj.unwrap()
        except AGAIN:
            return False
        return True

    def _stop_dropping(self) -> None:
        self._transport.close()  # the shutdown timer keeps running, because the peer may not read

    def _shutdown_takes_long(self) -> None:
        self._force_close(asyncio.TimeoutError("SSL shutdown timed out"))

    def _abort(self, exc: BaseException | None) -> None:
        self._enter(State.ENDED)
        if self._transport is not None:
            self._force_close(exc)

    def _force_close(self, exc: BaseException | None) -> None:
        force_close = getattr(self._transport, "_force_close", None)
        if force_close is None:
            self._transport.abort()
        else:
            force_close(exc)

    def _fatal_error(self, exc: BaseException, message: str = "Fatal error on transport") -> None:
        below = self._transport
        if below is not None:
            if self._state is not State.ENDED:
                self._process_outgoing()  # sends the TLS alert
            self._abort(exc)
        if isinstance(exc, OSError):
            if self._loop.get_debug():
                logger.debug("%r: %s", self, message, exc_info=exc)
        elif not isinstance(exc, asyncio.CancelledError):
            self._loop.call_exception_handler(
                {"message": message, "exception": exc, "transport": below, "protocol": self}
            )

    def release(self) -> None:
        """Called when the transport is closed twice. Once the connection has ended, drop the SSL context, because a
        program's protocol that stores its transport would keep the context alive."""
        self._released = True
        if self._transport is None and self._state is State.ENDED:
            self._extra.pop("sslcontext", None)
            self._extra.pop("ssl_object", None)
