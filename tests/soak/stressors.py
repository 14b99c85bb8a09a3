"""Sources of wake-ups for a loop: threads, an executor, timers, sockets, signals.

Each waits for its own answer, so the loop goes idle, arms and sleeps between two wake-ups, and a missed wake-up stops
the stressor.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import random
import signal
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

from watchdog import Watchdog


class Stressor:
    """A source of wake-ups on a loop that runs in the main thread. `count` is the number that were answered."""

    name = ""

    def __init__(self, loop: asyncio.AbstractEventLoop, watchdog: Watchdog, spin: str | float, seed: str) -> None:
        self.loop, self.watchdog = loop, watchdog
        self.random = random.Random(f"{seed} {self.name}")
        self.count = 0
        self.ending = threading.Event()
        self._threads: list[threading.Thread] = []
        # Pauses of about the time that the loop spins hit the moment at which it arms.
        self._around = spin * 1e-6 if isinstance(spin, (int, float)) else 5e-6

    def pause(self) -> None:
        """Wait a moment. Most waits are busy ones, because they are too short for time.sleep; the loop runs
        meanwhile."""
        kind = self.random.random()
        if kind < 0.6:
            end = time.perf_counter() + self.random.random() * 3 * self._around
            while time.perf_counter() < end:
                pass
        elif kind < 0.8:
            time.sleep(self.random.random() * 100e-6)
        elif kind < 0.85:
            time.sleep(self.random.random() * 3e-3)

    def thread(self, body: Callable[[], None]) -> None:
        def guarded() -> None:
            try:
                body()
            except BaseException as exc:
                self.watchdog.fail(f"{self.name}: {exc!r}")

        self._threads.append(threading.Thread(target=guarded, name=self.name))
        self._threads[-1].start()

    @property
    def going_on(self) -> bool:
        return not self.ending.is_set() and not self.watchdog.failed.is_set()

    def start(self) -> None:
        """Called before the loop runs."""
        raise NotImplementedError

    def end(self) -> None:
        """Stop the wake-ups, and return when all are answered. Called from another thread while the loop runs."""
        self.ending.set()
        for thread in self._threads:
            thread.join()

    def wait_for_task(self, task: asyncio.Task[None]) -> None:
        """Return when the task has ended or the run has failed. Called from another thread than the loop's."""
        ended = asyncio.run_coroutine_threadsafe(asyncio.wait([task]), self.loop)
        while not self.watchdog.failed.is_set() and not ended.done():
            concurrent.futures.wait([ended], 0.2)

    def clean_up(self) -> None:
        """Clean up in the loop's thread after the loop has stopped."""


class Threads(Stressor):
    """A thread that posts with call_soon_threadsafe, one at a time or a few at once."""

    name = "threads"

    def start(self) -> None:
        self.thread(self._post)

    def _post(self) -> None:
        while self.going_on:
            for _ in range(self.random.choice((0, 0, 0, 3))):
                self.loop.call_soon_threadsafe(int)
            expectation = self.watchdog.expect("a callback of call_soon_threadsafe")
            self.loop.call_soon_threadsafe(expectation.met)
            if not expectation.wait(self.watchdog.failed):
                return
            self.count += 1
            self.pause()


class Executor(Stressor):
    """A task that waits for functions run in the default executor."""

    name = "executor"
    task: asyncio.Task[None]

    def start(self) -> None:
        self.task = self.loop.create_task(self._work())

    async def _work(self) -> None:
        while self.going_on:
            expectation = self.watchdog.expect("the result of run_in_executor")
            await self.loop.run_in_executor(None, self.pause)
            expectation.met()
            self.count += 1

    def end(self) -> None:
        super().end()
        self.wait_for_task(self.task)

    def clean_up(self) -> None:
        self.loop.run_until_complete(self.loop.shutdown_default_executor())


class Timers(Stressor):
    """Timers that each set the next one. Some are cancelled before they are due; none may be early."""

    name = "timers"
    task: asyncio.Task[None]

    def start(self) -> None:
        self.task = self.loop.create_task(self._chain())

    def delay(self) -> float:
        return self.random.choice((0.0, 3 * self._around, 50e-6, 300e-6, 2e-3, 20e-3)) * self.random.random()

    async def _chain(self) -> None:
        while self.going_on:
            never = [self.loop.call_later(self.delay(), self._was_cancelled) for _ in range(self.random.randrange(3))]
            for handle in never:
                handle.cancel()
            expectation = self.watchdog.expect("a timer of less than 20 ms")
            due = self.loop.time() + self.delay()
            called = self.loop.create_future()
            self.loop.call_at(due, self._call, called)
            await called
            if (now := self.called_at) < due:
                self.watchdog.fail(f"a timer was {due - now:.9f} s early")
            expectation.met()
            self.count += 1

    def _call(self, called: asyncio.Future[None]) -> None:
        self.called_at = self.loop.time()
        called.set_result(None)

    def _was_cancelled(self) -> None:
        self.watchdog.fail("a timer was called although it was cancelled")

    def end(self) -> None:
        super().end()
        self.wait_for_task(self.task)


class EchoProtocol(asyncio.Protocol):
    transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


class Sockets(Stressor):
    """A thread that writes to a TCP connection whose echo is a transport, and to a socket that add_reader watches."""

    name = "sockets"

    def start(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.peer = socket.create_connection(listener.getsockname())
            accepted, _ = listener.accept()
        self.peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        accepted.setblocking(False)
        self.protocol = EchoProtocol()
        self.loop.run_until_complete(self.loop.create_connection(lambda: self.protocol, sock=accepted))
        self.watched, self.watched_peer = socket.socketpair()
        self.watched.setblocking(False)
        self.loop.add_reader(self.watched, self._readable)
        self.thread(self._write)

    def _readable(self) -> None:
        self.watched.send(self.watched.recv(100))

    def _write(self) -> None:
        for sock in (self.peer, self.watched_peer):
            sock.settimeout(0.2)
        while self.going_on:
            via = self.random.choice((self.peer, self.watched_peer))
            text = self.random.randbytes(self.random.randint(1, 100))
            expectation = self.watchdog.expect(f"an echo by {'a transport' if via is self.peer else 'add_reader'}")
            via.sendall(text)
            if not self._echoed(via, text):
                return
            expectation.met()
            self.count += 1
            self.pause()

    def _echoed(self, via: socket.socket, text: bytes) -> bool:
        got = b""
        while len(got) < len(text):
            try:
                got += via.recv(len(text) - len(got))
            except TimeoutError:
                if self.watchdog.failed.is_set():
                    return False
        if got != text:
            self.watchdog.fail(f"the echo of {text!r} was {got!r}")
        return got == text

    def clean_up(self) -> None:
        self.loop.remove_reader(self.watched)
        self.protocol.transport.abort()
        for sock in (self.peer, self.watched, self.watched_peer):
            sock.close()


class Signals(Stressor):
    """A thread that signals the main one: for a handler of add_signal_handler, or for one of the signal module that
    calls call_soon_threadsafe between any two byte codes of the loop's thread."""

    name = "signals"

    def start(self) -> None:
        self.expectation: Any = None
        self.loop.add_signal_handler(signal.SIGUSR1, self._met)
        self.before = signal.signal(signal.SIGUSR2, lambda *_: self.loop.call_soon_threadsafe(self._met))
        self.thread(self._raise)

    def _met(self) -> None:
        self.expectation.met()

    def _raise(self) -> None:
        main = threading.main_thread().ident
        assert main is not None
        while self.going_on:
            number = self.random.choice((signal.SIGUSR1, signal.SIGUSR2))
            self.expectation = self.watchdog.expect(f"the handler of {number.name}")
            signal.pthread_kill(main, number)
            if not self.expectation.wait(self.watchdog.failed):
                return
            self.count += 1
            self.pause()

    def clean_up(self) -> None:
        self.loop.remove_signal_handler(signal.SIGUSR1)
        signal.signal(signal.SIGUSR2, self.before)


ALL: dict[str, type[Stressor]] = {cls.name: cls for cls in (Threads, Executor, Timers, Sockets, Signals)}
