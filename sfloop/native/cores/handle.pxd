"""Handles: the results of call_soon and call_later, and how a turn runs them."""

from cpython.object cimport PyObject

cdef object new_handle(object callback, object args, object loop, object context)
# A handle of call_soon_threadsafe. debug: make a plain asyncio handle, which keeps its source traceback.
cdef object new_threadsafe_handle(object callback, object args, object loop, object context, bint debug)
cdef object new_timer_handle(object when, object callback, object args, object loop, object context)

# For the native methods. call[0] is the callback; the n - 1 objects after it are its arguments. A NULL context means
# that none is given. Both functions return a new reference.
cdef PyObject *handle_of_call(PyObject **call, Py_ssize_t n, PyObject *loop, PyObject *context) except NULL
cdef PyObject *timer_of_call(
    PyObject *when, PyObject **call, Py_ssize_t n, PyObject *loop, PyObject *context) except NULL

# Runs a handle of ours or of asyncio's in its context. An exception goes to the loop's exception handler, except for
# SystemExit and KeyboardInterrupt, which are raised.
cdef int run_handle(PyObject *handle) except -1
cdef void notice_patches() noexcept
# Like run_handle(), but takes over a reference and drops it.
cdef int run_and_drop(PyObject *handle) except -1
# The loop core sets these functions: how a handle asks its loop for debug mode, and how it reports the cancellation of
# a scheduled timer.
cdef void set_loop_hooks(bint (*debugs)(PyObject *) noexcept, void (*timer_cancelled)(PyObject *) noexcept) noexcept

cdef bint is_cancelled(PyObject *handle) noexcept
cdef void set_scheduled(PyObject *timer_handle, bint scheduled) noexcept

# For a long queue, in which each handle would be a cache miss: call the first function, and the second one a few
# handles later.
cdef void prefetch_handle(PyObject *handle) noexcept
cdef void prefetch_call(PyObject *handle) noexcept
