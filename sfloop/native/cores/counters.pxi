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


cdef dict stack_counters(sf_stack *stack):
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


cdef dict tcpdirect_counters(sf_stack *stack):
    cdef sf_counter[64] own
    cdef int i
    cdef dict counters = stack_counters(stack)
    for i in range(sf_stack_tcpdirect_counters(stack, own, 64)):
        counters[(<bytes>own[i].name).decode()] = own[i].value
    return counters


cdef list list_filters(sf_stack *stack):
    cdef sf_stack_filter[64] some
    cdef int first = 0, n = 64, i
    cdef list found = []
    while n == 64:
        n = sf_stack_tcpip_filters(stack, first, some, 64)
        for i in range(n):
            why = None if some[i].why == NULL else (<bytes>some[i].why).decode()
            remote = (some[i].remote_addr, some[i].remote_port)
            found.append((some[i].protocol, some[i].addr, some[i].port, remote, why, some[i].holder, some[i].process))
        first += n
    return found


cdef dict tcpip_counters(sf_stack *stack, sf_driver *opened):
    cdef sf_counter[160] own
    cdef sf_driver_stats d
    cdef int i
    cdef dict counters = stack_counters(stack)
    for i in range(sf_stack_tcpip_counters(stack, own, 160)):
        counters[(<bytes>own[i].name).decode()] = own[i].value
    flows = list_filters(stack)
    counters["flows"] = len(flows)
    counters["flows_left_to_kernel"] = sum(why is not None for *_, why, _, _ in flows)
    if opened == NULL:
        return counters
    opened.fast.control.stats(opened, &d)
    counters["driver"] = {
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
    return counters


cdef dict loop_counters(LoopCore loop):
    cdef sf_engine *e = loop.engine
    cdef dict stacks = {"kernel": stack_counters(e.kernel)}
    for i, pointer in enumerate(loop.drivers):
        if pointer is None:
            stacks["tcpdirect"] = tcpdirect_counters(e.stacks[<int>i])
        else:
            stacks["tcpip"] = tcpip_counters(e.stacks[<int>i], <sf_driver *><size_t>pointer)
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
