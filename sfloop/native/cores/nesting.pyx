# cython: language_level=3
"""Nested runs of a loop, which nest_asyncio allows (sfloop/mixins/nesting.py). Loaded when the first one becomes
possible.

A callback that runs its own loop is in the middle of a turn. Its run has turns of its own. They begin with the rest of
the outer turn: the events that are not dispatched yet, then the queues. They differ from plain turns in three ways:

- A sink that handles an event in an outer frame does not read again (`busy`).
- A handle whose context is entered in an outer frame cannot run now. It waits for the end of the run (`deferred`).
- A callback may hold memory that a stack has lent, which a poll takes back. So datagram cores copy a batch before they
  deliver it (`allow_nesting()`), and a callback that holds views of such memory may not run the loop (`may_nest()`).
"""

from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF
from libc.stdint cimport uint32_t

from sfloop.native.cores.core cimport LoopCore, Sink, program_time
from sfloop.native.cores.descriptors cimport Watch
from sfloop.native.cores.engine cimport (
    SF_READABLE, SF_WRITABLE, sf_engine, sf_engine_current, sf_event, sf_now, sf_ready_queue, sf_ready_queue_pop,
)
from sfloop.native.cores.handle cimport is_cancelled
from sfloop.native.cores.transport cimport TransportCore

cdef extern from "<unistd.h>" nogil:
    int usleep(unsigned int)

cdef enum:
    # us that a turn sleeps to let other threads run if it found only events of busy sinks, because each poll reports
    # them again.
    NOTHING_TO_DO = 50


cdef class Nesting:
    """The state that the nested runs of one loop share."""

    cdef list busy
    cdef list deferred
    cdef int depth
    cdef bint stops_later

    def __cinit__(self):
        self.busy = []
        self.deferred = []


def allow(LoopCore loop):
    """Prepare a loop for nested runs. Further calls have no effect."""
    if loop.nesting is not None:
        return
    current = sink_in_progress(loop)
    loop.nesting = Nesting()
    for sink in loop.open_sinks():
        prepare = getattr(sink, "allow_nesting", None)
        if prepare is not None:
            prepare(sink is current)


cdef Sink sink_in_progress(LoopCore loop):
    """The sink whose callback is running, if there is one and it still has its socket."""
    if loop.engine == NULL or not loop.dispatching or not sf_engine_current(loop.engine, &loop.last_event):
        return None
    return loop.sink_of(loop.last_event.slot)


def run(LoopCore loop, future, bint once=False):
    """Run the loop in one of its own callbacks, until the future is done (None: until stop() is called).

    :param once: run one turn, even if the future is not done.
    :raises RuntimeError: the callback holds views of a stack's memory.
    """
    cdef Nesting nesting = loop.nesting
    cdef Sink sink = sink_in_progress(loop)
    cdef bint dispatching = loop.dispatching, is_busy
    cdef sf_event event = loop.last_event
    loop.check_open()
    may_nest = getattr(sink, "may_nest", None)
    if may_nest is not None and not may_nest():
        raise RuntimeError(f"the loop cannot run in this callback of {sink!r}, which holds data that a run would overwrite")
    is_busy = sink is not None and sink not in nesting.busy
    if is_busy:
        nesting.busy.append(sink)
    outer, nesting.deferred = nesting.deferred, []
    nesting.depth += 1
    try:
        if once:
            turn(loop, nesting)
        else:
            turns(loop, nesting, future)
    finally:
        nesting.depth -= 1
        if is_busy:
            nesting.busy.pop()
        deferred, nesting.deferred = nesting.deferred, outer
        put_back(loop, deferred)
        loop.dispatching = dispatching
        loop.last_event = event
        loop.seen_twice = False
        if nesting.depth == 0 and nesting.stops_later:
            nesting.stops_later = False
            loop.stopping = True


def stop_outermost(LoopCore loop):
    """Stop the outermost run. Nested runs go on until they end by themselves."""
    cdef Nesting nesting = loop.nesting
    if nesting is not None and nesting.depth:
        nesting.stops_later = True
    else:
        loop.stopping = True


cdef int turns(LoopCore loop, Nesting nesting, object future) except -1:
    while future is None or not future.done():
        turn(loop, nesting)
        if loop.stopping:
            return 0
    if loop.engine.ready.count:  # run the other callbacks of the future, as a plain run does
        turn(loop, nesting)
    return 0


cdef int turn(LoopCore loop, Nesting nesting) except -1:
    """Like LoopCore.turn()."""
    cdef sf_engine *e = loop.engine
    cdef bint fresh = False
    loop.dispatching = False
    loop.seen_twice = False  # else the poll may receive for a busy sink
    if e.event_next >= e.event_count:
        fresh = loop.gather()
    if e.timers.count:
        loop.take_due(program_time(loop) if loop.clocked else e.now if fresh else sf_now())
    if e.ready.count:
        run_queue(loop, &e.ready, nesting)
    if e.event_next < e.event_count:
        loop.dispatching = True
        dispatch(loop, nesting)
        loop.dispatching = False
    if e.due.count:
        run_queue(loop, &e.due, nesting)
    return 0


cdef int run_queue(LoopCore loop, sf_ready_queue *queue, Nesting nesting) except -1:
    cdef size_t n = queue.count
    while n and queue.count:
        n -= 1
        handle = <object>sf_ready_queue_pop(queue)
        Py_DECREF(handle)
        if is_cancelled(<PyObject *>handle):
            continue
        if is_entered(handle):
            nesting.deferred.append(handle)
        else:
            loop.run(handle)
    return 0


cdef bint is_entered(object handle) except -1:
    """Whether the handle's context is entered in an outer frame. It tries to enter the context, because nothing else tells."""
    context = getattr(handle, "_context", None)
    if context is None:
        return False
    try:
        context.run(int)
    except RuntimeError:
        return True
    return False


cdef int put_back(LoopCore loop, list deferred) except -1:
    """Put deferred handles in front of all others, because they were ready earlier."""
    cdef sf_engine *e = loop.engine
    if not deferred or loop.closed:
        return 0
    while e.ready.count:
        handle = <object>sf_ready_queue_pop(&e.ready)
        Py_DECREF(handle)
        deferred.append(handle)
    for handle in deferred:
        loop.push_ready(handle)
    return 0


cdef int dispatch(LoopCore loop, Nesting nesting) except -1:
    """Like LoopCore.dispatch()."""
    cdef sf_engine *e = loop.engine
    cdef sf_event *event
    cdef Sink sink
    cdef bint did = False
    while e.event_next < e.event_count:
        event = &e.events[e.event_next]
        e.event_next += 1
        if not sf_engine_current(e, event):
            loop.note_stale()
            did = True
            continue
        e.stale_in_a_row = 0
        loop.last_event = event[0]
        sink = loop.sink_of(event.slot)
        if sink is None:
            continue
        try:
            did = give(loop, nesting, sink, event.what) or did
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as exc:
            did = True
            loop.call_exception_handler({"message": f"Exception in callback of {sink!r}", "exception": exc})
    if not did:
        with nogil:
            usleep(NOTHING_TO_DO)
    return 0


cdef bint give(LoopCore loop, Nesting nesting, Sink sink, uint32_t what) except -1:
    """Returns whether the sink could handle the event."""
    if sink in nesting.busy:
        return give_to_busy(loop, sink, what)
    nesting.busy.append(sink)
    try:
        if loop.debug:
            loop.dispatch_debugged(sink, what)
        else:
            sink.on_event(what)
    finally:
        nesting.busy.pop()
    return True


cdef bint give_to_busy(LoopCore loop, Sink sink, uint32_t what) except -1:
    """Handle an event of a busy sink where asyncio has a handle of its own: a callback may wait for its own transport
    to send, but not to receive."""
    if isinstance(sink, Watch):
        return give_to_watch(loop, <Watch>sink, what)
    if not isinstance(sink, TransportCore) or not what & sink.interest & SF_WRITABLE:
        return False
    (<TransportCore>sink).context.copy().run(_serve, sink, SF_WRITABLE)
    return True


def _serve(TransportCore core, uint32_t what):
    core.serve(what)


cdef bint give_to_watch(LoopCore loop, Watch watch, uint32_t what) except -1:
    reader = watch.reader if what & SF_READABLE and not is_entered(watch.reader) else None
    writer = watch.writer if what & SF_WRITABLE and not is_entered(watch.writer) else None
    if reader is not None:
        loop.run(reader)
    if writer is not None:
        loop.run(writer)
    return reader is not None or writer is not None
