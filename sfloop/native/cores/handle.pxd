"""Handles: what call_soon and call_later return, and how a turn runs them."""

from cpython.object cimport PyObject

cdef object new_handle(object callback, object args, object loop, object context)
# For call_soon_threadsafe. debug: a plain asyncio handle, which keeps its source traceback.
cdef object new_threadsafe_handle(object callback, object args, object loop, object context, bint debug)
cdef object new_timer_handle(object when, object callback, object args, object loop, object context)

# For the native methods. call[0] is the callback; the n - 1 objects behind it are its arguments. A context of NULL
# means that none is given. Both return a new reference.
cdef PyObject *handle_of_call(PyObject **call, Py_ssize_t n, PyObject *loop, PyObject *context) except NULL
cdef PyObject *timer_of_call(
    PyObject *when, PyObject **call, Py_ssize_t n, PyObject *loop, PyObject *context) except NULL

# Runs a handle of ours or of asyncio's in its context; an exception goes to the loop's exception handler. Raises only
# SystemExit and KeyboardInterrupt.
cdef int run_handle(PyObject *handle) except -1
# The same, with a reference that is given up.
cdef int run_and_drop(PyObject *handle) except -1
# The loop core says here how a handle asks its loop for debug mode, and tells it that a scheduled timer was cancelled.
cdef void set_loop_hooks(bint (*debugs)(PyObject *) noexcept, void (*timer_cancelled)(PyObject *) noexcept) noexcept

cdef bint is_cancelled(PyObject *handle) noexcept
cdef void set_scheduled(PyObject *timer_handle, bint scheduled) noexcept

# For a queue of many handles, each of which would be a miss of the cache: first the one, a few handles later the other.
cdef void prefetch_handle(PyObject *handle) noexcept
cdef void prefetch_call(PyObject *handle) noexcept
