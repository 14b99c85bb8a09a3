# A part of core.pyx: timers by a clock with which a program, usually a test, has replaced time().
#
# A subclass, an attribute of the loop, or an attribute of the class may replace time(). A change of the class takes
# effect when the loop is run next. A clock of sfloop.testing also decides what happens when the loop has nothing to do:
# `_when_idle` returns whether the loop has to wait. If not, the clock has moved on, or something has arrived.

cdef extern from "<poll.h>" nogil:
    cdef struct pollfd:
        int fd
        short events
    enum:
        POLLIN
    int poll_descriptors "poll"(pollfd *, unsigned long, int)


cdef sf_ns program_time(LoopCore loop) except? -1:
    return to_ns(loop.time())


cdef sf_ns next_timer(LoopCore loop) except? -1:
    """The time at which the next timer is due, by the engine's clock."""
    cdef sf_ns due = sf_timers_next(&loop.engine.timers)
    if loop.clocked and due < <sf_ns>FAR:
        due -= max(program_time(loop), <sf_ns>-FAR)
        return sf_now() + min(max(due, 0), <sf_ns>FAR)
    return due


cdef sf_ns idle_until(LoopCore loop) except? -1:
    """Like next_timer(), for a loop that is about to wait because it has nothing to do."""
    if loop.clocked and loop._when_idle is not None:
        waits = loop._when_idle()
        loop.check_open()
        if not waits:
            return sf_now()
    return next_timer(loop)


# ---- for the clock of sfloop.testing ----

def next_call(LoopCore loop):
    """The time at which the loop's next timer is due, in seconds of time(); None: there is none. Drops cancelled
    timers."""
    cdef sf_timers *t
    cdef PyObject *timer
    if loop.engine == NULL:
        return None
    t = &loop.engine.timers
    while t.count and is_cancelled(<PyObject *>t.heap[0].handle):
        timer = <PyObject *>sf_timers_pop(t)
        set_scheduled(timer, False)
        loop.cancelled -= 1 if loop.cancelled else 0
        Py_DECREF(<object>timer)
    return (<object>t.heap[0].handle).when() if t.count else None


def has_nothing_to_do(LoopCore loop):
    """Whether the loop has no handle to run, no event to dispatch, and no stack with work of its own.

    :raises OSError: a poll of the kernel failed.
    """
    cdef sf_engine *e = loop.engine
    cdef int n
    if e == NULL:
        return True
    if e.event_next < e.event_count:
        return False
    stacks_sleep(e)
    e.kernel_polled = 0  # forces a poll of the kernel, which is polled less often beside other stacks
    n = sf_engine_poll(e)
    e.event_next = e.event_count  # drop the events, because the next poll reports them again
    if n < 0:
        raise os_error(-n)
    return not (n or e.ready.count or e.due.count or atomic_load(&e.wake)) and stacks_sleep(e)


cdef bint stacks_sleep(sf_engine *e) noexcept:
    cdef bint all_sleep = True
    cdef int i
    for i in range(e.n_stacks):
        all_sleep = stack_sleeps(e.stacks[i]) and all_sleep
    return all_sleep


cdef bint stack_sleeps(sf_stack *stack) noexcept:
    """Whether the stack has seen everything that has arrived. It looks at the kernel in its next poll."""
    cdef pollfd watched
    watched.fd = -1
    watched.events = POLLIN
    if stack.ops.arm(stack, &watched.fd) < 0:
        return False
    n = poll_descriptors(&watched, 1, 0)
    stack.ops.disarm(stack)
    return n <= 0


def wait_for_work(LoopCore loop, double seconds):
    """Wait at most `seconds` until the loop has something to do. Returns True if it has.

    :raises OSError: a poll of the kernel failed.
    """
    cdef sf_engine *e = loop.engine
    cdef sf_ns until
    cdef int n
    loop.check_open()
    until = sf_now() + to_ns(seconds)
    with nogil:
        n = sf_engine_wait(e, until, SF_NEVER, NULL)
    if n < 0:
        raise os_error(-n)
    e.event_next = e.event_count
    PyErr_CheckSignals()
    return n > 0 or e.ready.count > 0 or atomic_load(&e.wake) != 0


def open_sockets(LoopCore loop):
    """The number of sockets and watched descriptors of the loop, including asyncio's own."""
    return 0 if loop.engine == NULL else loop.engine.slots.used - 1 - SF_MAX_STACKS


def use_test_clock(LoopCore loop):
    """Switch the loop's stacks that can, and the faults of all drivers, to the test clock for good."""
    global sf_fault_now
    cdef sf_stack *stack
    cdef int i
    loop.check_open()
    sf_fault_now = sf_test_clock_now
    for i in range(loop.engine.n_stacks):
        stack = loop.engine.stacks[i]
        if stack.ops.use_test_clock != NULL:
            stack.ops.use_test_clock(stack)


def test_clock():
    """The time of the test clock in ns. It starts with CLOCK_MONOTONIC's."""
    return sf_test_clock_now()


def set_test_clock(object ns):
    """Stop the test clock at this time in ns. None: let it run on from its time."""
    if ns is None:
        sf_test_clock_go()
    else:
        sf_test_clock_set(ns)


def next_stack_timer(LoopCore loop):
    """Seconds of the test clock until a stack of the loop must be polled even if nothing arrives; None: never."""
    cdef sf_ns at = SF_NEVER
    cdef int i
    if loop.engine == NULL:
        return None
    for i in range(loop.engine.n_stacks):
        at = min(at, loop.engine.stacks[i].ops.poll_at(loop.engine.stacks[i], 0))
    return None if at == SF_NEVER else at / 1e9
