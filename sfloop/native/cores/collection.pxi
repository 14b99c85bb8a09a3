"""A part of core.pyx: the garbage collector's view of a loop.

The ready queue and the timers hold references in C arrays, which Cython's generated traversal does not know. Without
this code a loop that was dropped with pending handles would never be collected, and its warning would not come.
"""

cdef traverseproc generated_traverse = (<PyTypeObject *>LoopCore).tp_traverse
cdef inquiry generated_clear = (<PyTypeObject *>LoopCore).tp_clear


cdef int traverse_queue(sf_ready_queue *queue, visitproc visit, void *arg) noexcept:
    cdef size_t i
    cdef int stop
    for i in range(queue.count):
        stop = visit(<PyObject *>queue.ring[(queue.head + i) & (queue.capacity - 1)], arg)
        if stop:
            return stop
    return 0


cdef struct Visit:
    visitproc visit
    void *arg
    PyObject *ssock
    PyObject *csock


cdef int visit_but_sockets(PyObject *member, void *arg) noexcept:
    cdef Visit *v = <Visit *>arg
    return 0 if member == v.ssock or member == v.csock else v.visit(member, v.arg)


cdef int traverse(PyObject *self, visitproc visit, void *arg) noexcept:
    cdef Visit others
    cdef sf_engine *e = (<LoopCore>self).engine
    cdef size_t i
    cdef uint32_t slot
    cdef int stop
    if e != NULL:
        stop = traverse_queue(&e.ready, visit, arg)
        if not stop:
            stop = traverse_queue(&e.due, visit, arg)
        if stop:
            return stop
        for i in range(e.timers.count):
            stop = visit(<PyObject *>e.timers.heap[i].handle, arg)
            if stop:
                return stop
    for slot in range((<LoopCore>self).n_sinks):
        if (<LoopCore>self).sinks[slot] != NULL and (<Sink>(<LoopCore>self).sinks[slot]).kept:
            stop = visit((<LoopCore>self).sinks[slot], arg)
            if stop:
                return stop
    # Hide the self-pipe's sockets, which refer to nothing, from the collector. Otherwise it could close them before the
    # loop, which still needs them at its end, because the order in which a cycle is destroyed is arbitrary.
    others = Visit(visit, arg, <PyObject *>(<LoopCore>self)._ssock, <PyObject *>(<LoopCore>self)._csock)
    return generated_traverse(self, <visitproc>visit_but_sockets, &others)


cdef int clear(PyObject *self) noexcept:
    try:
        (<LoopCore>self).shut()  # not a method of Python's, because the class may have been cleared first
    except BaseException:
        pass
    return generated_clear(<object>self)


(<PyTypeObject *>LoopCore).tp_traverse = <traverseproc>traverse
(<PyTypeObject *>LoopCore).tp_clear = <inquiry>clear
