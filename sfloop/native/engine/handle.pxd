"""Handles: what call_soon and call_later return, and how a turn runs them."""

from cpython.object cimport PyObject

cdef object new_handle(object callback, object args, object loop, object context)
# For call_soon_threadsafe. debug: a plain asyncio handle, which keeps its source traceback.
cdef object new_threadsafe_handle(object callback, object args, object loop, object context, bint debug)
cdef object new_timer_handle(object when, object callback, object args, object loop, object context)

# Runs a handle of ours or of asyncio's in its context; an exception goes to the loop's exception handler. Raises only
# SystemExit and KeyboardInterrupt.
cdef int run_handle(PyObject *handle) except -1
# The loop core says here how a handle asks its loop for debug mode, and tells it that a scheduled timer was cancelled.
cdef void set_loop_hooks(bint (*debugs)(PyObject *) noexcept, void (*timer_cancelled)(PyObject *) noexcept) noexcept

cdef bint is_cancelled(PyObject *handle) noexcept
cdef void set_scheduled(PyObject *timer_handle, bint scheduled) noexcept

# For a queue of many handles, each of which would be a miss of the cache: first the one, a few handles later the other.
cdef void prefetch_handle(PyObject *handle) noexcept
cdef void prefetch_call(PyObject *handle) noexcept
