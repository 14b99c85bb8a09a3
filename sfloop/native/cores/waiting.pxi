# A part of core.pyx: waiting for work, and messages that are received during the wait.

cdef int wait_until(LoopCore loop, sf_ns deadline) except? -1:
    """Spin or sleep until there is something to do. Returns the number of events, or a negative errno. `loop.message`
    gets a message that was received before the kernel reported an event.

    A signal ends the wait through the wake-up descriptor, but a callback may have replaced that descriptor. The loop
    checks the descriptor only after a while, because a check takes as long as several polls. It keeps checking while
    the descriptor is replaced.
    """
    cdef sf_engine *e = loop.engine
    cdef sf_ns patience = SIGNALS_INTERVAL if loop._takes_signals else SF_NEVER
    cdef int n
    while True:
        loop.message.sock = NULL
        loop.message.got = -EAGAIN
        if (loop.seen_twice and sf_engine_current(e, &loop.last_event)
                and loop.sinks[loop.last_event.slot] != NULL):
            (<Sink>loop.sinks[loop.last_event.slot]).expect(&loop.message)
        with nogil:
            n = sf_engine_wait(e, deadline, patience, &loop.message)
        if (n or loop.message.got != -EAGAIN or not loop._takes_signals or e.now >= deadline
                or atomic_load(&e.wake)):
            return n
        patience = SF_NEVER if loop._signals_wake_me() else SIGNALS_INTERVAL
        PyErr_CheckSignals()  # a signal that arrives later ends the wait
        if e.ready.count or loop.stopping:
            return 0


cdef int take_message(LoopCore loop) except -1:
    """Deliver the message that wait_until() has received. No callback may run before that, because nothing else refers
    to the message."""
    cdef Sink sink = loop.sink_of(loop.last_event.slot)
    if sink is None:
        return 0
    loop.dispatching = True
    try:
        sink.arrived(&loop.message)
    except (SystemExit, KeyboardInterrupt):
        raise
    except BaseException as exc:
        loop.call_exception_handler({"message": f"Exception in callback of {sink!r}", "exception": exc})
    finally:
        loop.dispatching = False
    return 0


cdef bint linger_for(LoopCore loop, Sink sink, sf_linger *call) except -1:
    """Wait in a callback for data of `sink`, for LINGER ns or until the loop has anything else to do. Returns True if
    the sink is readable, or if `call` has received something.

    A task that has answered a message and waits for the next one would be suspended. The loop would then wait, and wake
    the task some microseconds later, which costs as much again. So the task itself waits, if nothing else is ready and
    the loop would spin. An event of another socket, a timer or a wake-up ends this wait, and is left to the turn.
    """
    cdef sf_engine *e = loop.engine
    cdef sf_ns deadline
    cdef int n
    if (loop.sleeps_at_once or loop.stopping or loop.debug or loop.dispatching or e.ready.count or e.due.count
            or e.event_next < e.event_count or loop.thread != PyThread_get_thread_ident()):
        return False
    deadline = next_timer(loop)
    n = 0 if e.stats.turns % POLLS_HOLDING_GIL == 0 else sf_engine_poll(e)
    if n == 0:
        with nogil:
            n = sf_engine_linger(e, call, deadline, LINGER)
        if call.got != -EAGAIN:
            loop.polled_events = False
            return True
    loop.polled_events = n > 0
    if n != 1 or e.now >= deadline or atomic_load(&e.wake):
        return False
    if e.events[0].slot != sink.slot or not e.events[0].what & SF_READABLE or not sf_engine_current(e, &e.events[0]):
        return False
    e.event_next = e.event_count
    return True
