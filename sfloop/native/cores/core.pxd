"""The interface between the loop core and the transport cores."""

from cpython.object cimport PyObject
from libc.stdint cimport uint32_t

from sfloop.native.cores.engine cimport (
    sf_driver, sf_engine, sf_event, sf_linger, sf_ns, sf_ready_queue, sf_sock, sf_sock_kind, sf_stack,
)


cdef class LoopCore:
    cdef sf_engine *engine
    cdef PyObject **sinks     # by slot; borrowed references, see Sink; NULL: the slot is free
    cdef uint32_t n_sinks
    cdef uint32_t *transports # descriptor -> 1 + slot of the transport that uses it, or 0
    cdef int transports_size
    cdef sf_engine *condemned # a closed engine whose memory is still visible to a program
    cdef Py_ssize_t kept      # views of the stacks' memory that a program keeps
    cdef bint closed
    cdef bint debug
    cdef bint stopping
    cdef bint sleeps_at_once  # spin="never": an idle loop goes straight to sleep
    cdef bint polled_events   # the last poll found events
    cdef bint dispatching     # sinks receive events, with memory that a poll would take back
    cdef sf_event last_event  # the event that was dispatched last
    cdef bint seen_twice      # the event before it was of the same socket
    cdef sf_linger message    # received from that socket without an event
    cdef bint clocked         # time() was replaced: see clock.pxi
    cdef bint timed           # call_at() was replaced
    cdef public object _when_idle # called before the loop waits, if time() was replaced
    cdef size_t cancelled     # timers that are cancelled and still in the heap
    cdef unsigned long thread # the thread that runs the loop; 0: none
    cdef public bint _takes_signals # the loop runs in the main thread, where Python handles signals
    cdef dict keyword         # {"loop": self}
    cdef object nesting       # state of nesting.pyx if the loop may run in its own callbacks; else None
    cdef object __weakref__

    # The attributes in which asyncio's Python code keeps the loop's state. As fields they leave the instance's
    # dictionary empty, so a lookup of a method of the loop, which asyncio does for each callback, does not search it.
    cdef public object _asyncgens, _asyncgens_shutdown_called, _clock_resolution, _coroutine_origin_tracking_enabled
    cdef public object _coroutine_origin_tracking_saved_depth, _csock, _current_handle, _default_executor
    cdef public object _exception_handler, _executor_shutdown_called, _internal_fds, _old_agen_hooks, _ready, _scheduled
    cdef public object _selector, _signal_handlers, _ssock, _task_factory, _thread_id, _timer_cancelled_count
    cdef public object _transports, _unix_server_sockets, _watcher, slow_callback_duration

    cdef list open_sinks(self)
    cdef Sink sink_of(self, uint32_t slot)
    cdef bint runs_elsewhere(self) noexcept
    cdef int attach(self, Sink sink, int fd, sf_sock_kind kind) except -1
    cdef int take_slot(self, uint32_t *slot, uint32_t *generation) except -1
    cdef void give_slot(self, uint32_t slot) noexcept
    cdef int enter(self, Sink sink, uint32_t slot) except -1
    cdef int take_over(self, Sink sink, Sink before) except -1
    cdef int adopt_bypassing(self, Sink sink, int fd, sf_sock_kind kind, uint32_t slot, uint32_t generation) except -1
    cdef int descriptor_taken(self, int fd) except -1
    cdef sf_driver *open_ethernet(self, Sink sink, str driver, str interface, uint32_t address, list wrappers, uint32_t ring,
                                  str mode, bint sniff, bint stamp_tx) except NULL
    cdef void drop_stack(self, sf_stack *stack) noexcept
    cdef void detach(self, Sink sink) noexcept
    cdef void drop_slot(self, Sink sink) noexcept
    cdef int note_transport(self, int fd, uint32_t value) except -1
    cdef int check_open(self) except -1
    cdef int clock_changed(self) except -1
    cdef int turn(self) except -1
    cdef int gather(self) except -1
    cdef bint linger(self, Sink sink, sf_linger *call) except -1
    cdef dict own_keyword(self)
    cdef int dispatch(self) except -1
    cdef void note_stale(self) noexcept
    cdef int dispatch_debugged(self, Sink sink, uint32_t what) except -1
    cdef int take_due(self, sf_ns now) except -1
    cdef int run_queue(self, sf_ready_queue *queue) except -1
    cdef int run(self, object handle) except -1
    cdef int run_debugged(self, object handle) except -1
    cdef int sweep_timers(self) except -1
    cdef int push_ready(self, object handle) except -1
    cdef object set_timer(self, object when, object callback, object args, object context)
    cdef object new_call(self, object callback, object args, object context)
    cdef int shut(self) except -1
    cdef void discard_all(self) noexcept
    cdef int give_back(self) except -1


cdef class Sink:
    """The receiver of the events of one socket: a transport's core, a listener, or a watched descriptor.

    The loop keeps a sink alive while the sink is interested in events, as asyncio's selector does. Otherwise it has a
    borrowed reference only, so a sink that the program has dropped is collected. A derived class has a __dealloc__ that
    calls leave() before its other members are destroyed.
    """

    cdef LoopCore loop
    cdef sf_sock *sock        # NULL once it was released
    cdef uint32_t slot
    cdef uint32_t interest
    cdef int transport_fd     # the descriptor that the loop notes as used by this sink; -1: none
    cdef bint kept            # the loop holds a reference to the sink

    cdef int on_event(self, uint32_t what) except -1
    # Fills in the arguments to receive the next message, if the sink may receive before the kernel reports an event.
    cdef void expect(self, sf_linger *call) noexcept
    # Called with a message that was received in this way.
    cdef int arrived(self, sf_linger *call) except -1
    cdef int want(self, uint32_t what) except -1
    # The loop takes a reference to the sink, or gives it back. The caller holds one of its own.
    cdef void hold(self, bint kept) noexcept
    cdef void release(self) noexcept
    # Called in __dealloc__: releases the socket unless that was done.
    cdef void leave(self) noexcept
    # The loop was closed before the sink: nothing of the engine may be used any more.
    cdef void orphan(self) noexcept
    # The loop is about to be closed: a stream of a bypass stack sends its buffer, calls no callback, and releases its
    # socket. Returns True while data is left to send.
    cdef bint wind_up(self) except -1
    # Called in a forked child: the stacks have abandoned their drivers.
    cdef void lose_driver(self) noexcept


cdef object os_error(int error)
# The time by the clock with which the program has replaced the loop's time().
cdef sf_ns program_time(LoopCore loop) except? -1
