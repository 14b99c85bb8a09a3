# cython: language_level=3
"""The loop core: scheduling, the turn, and the sinks that receive events.

A turn polls the stacks (it spins or sleeps if no handle is ready), runs the handles that were ready before, gives each
event to its sink, and runs the timers that are due. This is asyncio's order, but events and timers do not pass through
the ready queue.
"""

cimport cython

import errno as errno_of
import inspect
import os
import time

from asyncio import base_events, events, futures, tasks

from cpython.object cimport PyObject, PyTypeObject, traverseproc, visitproc, inquiry
from cpython.ref cimport Py_INCREF, Py_DECREF
from libc.errno cimport EAGAIN
from libc.math cimport ceil
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memset
from libc.stdint cimport uint32_t

from sfloop.native.cores.engine cimport *
from sfloop.native.cores.handle cimport (
    handle_of_call, is_cancelled, new_handle, new_threadsafe_handle, new_timer_handle, notice_patches, prefetch_call,
    prefetch_handle, run_and_drop, run_handle, set_loop_hooks, set_scheduled, timer_of_call,
)
from sfloop.native.cores.method cimport check_methods, native_call, native_call_of_none, new_method, new_method_of_none

cdef extern from "Python.h":
    int PyErr_CheckSignals() except -1
    unsigned long PyThread_get_thread_ident() noexcept
    int PyObject_GenericSetAttr(object, object, PyObject *) except -1
    object PyObject_Call(object, object, object)


cdef object _Handle = events.Handle
cdef object _TimerHandle = events.TimerHandle

cdef enum:
    # As in asyncio, sweep the timers when the heap has more than this many and more than half of them are cancelled.
    SWEEP_MINIMUM = 100
    # A loop that is never idle releases the GIL in one of this many polls, for threads that run no Python bytecode.
    POLLS_HOLDING_GIL = 64
    # ns that a task may wait for the answer to its last message before it is suspended.
    LINGER = 20_000
    # ns of a wait after which the loop checks for signals.
    SIGNALS_INTERVAL = 500_000
    # ns between two attempts to send while the stacks deliver the rest of the data.
    SENDING = 50_000
    # Prefetch a handle into the cache this many handles before it runs.
    AHEAD = 4

# Times beyond this mean "never": 2**62 ns are 146 years.
cdef double FAR = 4.6e18


cdef Py_ssize_t live_engines = 0
cdef Py_ssize_t live_sinks = 0


def live():
    """The number of open (engines, sinks with a socket) of this process."""
    return live_engines, live_sinks


cdef object os_error(int error):
    return OSError(error, os.strerror(error))


cdef sf_ns to_ns(double when) except? -1:
    """The first nanosecond at which loop.time() has reached `when`."""
    cdef double scaled = when * 1e9
    cdef sf_ns ns
    if scaled != scaled:
        raise ValueError("a timer cannot be set to NaN")
    if scaled >= FAR:
        return SF_NEVER - 1
    if scaled <= -FAR:
        return -SF_NEVER
    ns = <sf_ns>ceil(scaled)
    # The product is rounded, but time() must not be below `when` in the callback.
    while <double>ns / 1e9 < when:
        ns += 1
    return ns


include "opening.pxi"
include "clock.pxi"


@cython.no_gc_clear  # leave() needs the loop until the end
cdef class Sink:
    cdef int on_event(self, uint32_t what) except -1:
        return 0

    cdef void expect(self, sf_linger *call) noexcept:
        pass

    cdef int arrived(self, sf_linger *call) except -1:
        return 0

    cdef int want(self, uint32_t what) except -1:
        cdef int rc
        if what == self.interest or self.sock == NULL:
            return 0
        rc = self.sock.stack.ops.interest(self.sock, what)
        if rc < 0:
            raise os_error(-rc)
        self.interest = what
        if self.kept != (what != 0):
            self.hold(what != 0)
        return 0

    cdef void hold(self, bint kept) noexcept:
        if kept == self.kept:
            return
        self.kept = kept
        if kept:
            Py_INCREF(self)
        else:
            Py_DECREF(self)

    cdef void release(self) noexcept:
        if self.sock != NULL:
            self.loop.detach(self)

    cdef void leave(self) noexcept:
        global live_sinks
        if self.sock == NULL or self.loop is None:
            return
        # The other thread uses the stack, so the socket stays open until the loop is closed.
        if self.loop.runs_elsewhere():
            self.loop.sinks[self.slot] = NULL
            self.sock = NULL
            live_sinks -= 1
        else:
            self.release()

    cdef void orphan(self) noexcept:
        global live_sinks
        live_sinks -= self.sock != NULL
        self.sock = NULL
        self.interest = 0
        if self.kept:
            self.hold(False)

    cdef void lose_driver(self) noexcept:
        pass

    cdef bint wind_up(self) except -1:
        return False


cdef class LoopCore:
    def __cinit__(self, *args, **kwargs):
        self.engine = self.condemned = NULL
        self.closed = True
        self.sinks = NULL
        self.n_sinks = 0
        self.transports = NULL
        self.transports_size = 0

    def __dealloc__(self):
        self.discard_all()
        free(self.transports)
        free(self.sinks)

    def _open_engine(self, str mode, long long spin_ns):
        """Create the engine and its kernel stack. mode: adaptive, always, never or for (spin_ns ns after an event)."""
        cdef int error = 0
        cdef sf_spin_mode spin = {"adaptive": SF_SPIN_ADAPTIVE, "always": SF_SPIN_ALWAYS, "never": SF_SPIN_NEVER,
                                  "for": SF_SPIN_FOR}[mode]
        if self.engine != NULL:
            raise RuntimeError("the engine is already open")
        self.engine = sf_engine_create(spin, spin_ns, &error)
        if self.engine == NULL:
            raise os_error(-error)
        global live_engines
        live_engines += 1
        self.closed = False
        self.sleeps_at_once = spin == SF_SPIN_NEVER
        self.clock_changed()

    def _note_own(self):
        """Mark the descriptors that are watched so far as the loop's own, because they only wake the loop."""
        sf_engine_note_own(self.engine)

    def _close_engine(self):
        """Drop every handle and timer, leave open transports to their owners, and free the engine."""
        self.shut()

    def _deliver(self, double seconds):
        """End every stream that bypasses the kernel, as the kernel does when a process ends, and let the stacks deliver
        written data.

        :param seconds: the longest time to wait.
        :return: the number of connections that are given up.
        :raises KeyboardInterrupt: or any other exception of the program's signal handlers.
        """
        cdef sf_engine *e = self.engine
        cdef unsigned long before = self.thread
        cdef sf_ns until, patience
        cdef int left = 0
        if e == NULL or not e.n_stacks:
            return 0
        sinks = [each for each in self.open_sinks() if (<Sink>each).sock.stack != e.kernel]
        until = sf_now() + to_ns(min(seconds, 1e9))
        self.thread = PyThread_get_thread_ident()  # marks the stacks as in use
        if not before:
            sf_engine_enter(e)
        try:
            while True:
                sinks = [each for each in sinks if (<Sink>each).sock != NULL and (<Sink>each).wind_up()]
                patience = min(until - sf_now(), SENDING if sinks else SIGNALS_INTERVAL)
                with nogil:
                    left = sf_engine_quiesce(e, patience)
                PyErr_CheckSignals()
                if sf_now() >= until or not (left or sinks):
                    return left + len(sinks)
        finally:
            self.thread = before
            if not before:
                sf_engine_leave(e)

    # ---- bypass stacks ----

    def _open_stack(self, str name, tuple driver, dict options):
        """Gives the loop a stack by its name in the registry. Call this before any socket is made.

        :param driver: the frame driver below the stack: (name, interface or wire, own address on the wire in network byte
            order or 0, [(wrapper's name, its file or description), the lowest first], frames of the receive ring or 0).
            None for a stack that needs no driver.
        :param options: name → number or text; stack_options() has the names. Times are ns.
        :raises StackLost: the stack had taken over the objects in the options, and was destroyed with them.
        :raises OSError: with the stack's or the driver's message. The objects in the options still belong to the caller.
        """
        self.check_open()
        open_stack(self, name, driver, options)

    cdef sf_driver *open_ethernet(self, Sink sink, str driver, str interface, uint32_t address, list wrappers, uint32_t ring,
                                  str mode, bint sniff, bint stamp_tx) except NULL:
        """Give the sink a frame driver of its own, and return the driver, which belongs to a new stack; see
        drop_stack()."""
        cdef sf_driver *opened
        cdef sf_stack *stack = NULL
        cdef uint32_t slot, generation
        cdef int error
        self.check_open()
        opened = open_driver(driver, interface, address, wrappers, ring, mode, stamp_tx)
        error = 0
        if sniff and opened.fast.control.sniff != NULL:
            error = opened.fast.control.sniff(opened, True)
        elif sniff:
            error = -errno_of.EOPNOTSUPP
        if error == 0:
            error = sf_slots_take(&self.engine.slots, &slot, &generation)
        if error < 0:
            opened.fast.control.close(opened)
            raise os_error(-error)
        stack = sf_stack_ethernet_create(opened, slot, generation, &sink.sock, &error)
        if stack == NULL:
            opened.fast.control.close(opened)
        else:
            error = sf_engine_add_stack(self.engine, stack)
            if error < 0:
                stack.ops.destroy(stack)
        if error < 0:
            sink.sock = NULL
            sf_slots_give(&self.engine.slots, slot)
            raise os_error(-error)
        self.enter(sink, slot)
        return opened

    cdef void drop_stack(self, sf_stack *stack) noexcept:
        """Remove a stack whose socket was released. The stack stays while a program keeps views of received frames."""
        if self.engine != NULL and not self.kept:
            sf_engine_remove_stack(self.engine, stack)

    def _flows(self):
        """List the flows of the first stack that has a list: (protocol's number, address and port in network byte order,
        address and port of the peer, the reason why the kernel keeps the frames or None, the other socket's inode or 0, the
        other process or 0)."""
        return [] if self.engine == NULL else first_flows(self.engine)

    def _driver_caps(self):
        """List (driver's name, its mode, MTU in bytes, own and peer's address in network byte order) of each stack."""
        return [] if self.engine == NULL else driver_caps(self.engine)

    cdef int shut(self) except -1:
        self.closed = True
        self.keyword = None
        sinks = self.open_sinks()
        self.n_sinks = 0
        for sink in sinks:
            (<Sink>sink).orphan()
        self.discard_all()
        return 0

    cdef void discard_all(self) noexcept:
        cdef sf_engine *e = self.engine
        self.closed = True
        if e == NULL:
            return
        while e.ready.count:
            Py_DECREF(<object>sf_ready_queue_pop(&e.ready))
        while e.due.count:
            Py_DECREF(<object>sf_ready_queue_pop(&e.due))
        while e.timers.count:
            e.timers.count -= 1
            set_scheduled(<PyObject *>e.timers.heap[e.timers.count].handle, False)
            Py_DECREF(<object>e.timers.heap[e.timers.count].handle)
        # Not earlier, because a handle's destructor may call into the loop, which is closed then but must be intact.
        self.engine = NULL
        if self.kept:
            self.condemned = e
            return
        global live_engines
        live_engines -= 1
        sf_engine_destroy(e)

    cdef int give_back(self) except -1:
        """Called when a kept view of a stack's memory is released. The last one frees what close() could not free."""
        global live_engines
        self.kept -= 1
        if self.kept == 0 and self.condemned != NULL:
            e, self.condemned = self.condemned, NULL
            live_engines -= 1
            sf_engine_destroy(e)
        return 0

    def _after_fork(self):
        """Separate a forked child from the parent's kernel objects: epoll set, wake-up descriptor, drivers."""
        cdef sf_engine *e = self.engine if self.engine != NULL else self.condemned
        cdef int rc
        if self.runs_elsewhere():  # the child does not have that thread
            self.thread = 0
        for sink in self.open_sinks():
            (<Sink>sink).lose_driver()
        rc = 0 if e == NULL else sf_engine_after_fork(e)
        if rc < 0:
            raise os_error(-rc)

    # ---- state that asyncio's Python code keeps in attributes of the loop ----

    @property
    def _closed(self):
        return self.closed

    @_closed.setter
    def _closed(self, bint value):
        self.closed = value or self.engine == NULL

    @property
    def _debug(self):
        return self.debug

    @_debug.setter
    def _debug(self, bint value):
        self.debug = value

    @property
    def _stopping(self):
        return self.stopping

    @_stopping.setter
    def _stopping(self, bint value):
        self.stopping = value

    def get_debug(self):
        """True in debug mode."""
        return self.debug

    def is_closed(self):
        """True if the loop was closed."""
        return self.closed

    cdef int check_open(self) except -1:
        if self.closed:
            raise RuntimeError("Event loop is closed")
        return 0

    # ---- scheduling ----

    def time(self):
        """The loop's clock in seconds: CLOCK_MONOTONIC with its full resolution (asyncio: loop.time)."""
        return <double>sf_now() / 1e9

    # A program may replace time() by a clock of its own (see clock.pxi), and call_at(), which call_later() then calls.

    def __setattr__(self, name, value):
        PyObject_GenericSetAttr(self, name, <PyObject *>value)
        if name == "time" or name == "call_at":
            self.clock_changed()

    def __delattr__(self, name):
        PyObject_GenericSetAttr(self, name, NULL)
        if name == "time" or name == "call_at":
            self.clock_changed()

    cdef int clock_changed(self) except -1:
        self.clocked = self.time != own_time.__get__(self)
        self.timed = self.call_at != own_call_at.__get__(self)
        return 0

    cdef int push_ready(self, object handle) except -1:
        # Check again, because an allocation may collect garbage, which lets another thread close the loop.
        if self.closed:
            self.check_open()
        if sf_ready_queue_push(&self.engine.ready, <void *>handle) < 0:
            raise MemoryError()
        Py_INCREF(handle)
        return 0

    cdef object new_call(self, object callback, object args, object context):
        if not self.debug:
            return new_handle(callback, args, self, context)
        # asyncio removes its own frames from the source traceback of a handle. It has no frames of ours.
        return _Handle(callback, args, self, context)

    def call_soon(self, callback, *args, context=None):
        """Run callback in the next turn, like asyncio.loop.call_soon."""
        if self.closed:
            self.check_open()
        if self.debug:
            self._check_thread()
            self._check_callback(callback, "call_soon")
        handle = self.new_call(callback, args, context)
        self.push_ready(handle)
        return handle

    def call_soon_threadsafe(self, callback, *args, context=None):
        """Run callback in the next turn, like asyncio.loop.call_soon_threadsafe. Any thread or signal handler may call
        this."""
        if self.closed:
            self.check_open()
        if self.debug:
            self._check_callback(callback, "call_soon_threadsafe")
        handle = new_threadsafe_handle(callback, args, self, context, self.debug)
        self.push_ready(handle)
        sf_engine_wake(self.engine)
        return handle

    def call_later(self, delay, callback, *args, context=None):
        """Run callback `delay` seconds from now, never earlier, like asyncio.loop.call_later."""
        if delay is None:
            raise TypeError("delay must not be None")
        if self.timed:
            return self.call_at(self.time() + delay, callback, *args, context=context)
        if self.clocked:
            return self.set_timer(self.time() + delay, callback, args, context)
        if type(delay) is float:
            return self.set_timer(<double>sf_now() / 1e9 + <double>delay, callback, args, context)
        return self.set_timer(<double>sf_now() / 1e9 + delay, callback, args, context)

    def call_at(self, when, callback, *args, context=None):
        """Run callback at `when`, in seconds of time(), never earlier, like asyncio.loop.call_at."""
        if when is None:
            raise TypeError("when cannot be None")
        return self.set_timer(when, callback, args, context)

    cdef object set_timer(self, object when, object callback, object args, object context):
        cdef sf_ns due
        if self.closed:
            self.check_open()
        due = to_ns(when)
        if self.debug:
            self._check_thread()
            self._check_callback(callback, "call_at")
            timer = _TimerHandle(when, callback, args, self, context)
            timer._scheduled = True
        else:
            timer = new_timer_handle(when, callback, args, self, context)
        if self.closed:  # see push_ready()
            self.check_open()
        if sf_timers_push(&self.engine.timers, due, <void *>timer) < 0:
            raise MemoryError()
        Py_INCREF(timer)
        return timer

    def _timer_handle_cancelled(self, handle):
        """Called by asyncio's own timer handles, which debug mode uses."""
        if handle._scheduled:
            self.cancelled += 1

    def _add_callback(self, handle):
        if not self.closed and not handle._cancelled:
            self.push_ready(handle)

    def _add_callback_signalsafe(self, handle):
        self._add_callback(handle)
        self._write_to_self()

    def _write_to_self(self):
        if self.engine != NULL:
            sf_engine_wake(self.engine)

    cdef dict own_keyword(self):
        """{"loop": self}, made once, because asyncio needs it for every future and task. Nobody may change it."""
        if self.keyword is not None:
            return self.keyword
        keyword = {"loop": self}
        if not self.closed:  # a closed loop would never break the cycle
            self.keyword = keyword
        return keyword

    def create_future(self):
        """Make a future of this loop."""
        return PyObject_Call(futures.Future, (), self.own_keyword())

    def create_task(self, coro, **kwargs):
        """Schedule a coroutine, like asyncio.loop.create_task. asyncio.Task gets all keywords."""
        if self.closed:
            self.check_open()
        if self._task_factory is not None:
            return super().create_task(coro, **kwargs)
        if not kwargs:
            return PyObject_Call(tasks.Task, (coro,), self.own_keyword())
        return tasks.Task(coro, loop=self, **kwargs)

    # ---- the turn ----

    def _run_once(self):
        """Run one turn."""
        if self.closed:
            self.check_open()
        self.turn()

    def _run_turns(self):
        """Run turns until stop() is called."""
        cdef sf_engine *e = self.engine
        if self.closed:
            self.check_open()
        cdef unsigned long before = self.thread
        self.clock_changed()
        notice_patches()
        sf_engine_enter(e)
        self.thread = PyThread_get_thread_ident()
        try:
            while True:
                self.turn()
                if self.stopping:
                    break
        finally:
            self.thread = before
            sf_engine_leave(e)

    cdef int turn(self) except -1:
        cdef sf_engine *e = self.engine
        cdef bint fresh = False
        self.dispatching = False
        if e.event_next >= e.event_count:  # else SystemExit or KeyboardInterrupt cut the last turn short
            fresh = self.gather()
        # Choose the due timers before anything runs, so that a new task starts before a timer that was set with it. Use
        # the time that the poll read, because to read the clock takes half as long as all of this.
        if e.timers.count:
            self.take_due(program_time(self) if self.clocked else e.now if fresh else sf_now())
        if e.ready.count:
            self.run_queue(&e.ready)
        if e.event_next < e.event_count:
            self.dispatching = True
            self.dispatch()
            self.dispatching = False
        if e.due.count:
            self.run_queue(&e.due)
        return 0

    cdef int gather(self) except -1:
        """Poll; wait first if nothing is ready. Returns whether the engine's `now` was read in this turn."""
        cdef sf_engine *e = self.engine
        cdef sf_ns deadline
        cdef bint came = False
        cdef int n = 0
        if self.cancelled:
            self.sweep_timers()
        if self.stopping:
            n = sf_engine_poll(e)
        elif not e.ready.count and not e.due.count:
            deadline = idle_until(self)
            # Poll once before the GIL is released. Under load there is an event, which saves two switches of the GIL.
            n = 0 if self.sleeps_at_once or e.stats.turns % POLLS_HOLDING_GIL == 0 else sf_engine_poll(e)
            if n == 0:
                n = wait_until(self, deadline)
                came = self.message.got != -EAGAIN
                if came:
                    take_message(self)
        elif self.polled_events:
            # A task that the last events woke runs before the next poll. So a message that passes through a task costs
            # one system call less. The poll is delayed once, not twice.
            self.polled_events = False
            return 0
        elif sf_engine_may_skip_poll(e):
            return 1  # signals, too, wait for the next poll, but Python code of a callback handles them earlier
        elif e.stats.turns % (POLLS_HOLDING_GIL >> e.busy.doublings) == 0:
            with nogil:
                n = sf_engine_poll_busy(e)
        else:
            n = sf_engine_poll_busy(e)
        # We have the GIL, so no thread is between its push and its wake, and the ready queue has all that was pushed.
        atomic_store(&e.wake, 0)
        if n < 0:
            raise os_error(-n)
        self.polled_events = n > 0 or came
        PyErr_CheckSignals()
        return 1

    cdef bint linger(self, Sink sink, sf_linger *call) except -1:
        return linger_for(self, sink, call)

    cdef int dispatch(self) except -1:
        cdef sf_engine *e = self.engine
        cdef sf_event *event
        cdef Sink sink
        while e.event_next < e.event_count:
            event = &e.events[e.event_next]
            e.event_next += 1
            if not sf_engine_current(e, event):
                sf_engine_stale(e)
                continue
            e.stale_in_a_row = 0
            if self.sinks[event.slot] == NULL:
                continue
            self.seen_twice = event.slot == self.last_event.slot and event.generation == self.last_event.generation
            self.last_event = event[0]
            sink = <Sink>self.sinks[event.slot]
            try:
                if self.debug:
                    self.dispatch_debugged(sink, event.what)
                else:
                    sink.on_event(event.what)
            except (SystemExit, KeyboardInterrupt):
                raise
            except BaseException as exc:
                self.call_exception_handler({"message": f"Exception in callback of {sink!r}", "exception": exc})
        return 0

    cdef void note_stale(self) noexcept:
        sf_engine_stale(self.engine)

    cdef int dispatch_debugged(self, Sink sink, uint32_t what) except -1:
        started = time.monotonic()
        sink.on_event(what)
        took = time.monotonic() - started
        if took >= self.slow_callback_duration:
            base_events.logger.warning("Executing %r took %.3f seconds", sink, took)
        return 0

    cdef int take_due(self, sf_ns now) except -1:
        cdef sf_engine *e = self.engine
        cdef PyObject *timer
        while e.timers.count and e.timers.heap[0].when <= now:
            timer = <PyObject *>sf_timers_pop(&e.timers)
            # With many timers each one is a cache miss, so fetch the next one while this one is handled.
            if e.timers.count:
                prefetch_handle(<PyObject *>e.timers.heap[0].handle)
            set_scheduled(timer, False)
            if is_cancelled(timer):
                self.cancelled -= 1 if self.cancelled else 0
                Py_DECREF(<object>timer)
            elif sf_ready_queue_push(&e.due, timer) < 0:  # passes on the heap's reference
                Py_DECREF(<object>timer)
                raise MemoryError()
        return 0

    cdef int run_queue(self, sf_ready_queue *queue) except -1:
        """Run the handles that are in the queue now. Handles that they add run later."""
        cdef size_t n = queue.count
        cdef PyObject *handle
        while n and queue.count:
            n -= 1
            handle = <PyObject *>sf_ready_queue_pop(queue)
            if queue.count > AHEAD:
                prefetch_handle(<PyObject *>queue.ring[(queue.head + AHEAD) & (queue.capacity - 1)])
                prefetch_call(<PyObject *>queue.ring[(queue.head + AHEAD // 2) & (queue.capacity - 1)])
            if self.debug:
                held = <object>handle
                Py_DECREF(held)
                self.run_debugged(held)
            else:
                run_and_drop(handle)
        return 0

    cdef int run(self, object handle) except -1:
        return self.run_debugged(handle) if self.debug else run_handle(<PyObject *>handle)

    cdef int run_debugged(self, object handle) except -1:
        if handle._cancelled:
            return 0
        self._current_handle = handle
        try:
            started = time.monotonic()
            run_handle(<PyObject *>handle)
            took = time.monotonic() - started
            if took >= self.slow_callback_duration:
                base_events.logger.warning("Executing %s took %.3f seconds", base_events._format_handle(handle), took)
        finally:
            self._current_handle = None
        return 0

    cdef int sweep_timers(self) except -1:
        cdef sf_timers *t = &self.engine.timers
        cdef size_t i, kept = 0
        cdef PyObject *timer
        cdef list dropped
        if t.count <= SWEEP_MINIMUM or self.cancelled * 2 <= t.count:
            return 0
        dropped = []  # released at the end, because a destructor may set timers
        for i in range(t.count):
            timer = <PyObject *>t.heap[i].handle
            if is_cancelled(timer):
                set_scheduled(timer, False)
                dropped.append(<object>timer)
                Py_DECREF(<object>timer)
            else:
                t.heap[kept] = t.heap[i]
                kept += 1
        t.count = kept
        self.cancelled = 0
        sf_timers_rebuild(t)
        return 0

    # ---- sinks ----

    cdef int attach(self, Sink sink, int fd, sf_sock_kind kind) except -1:
        """Give the sink a slot and a socket over the kernel descriptor fd. It has no interest yet."""
        cdef uint32_t slot, generation
        cdef sf_stack *kernel
        cdef int rc
        if self.closed:
            self.check_open()
        self.descriptor_taken(fd)
        kernel = self.engine.kernel
        rc = sf_slots_take(&self.engine.slots, &slot, &generation)
        if rc == 0:
            if kind == SF_KIND_DATAGRAM:
                rc = self.adopt_bypassing(sink, fd, kind, slot, generation)
            if sink.sock == NULL:
                rc = kernel.ops.adopt(kernel, fd, kind, slot, generation, &sink.sock)
            if rc < 0:
                sf_slots_give(&self.engine.slots, slot)
        if rc < 0:
            raise os_error(-rc)
        self.enter(sink, slot)
        if kind == SF_KIND_STREAM or kind == SF_KIND_DATAGRAM:
            self.note_transport(fd, slot + 1)
            sink.transport_fd = fd
        return 0

    cdef int take_slot(self, uint32_t *slot, uint32_t *generation) except -1:
        """Take a slot for a socket that a stack is about to make. Give it back if the stack fails."""
        cdef int rc = sf_slots_take(&self.engine.slots, slot, generation)
        if rc < 0:
            raise os_error(-rc)
        return 0

    cdef void give_slot(self, uint32_t slot) noexcept:
        sf_slots_give(&self.engine.slots, slot)

    cdef int enter(self, Sink sink, uint32_t slot) except -1:
        """Register the sink, which has a socket of this slot, for the slot's events. It has no interest yet."""
        cdef PyObject **grown
        cdef uint32_t size
        if slot >= self.n_sinks:
            size = max(slot + 1, 2 * self.n_sinks, 64)
            grown = <PyObject **>realloc(self.sinks, size * sizeof(PyObject *))
            if grown == NULL:
                raise MemoryError()
            memset(grown + self.n_sinks, 0, (size - self.n_sinks) * sizeof(PyObject *))
            self.sinks = grown
            self.n_sinks = size
        self.sinks[slot] = <PyObject *>sink
        sink.transport_fd = -1
        global live_sinks
        live_sinks += 1
        sink.loop = self
        sink.slot = slot
        sink.interest = 0
        return 0

    cdef list open_sinks(self):
        """The sinks that have a socket. The list keeps them alive."""
        cdef list found = []
        cdef uint32_t i
        for i in range(self.n_sinks):
            if self.sinks[i] != NULL:
                found.append(<object>self.sinks[i])
        return found

    cdef Sink sink_of(self, uint32_t slot):
        """The sink that has the slot, or None."""
        return None if slot >= self.n_sinks or self.sinks[slot] == NULL else <Sink>self.sinks[slot]

    cdef bint runs_elsewhere(self) noexcept:
        """Whether another thread uses the stacks, so that this one must not."""
        return self.thread != 0 and self.thread != PyThread_get_thread_ident()

    cdef int take_over(self, Sink sink, Sink before) except -1:
        """Move the socket and slot of one sink to another. The new sink has no interest yet."""
        global live_sinks
        if self.closed:
            self.check_open()
        if before.sock == NULL or before.loop is not self:
            raise RuntimeError(f"{before!r} has no open socket of this loop")
        before.want(0)
        sink.sock = before.sock
        before.sock = NULL
        live_sinks -= 1
        return self.enter(sink, before.slot)

    cdef int adopt_bypassing(self, Sink sink, int fd, sf_sock_kind kind, uint32_t slot, uint32_t generation) except -1:
        """Offer the socket to the bypass stacks. The first one that serves its addresses takes it, else the kernel
        stack does."""
        cdef int i
        cdef sf_stack *stack
        for i in range(self.engine.n_stacks):
            stack = self.engine.stacks[i]
            if stack.ops.adopt(stack, fd, kind, slot, generation, &sink.sock) == 0:
                break
            sink.sock = NULL
        return 0

    cdef int descriptor_taken(self, int fd) except -1:
        """Called before a sink uses a descriptor, whose number may have been reused for a new file."""
        return 0

    cdef void detach(self, Sink sink) noexcept:
        sink.sock.stack.ops.release(sink.sock)
        self.drop_slot(sink)

    cdef void drop_slot(self, Sink sink) noexcept:
        """Called when the stack has freed the sink's socket."""
        sink.sock = NULL
        sink.interest = 0
        global live_sinks
        live_sinks -= 1
        if sink.transport_fd >= 0 and self.transports[sink.transport_fd] == sink.slot + 1:
            self.transports[sink.transport_fd] = 0
        sf_slots_give(&self.engine.slots, sink.slot)
        self.sinks[sink.slot] = NULL
        if sink.kept:
            sink.hold(False)

    cdef int note_transport(self, int fd, uint32_t value) except -1:
        cdef uint32_t *grown
        cdef int size
        if fd >= self.transports_size:
            size = max(fd + 1, 2 * self.transports_size, 256)
            grown = <uint32_t *>realloc(self.transports, size * sizeof(uint32_t))
            if grown == NULL:
                raise MemoryError()
            memset(grown + self.transports_size, 0, (size - self.transports_size) * sizeof(uint32_t))
            self.transports = grown
            self.transports_size = size
        self.transports[fd] = value
        return 0

    def _transport_core(self, int fd):
        """The core of the transport that uses a descriptor, or None."""
        cdef uint32_t found
        if self.closed or not 0 <= fd < self.transports_size:
            return None
        found = self.transports[fd]
        return self.sink_of(found - 1) if found else None

    # ---- counters ----

    def _counters(self):
        """The counters of stats(), counted since the loop was made."""
        return {} if self.engine == NULL else loop_counters(self)


include "waiting.pxi"
include "scheduling.pxi"
include "counters.pxi"


cdef bint loop_debugs(PyObject *loop) noexcept:
    return isinstance(<object>loop, LoopCore) and (<LoopCore>loop).debug


cdef void timer_cancelled(PyObject *loop) noexcept:
    if isinstance(<object>loop, LoopCore):
        (<LoopCore>loop).cancelled += 1


set_loop_hooks(loop_debugs, timer_cancelled)

include "collection.pxi"  # garbage collection
