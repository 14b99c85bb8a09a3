# A part of core.pyx: a loop's counters, and measurements of its stacks.

def measure_datagrams(Sink sender, Sink receiver, size, seconds):
    """Measure the bypass stacks of two transports with datagrams of `size` bytes. Returns (ns to send one, ns to
    receive one).

    The sender is connected to the receiver. Their loops, which may be the same, do not run meanwhile.

    :raises OSError: a datagram did not arrive, or a stack refused one.
    """
    cdef sf_datagram_cost cost
    cdef int error
    if sender.sock == NULL or receiver.sock == NULL:
        raise os_error(errno_of.EBADF)
    error = sf_measure_datagrams(sender.sock, receiver.sock, size, to_ns(seconds), &cost)
    if error < 0:
        raise os_error(-error)
    return cost.send_ns, cost.receive_ns


def measure_segments(Sink sender, Sink receiver, size, seconds):
    """Measure the bypass stacks at both ends of a TCP connection with segments of `size` bytes. Returns (ns to send
    one, ns to receive one).

    :raises OSError: a segment did not arrive, or a stack refused one.
    """
    cdef sf_segment_cost cost
    cdef int error
    if sender.sock == NULL or receiver.sock == NULL:
        raise os_error(errno_of.EBADF)
    error = sf_measure_segments(sender.sock, receiver.sock, size, to_ns(seconds), &cost)
    if error < 0:
        raise os_error(-error)
    return cost.send_ns, cost.receive_ns


def measure_idle(LoopCore loop, seconds):
    """Measure an idle turn of the loop's bypass stack, in ns. The loop does not run meanwhile."""
    loop.check_open()
    if not loop.engine.n_stacks:
        raise ValueError("the loop has only the kernel stack; make it with a driver")
    return sf_measure_idle(loop.engine.stacks[0], to_ns(seconds))


cdef dict common_counters(sf_stack *stack):
    cdef sf_stack_stats *s = &stack.stats
    return {
        "polls": s.polls,
        "empty_polls": s.empty_polls,
        "events": s.events,
        "stale_events": s.stale_events,
        "rx_bytes": s.rx_bytes,
        "rx_messages": s.rx_messages,
        "tx_bytes": s.tx_bytes,
        "tx_messages": s.tx_messages,
        "tx_would_block": s.tx_would_block,
    }


cdef sf_driver *driver_of(sf_stack *stack) noexcept:
    """NULL: the stack has no driver, or none any more, in a forked child."""
    return NULL if stack.ops.driver == NULL else stack.ops.driver(stack)


cdef bint is_named(sf_stack *stack) noexcept:
    """Whether a program may ask for the stack by its name. It may not ask for the stack of an Ethernet endpoint."""
    return sf_stack_find(stack.ops.name) != NULL


cdef list list_flows(sf_stack *stack):
    cdef sf_stack_flow[64] some
    cdef int first = 0, n = 64, i
    cdef list found = []
    while n == 64:
        n = stack.ops.flows(stack, first, some, 64)
        for i in range(n):
            why = None if some[i].why == NULL else (<bytes>some[i].why).decode()
            remote = (some[i].remote_addr, some[i].remote_port)
            found.append((some[i].protocol, some[i].addr, some[i].port, remote, why, some[i].holder, some[i].process))
        first += n
    return found


cdef list first_flows(sf_engine *e):
    cdef int i
    for i in range(e.n_stacks):
        if e.stacks[i].ops.flows != NULL:
            return list_flows(e.stacks[i])
    return []


cdef list driver_caps(sf_engine *e):
    cdef sf_driver_caps caps
    cdef sf_driver *opened
    cdef list found = []
    cdef int i
    for i in range(e.n_stacks):
        opened = driver_of(e.stacks[i])
        if opened == NULL:
            continue
        opened.fast.control.caps(opened, &caps)
        found.append(((<bytes>opened.fast.control.name).decode(), (<bytes>caps.mode).decode(errors="replace"), caps.mtu,
                      caps.addr, caps.peer_addr))
    return found


cdef dict driver_counters(sf_driver *opened):
    cdef sf_driver_stats d
    opened.fast.control.stats(opened, &d)
    return {
        "rx_frames": d.rx_frames,
        "rx_bytes": d.rx_bytes,
        "rx_dropped": d.rx_dropped,
        "rx_no_frames": d.rx_no_frames,
        "rx_invalid": d.rx_invalid,
        "tx_frames": d.tx_frames,
        "tx_bytes": d.tx_bytes,
        "tx_full": d.tx_full,
        "tx_errors": d.tx_errors,
        "wakeups": d.wakeups,
    }


cdef dict stack_counters(sf_stack *stack):
    """The counters that every stack has, the stack's own, its flows, and its driver's counters."""
    cdef sf_counter[256] own
    cdef sf_driver *opened = driver_of(stack)
    cdef int i
    cdef dict counters = common_counters(stack)
    if stack.ops.counters != NULL:
        for i in range(stack.ops.counters(stack, own, 256)):
            counters[(<bytes>own[i].name).decode()] = own[i].value
    if stack.ops.flows != NULL:
        flows = list_flows(stack)
        counters["flows"] = len(flows)
        counters["flows_left_to_kernel"] = sum(why is not None for *_, why, _, _ in flows)
    if opened != NULL:
        counters["driver"] = driver_counters(opened)
    return counters


cdef dict loop_counters(LoopCore loop):
    cdef sf_engine *e = loop.engine
    cdef dict stacks = {"kernel": stack_counters(e.kernel)}
    cdef int i
    for i in range(e.n_stacks):
        if is_named(e.stacks[i]):
            stacks[(<bytes>e.stacks[i].ops.name).decode()] = stack_counters(e.stacks[i])
    return {
        "turns": e.stats.turns,
        "empty_turns": e.stats.empty_turns,
        "sleeps": e.stats.sleeps,
        "wakeups": atomic_load_ull(&e.wake_writes),
        "wakeups_without_syscall": e.stats.signals,
        "contentions": e.spin.contentions,
        "ready": e.ready.count,
        "timers": e.timers.count,
        "sockets": e.slots.used - 1 - SF_MAX_STACKS,  # without the engine's own descriptors
        "stacks": stacks,
    }
