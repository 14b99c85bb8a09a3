# cython: language_level=3
"""Handles that have asyncio's types and layout, but are made and run without asyncio's Python code.

`Handle` and `TimerHandle` are heap types derived from `asyncio.Handle` and `asyncio.TimerHandle`. They add no storage.
Their state is in the slots of asyncio's classes, which this module accesses by offset. So asyncio's Python methods
(`cancel`, `when`, `repr`, comparisons) work on our handles, and this module runs asyncio's handles, too. In debug mode
the loop makes plain asyncio handles, which keep their source traceback. The types add a free list, so a callback costs
no allocation.

`ThreadSafeHandle` exists from Python 3.14 on, and is derived from `asyncio.events._ThreadSafeHandle`. Another thread
that calls its `cancel()` or `cancelled()` waits until a running callback has ended. asyncio makes a lock for each
handle. Our handle notes the thread that runs its callback, and makes a lock only when a thread has to wait.
"""

import _thread
import asyncio
from asyncio import events, format_helpers

from cpython.object cimport PyObject, PyTypeObject, visitproc
from cpython.ref cimport Py_INCREF, Py_DECREF, Py_XDECREF, Py_XINCREF
from cpython.tuple cimport PyTuple_GET_SIZE

cdef extern from *:
    """
    #define SF_SLOT_ADDRESS(object, offset) ((PyObject **)((char *)(object) + (offset)))
    #define SF_SLOT(object, offset) (*SF_SLOT_ADDRESS(object, offset))
    #define SF_TUPLE_ITEMS(tuple) (((PyTupleObject *)(tuple))->ob_item)
    #define SF_PREFETCH(address) __builtin_prefetch(address)
    #if defined(Py_REF_DEBUG) || defined(Py_TRACE_REFS)
    #define SF_REVIVE(object) _Py_NewReference(object)
    #else
    #define SF_REVIVE(object) Py_SET_REFCNT(object, 1)
    #endif
    #if PY_VERSION_HEX >= 0x030C0000 /* they are immortal */
    #define SF_CONSTANT(object) (object)
    #define SF_DROP_CONSTANT(object) ((void)(object))
    #else
    #define SF_CONSTANT(object) (Py_INCREF(object), (object))
    #define SF_DROP_CONSTANT(object) Py_DECREF(object)
    #endif

    /* A handle's callback may be a method of another handle, and so on. The recursion that destroys such a chain must be
     * limited. CPython's trashcan does that, but takes as long as the rest of the destruction, so the first levels do
     * without it. From CPython 3.14 on, Py_DECREF() itself has the limit. */
    #ifndef Py_TRASHCAN_BEGIN
    #define Py_TRASHCAN_BEGIN(object, dealloc)
    #define Py_TRASHCAN_END
    #endif
    enum { SF_FEW_LEVELS = 32 };
    static void (*sf_end_handle)(PyObject *);
    static int sf_ending_levels;

    static void sf_dealloc_handle(PyObject *handle)
    {
        PyObject_GC_UnTrack(handle);
        if (sf_ending_levels < SF_FEW_LEVELS) {
            sf_ending_levels++;
            sf_end_handle(handle);
            sf_ending_levels--;
            return;
        }
        Py_TRASHCAN_BEGIN(handle, sf_dealloc_handle)
        sf_end_handle(handle);
        Py_TRASHCAN_END
    }
    """
    void (*sf_end_handle)(PyObject *) noexcept
    void sf_dealloc_handle(PyObject *) noexcept
    PyObject *SF_CONSTANT(PyObject *) noexcept
    void SF_DROP_CONSTANT(PyObject *) noexcept
    void SF_REVIVE(PyObject *) noexcept  # gives an object of the free list a single reference
    PyObject **SF_SLOT_ADDRESS(PyObject *, Py_ssize_t) noexcept nogil
    PyObject *SF_SLOT(PyObject *, Py_ssize_t) noexcept nogil
    PyObject **SF_TUPLE_ITEMS(PyObject *) noexcept nogil
    void SF_PREFETCH(const void *) noexcept nogil

cdef extern from "Python.h":
    ctypedef struct PyMemberDef:
        Py_ssize_t offset
    ctypedef struct PyMemberDescrObject:
        PyMemberDef *d_member
    ctypedef struct PyType_Slot:
        int slot
        void *pfunc
    ctypedef struct PyType_Spec:
        const char *name
        int basicsize
        int itemsize
        unsigned int flags
        PyType_Slot *slots
    ctypedef struct PyMethodDef:
        const char *ml_name
        void *ml_meth
        int ml_flags
        const char *ml_doc
    int METH_NOARGS
    int Py_tp_alloc, Py_tp_dealloc, Py_tp_traverse, Py_tp_clear, Py_tp_methods, Py_tp_doc
    unsigned int Py_TPFLAGS_DEFAULT, Py_TPFLAGS_HAVE_GC
    PyObject *Py_True
    PyObject *Py_False
    PyObject *Py_None
    object PyType_FromSpecWithBases(PyType_Spec *, object bases)
    PyObject *PyType_GenericAlloc(PyTypeObject *, Py_ssize_t) noexcept
    PyTypeObject *Py_TYPE "Py_TYPE" (PyObject *) noexcept
    void PyObject_GC_Track(PyObject *) noexcept
    void PyObject_GC_UnTrack(PyObject *) noexcept
    void PyObject_GC_Del(PyObject *) noexcept
    void PyObject_ClearWeakRefs(PyObject *) noexcept
    PyObject *PyObject_Vectorcall(PyObject *, PyObject **, size_t, PyObject *) noexcept
    PyObject *PyObject_CallMethodOneArg(PyObject *, PyObject *, PyObject *) noexcept
    PyObject *PyBool_FromLong(long) noexcept
    unsigned long PyThread_get_thread_ident() noexcept
    PyObject *PyContext_CopyCurrent() noexcept
    int PyContext_Enter(PyObject *) noexcept
    int PyContext_Exit(PyObject *) noexcept
    void PyErr_Clear() noexcept
    int PyTuple_CheckExact(PyObject *) noexcept
    PyObject *PyTuple_New(Py_ssize_t) noexcept

cdef enum:
    FREE_MAX = 1024
    SLOTS = 10
    SLOTS_OF_ALL = 7  # the slots that every handle has: the first of offsets[]


# ---- the offsets of a handle's state in asyncio's classes ----

cdef Py_ssize_t offset_of(type owner, str name) except -1:
    descriptor = owner.__dict__[name]
    return (<PyMemberDescrObject *><PyObject *>descriptor).d_member.offset

cdef Py_ssize_t CALLBACK = offset_of(asyncio.Handle, "_callback")
cdef Py_ssize_t ARGS = offset_of(asyncio.Handle, "_args")
cdef Py_ssize_t CANCELLED = offset_of(asyncio.Handle, "_cancelled")
cdef Py_ssize_t LOOP = offset_of(asyncio.Handle, "_loop")
cdef Py_ssize_t SOURCE_TRACEBACK = offset_of(asyncio.Handle, "_source_traceback")
cdef Py_ssize_t REPR = offset_of(asyncio.Handle, "_repr")
cdef Py_ssize_t CONTEXT = offset_of(asyncio.Handle, "_context")
cdef Py_ssize_t WHEN = offset_of(asyncio.TimerHandle, "_when")
cdef Py_ssize_t SCHEDULED = offset_of(asyncio.TimerHandle, "_scheduled")
cdef Py_ssize_t WEAKREFS = asyncio.Handle.__weakrefoffset__

# From Python 3.14 on.
cdef object _ThreadSafeHandle = vars(events).get("_ThreadSafeHandle")
cdef Py_ssize_t LOCK = 0 if _ThreadSafeHandle is None else offset_of(_ThreadSafeHandle, "_lock")


cdef inline void fill(PyObject *handle, Py_ssize_t offset, PyObject *value) noexcept:
    """Fill a slot that is empty."""
    Py_XINCREF(value)
    SF_SLOT_ADDRESS(handle, offset)[0] = value


cdef inline void replace(PyObject *handle, Py_ssize_t offset, PyObject *value) noexcept:
    cdef PyObject *old = SF_SLOT(handle, offset)
    Py_XINCREF(value)
    SF_SLOT_ADDRESS(handle, offset)[0] = value
    Py_XDECREF(old)


cdef inline void reset(PyObject *handle, Py_ssize_t offset, PyObject *value) noexcept:
    if SF_SLOT(handle, offset) != value:
        replace(handle, offset, value)


cdef inline void drop(PyObject *handle, Py_ssize_t offset) noexcept:
    cdef PyObject *old = SF_SLOT(handle, offset)
    SF_SLOT_ADDRESS(handle, offset)[0] = NULL
    Py_XDECREF(old)


# ---- the types ----

cdef struct Kind:
    PyTypeObject *type   # NULL: this version of Python has no such handles
    int slots            # the number of offsets[] in use
    Py_ssize_t[SLOTS] offsets
    Py_ssize_t live
    int free_count
    PyObject *free[FREE_MAX]

cdef Kind handles
cdef Kind timers
cdef Kind threadsafe


cdef void set_slots(Kind *kind, list more):
    for offset in [CALLBACK, ARGS, CANCELLED, LOOP, SOURCE_TRACEBACK, REPR, CONTEXT, *more]:
        kind.offsets[kind.slots] = offset
        kind.slots += 1


set_slots(&handles, [])
set_slots(&timers, [WHEN, SCHEDULED])
set_slots(&threadsafe, [LOCK])


cdef inline Kind *kind_of_type(PyTypeObject *type) noexcept:
    if type == handles.type:
        return &handles
    return &timers if type == timers.type else &threadsafe


cdef PyObject *allocate(Kind *kind) noexcept:
    """Make a handle that is not cancelled and has neither traceback nor text. Its other slots are empty."""
    cdef PyObject *handle
    if kind.free_count > 0:
        kind.free_count -= 1
        handle = kind.free[kind.free_count]
        SF_REVIVE(handle)
        PyObject_GC_Track(handle)
    else:
        handle = PyType_GenericAlloc(kind.type, 0)
        if handle == NULL:
            return NULL
        SF_SLOT_ADDRESS(handle, CANCELLED)[0] = SF_CONSTANT(Py_False)
        SF_SLOT_ADDRESS(handle, SOURCE_TRACEBACK)[0] = SF_CONSTANT(Py_None)
        SF_SLOT_ADDRESS(handle, REPR)[0] = SF_CONSTANT(Py_None)
    kind.live += 1
    return handle


cdef PyObject *type_alloc(PyTypeObject *type, Py_ssize_t items) noexcept:
    return allocate(kind_of_type(type))


cdef int type_clear(PyObject *self) noexcept:
    cdef Kind *kind = kind_of_type(Py_TYPE(self))
    cdef int i
    for i in range(kind.slots):
        replace(self, kind.offsets[i], NULL)
    return 0


cdef inline int visit_slot(PyObject *handle, Py_ssize_t offset, visitproc visit, void *arg) noexcept:
    cdef PyObject *member = SF_SLOT(handle, offset)
    return 0 if member == NULL or member == Py_None else visit(member, arg)


cdef int type_traverse(PyObject *self, visitproc visit, void *arg) noexcept:
    # Visit only slots that can be part of a cycle. Others hold numbers and strings. Each collection visits all timers
    # that survive it, perhaps a hundred thousand.
    cdef int stop = visit_slot(self, CALLBACK, visit, arg)
    if not stop:
        stop = visit_slot(self, ARGS, visit, arg)
    if not stop:
        stop = visit_slot(self, LOOP, visit, arg)
    if not stop:
        stop = visit_slot(self, CONTEXT, visit, arg)
    if not stop:
        stop = visit_slot(self, SOURCE_TRACEBACK, visit, arg)
    return stop if stop else visit(<PyObject *>Py_TYPE(self), arg)


cdef void end_handle(PyObject *self) noexcept:
    """Destroy a handle that the garbage collector no longer tracks."""
    cdef PyTypeObject *type = Py_TYPE(self)
    cdef Kind *kind = kind_of_type(type)
    cdef int i
    if SF_SLOT(self, WEAKREFS) != NULL:
        PyObject_ClearWeakRefs(self)
    # Like type_clear(), but unrolled and with the values that allocate() promises, because it runs once per callback.
    drop(self, CALLBACK)
    drop(self, ARGS)
    drop(self, LOOP)
    drop(self, CONTEXT)
    reset(self, CANCELLED, Py_False)
    reset(self, SOURCE_TRACEBACK, Py_None)
    reset(self, REPR, Py_None)
    for i in range(SLOTS_OF_ALL, kind.slots):
        drop(self, kind.offsets[i])
    kind.live -= 1
    if kind.free_count < FREE_MAX:
        kind.free[kind.free_count] = self  # the handle keeps its reference to the type
        kind.free_count += 1
    else:
        SF_DROP_CONSTANT(Py_False)
        SF_DROP_CONSTANT(Py_None)
        SF_DROP_CONSTANT(Py_None)
        PyObject_GC_Del(self)
        Py_DECREF(<object>type)


sf_end_handle = end_handle

cdef bint (*loop_debugs)(PyObject *) noexcept
cdef void (*loop_timer_cancelled)(PyObject *) noexcept


cdef void set_loop_hooks(bint (*debugs)(PyObject *) noexcept, void (*timer_cancelled)(PyObject *) noexcept) noexcept:
    global loop_debugs, loop_timer_cancelled
    loop_debugs = debugs
    loop_timer_cancelled = timer_cancelled


cdef PyObject *none() noexcept:
    Py_XINCREF(Py_None)
    return Py_None


cdef void drop_call(PyObject *self) noexcept:
    replace(self, CANCELLED, Py_True)
    replace(self, CALLBACK, Py_None)
    replace(self, ARGS, Py_None)


cdef object _Handle = asyncio.Handle
cdef object _asyncio_cancel = asyncio.Handle.cancel
cdef object _asyncio_cancel_timer = asyncio.TimerHandle.cancel


cdef PyObject *cancel_debugged(PyObject *self) except NULL:
    _asyncio_cancel(<object>self)
    return none()


cdef PyObject *handle_cancel(PyObject *self, PyObject *unused) except NULL:
    if SF_SLOT(self, CANCELLED) != Py_True:
        if SF_SLOT(self, LOOP) != NULL and loop_debugs(SF_SLOT(self, LOOP)):
            return cancel_debugged(self)  # debug mode was switched on after the handle was made
        drop_call(self)
    return none()


cdef PyObject *timer_handle_cancel(PyObject *self, PyObject *unused) except NULL:
    if SF_SLOT(self, CANCELLED) != Py_True:
        if SF_SLOT(self, LOOP) == NULL or SF_SLOT(self, LOOP) == Py_None:
            _asyncio_cancel_timer(<object>self)  # raises if the handle is scheduled
            return none()
        if SF_SLOT(self, SCHEDULED) == Py_True:
            loop_timer_cancelled(SF_SLOT(self, LOOP))
        return handle_cancel(self, unused)
    return none()


# A handle of call_soon_threadsafe() has this after asyncio's slots.
cdef struct Run:
    unsigned long thread  # the thread that runs the callback; 0: none
    PyObject *ended       # a lock that is held until the callback has ended; made by the first thread that waits

cdef Py_ssize_t RUN = 0


cdef inline Run *run_of(PyObject *handle) noexcept:
    return <Run *>(<char *>handle + RUN)


cdef int wait_for_end(PyObject *handle) except -1:
    """Wait while another thread runs the callback."""
    cdef Run *run = run_of(handle)
    cdef unsigned long me = PyThread_get_thread_ident()
    made = None
    while run.thread != 0 and run.thread != me:
        if run.ended == NULL and made is None:
            made = _thread.allocate_lock()
            made.acquire()
            continue  # check again, because the allocation may have let other threads run
        if run.ended == NULL:
            Py_INCREF(made)
            run.ended = <PyObject *>made
        ended = <object>run.ended
        ended.acquire()
        ended.release()
        made = None
    return 0


cdef int begin_run(PyObject *handle) except -1:
    """Returns whether the caller has to call end_run(). It is false if a callback runs its own handle."""
    cdef Run *run = run_of(handle)
    wait_for_end(handle)
    if run.thread != 0:
        return 0
    run.thread = PyThread_get_thread_ident()
    return 1


cdef int end_run(PyObject *handle) except -1:
    cdef Run *run = run_of(handle)
    cdef PyObject *ended = run.ended
    run.thread = 0
    run.ended = NULL
    if ended != NULL:
        lock = <object>ended
        Py_DECREF(lock)
        lock.release()
    return 0


cdef PyObject *threadsafe_cancel(PyObject *self, PyObject *unused) except NULL:
    wait_for_end(self)
    return handle_cancel(self, unused)


cdef PyObject *threadsafe_cancelled(PyObject *self, PyObject *unused) except NULL:
    wait_for_end(self)
    return PyBool_FromLong(is_cancelled(self))


cdef PyObject *threadsafe_run(PyObject *self, PyObject *unused) except NULL:
    run_handle(self)
    return none()


cdef PyMethodDef[2] handle_methods
cdef PyMethodDef[2] timer_handle_methods
cdef PyMethodDef[4] threadsafe_methods
threadsafe_methods[0] = PyMethodDef(
    b"cancel", <void *>threadsafe_cancel, METH_NOARGS,
    b"cancel($self, /)\n--\n\n"
    b"Cancel the callback. Another thread that calls this waits until a running callback has ended.")
threadsafe_methods[1] = PyMethodDef(
    b"cancelled", <void *>threadsafe_cancelled, METH_NOARGS,
    b"cancelled($self, /)\n--\n\n"
    b"True if the callback was cancelled. Another thread that calls this waits until a running callback has ended.")
threadsafe_methods[2] = PyMethodDef(b"_run", <void *>threadsafe_run, METH_NOARGS, b"_run($self, /)\n--\n\nRun the callback.")
handle_methods[0] = PyMethodDef(b"cancel", <void *>handle_cancel, METH_NOARGS, b"cancel($self, /)\n--\n\nCancel the callback.")
timer_handle_methods[0] = PyMethodDef(b"cancel", <void *>timer_handle_cancel, METH_NOARGS, b"cancel($self, /)\n--\n\nCancel the callback.")


cdef object make_type(const char *name, object base, PyMethodDef *methods, const char *doc, int basicsize=0):
    """:param basicsize: 0: the base's size."""
    cdef PyType_Slot[7] slots
    cdef PyType_Spec spec
    slots[0] = PyType_Slot(Py_tp_alloc, <void *>type_alloc)
    slots[1] = PyType_Slot(Py_tp_dealloc, <void *>sf_dealloc_handle)
    slots[2] = PyType_Slot(Py_tp_traverse, <void *>type_traverse)
    slots[3] = PyType_Slot(Py_tp_clear, <void *>type_clear)
    slots[4] = PyType_Slot(Py_tp_methods, <void *>methods)
    slots[5] = PyType_Slot(Py_tp_doc, <void *>doc)
    slots[6] = PyType_Slot(0, NULL)
    spec.name = name
    spec.basicsize = basicsize
    spec.itemsize = 0
    spec.flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC
    spec.slots = &slots[0]
    return PyType_FromSpecWithBases(&spec, (base,))


Handle = make_type(
    b"sfloop.Handle", asyncio.Handle, handle_methods,
    b"The result of call_soon(): an asyncio.Handle, see its documentation.")
TimerHandle = make_type(
    b"sfloop.TimerHandle", asyncio.TimerHandle, timer_handle_methods,
    b"The result of call_later() and call_at(): an asyncio.TimerHandle, see its documentation.")
# Keep the types for ever, because the pointers below must outlive this module's dictionary, which is cleared early when
# the interpreter ends.
Py_INCREF(Handle)
Py_INCREF(TimerHandle)
handles.type = <PyTypeObject *><PyObject *>Handle
timers.type = <PyTypeObject *><PyObject *>TimerHandle

if _ThreadSafeHandle is None:
    ThreadSafeHandle = Handle
else:
    RUN = (<Py_ssize_t>_ThreadSafeHandle.__basicsize__ + sizeof(Run) - 1) // sizeof(Run) * sizeof(Run)
    ThreadSafeHandle = make_type(
        b"sfloop._ThreadSafeHandle", _ThreadSafeHandle, threadsafe_methods,
        b"The result of call_soon_threadsafe(): an asyncio.Handle, see its documentation.", RUN + sizeof(Run))
    Py_INCREF(ThreadSafeHandle)
    threadsafe.type = <PyTypeObject *><PyObject *>ThreadSafeHandle


# ---- making and running ----

cdef inline int fill_call(PyObject *h, PyObject *callback, PyObject *args, PyObject *loop,
                          PyObject *context) noexcept:
    """Fill a new handle from allocate(). Takes over the reference to args. Returns -1 with a Python exception set."""
    fill(h, CALLBACK, callback)
    SF_SLOT_ADDRESS(h, ARGS)[0] = args
    fill(h, LOOP, loop)
    if context != NULL and context != Py_None:
        fill(h, CONTEXT, context)
        return 0
    SF_SLOT_ADDRESS(h, CONTEXT)[0] = PyContext_CopyCurrent()
    return 0 if SF_SLOT(h, CONTEXT) != NULL else -1


cdef PyObject *make_handle(Kind *kind, PyObject *callback, PyObject *args, PyObject *loop,
                           PyObject *context) except NULL:
    """Make a handle and return a new reference. Takes over the reference to args."""
    cdef PyObject *h = allocate(kind)
    if h == NULL:
        Py_XDECREF(args)
        return NULL
    if fill_call(h, callback, args, loop, context) < 0:
        Py_XDECREF(h)
        return NULL
    return h


cdef tuple NO_ARGS = ()


cdef PyObject *packed(PyObject **items, Py_ssize_t n) except NULL:
    """Make a tuple of these objects."""
    cdef PyObject *made
    cdef Py_ssize_t i
    if n == 0:
        Py_XINCREF(<PyObject *>NO_ARGS)
        return <PyObject *>NO_ARGS
    made = PyTuple_New(n)
    if made == NULL:
        return NULL
    for i in range(n):
        Py_XINCREF(items[i])
        SF_TUPLE_ITEMS(made)[i] = items[i]
    return made


cdef PyObject *handle_of_call(PyObject **call, Py_ssize_t n, PyObject *loop, PyObject *context) except NULL:
    return make_handle(&handles, call[0], packed(call + 1, n - 1), loop, context)


cdef PyObject *timer_of_call(
        PyObject *when, PyObject **call, Py_ssize_t n, PyObject *loop, PyObject *context) except NULL:
    cdef PyObject *h = make_handle(&timers, call[0], packed(call + 1, n - 1), loop, context)
    fill(h, WHEN, when)
    SF_SLOT_ADDRESS(h, SCHEDULED)[0] = SF_CONSTANT(Py_True)
    return h


cdef object new_handle(object callback, object args, object loop, object context):
    Py_INCREF(args)
    return owned(make_handle(&handles, <PyObject *>callback, <PyObject *>args, <PyObject *>loop, <PyObject *>context))


cdef inline object owned(PyObject *handle):
    result = <object>handle
    Py_DECREF(result)
    return result


cdef object new_threadsafe_handle(object callback, object args, object loop, object context, bint debug):
    if threadsafe.type == NULL:
        return _Handle(callback, args, loop, context) if debug else new_handle(callback, args, loop, context)
    if debug:
        handle = _ThreadSafeHandle(callback, args, loop, context)
        del handle._source_traceback[-1]  # asyncio removes the frame of Handle.__init__, but not that of this class
        return handle
    Py_INCREF(args)
    return owned(make_handle(
        &threadsafe, <PyObject *>callback, <PyObject *>args, <PyObject *>loop, <PyObject *>context))


cdef object new_timer_handle(object when, object callback, object args, object loop, object context):
    Py_INCREF(args)
    timer = owned(make_handle(&timers, <PyObject *>callback, <PyObject *>args, <PyObject *>loop, <PyObject *>context))
    fill(<PyObject *>timer, WHEN, <PyObject *>when)
    fill(<PyObject *>timer, SCHEDULED, Py_True)
    return timer


cdef bint is_cancelled(PyObject *handle) noexcept:
    return SF_SLOT(handle, CANCELLED) == Py_True


cdef void set_scheduled(PyObject *timer_handle, bint scheduled) noexcept:
    replace(timer_handle, SCHEDULED, Py_True if scheduled else Py_False)


cdef void prefetch_handle(PyObject *handle) noexcept:
    """Fetch the memory that is_cancelled(), set_scheduled() and run_handle() read into the cache."""
    SF_PREFETCH(<char *>handle)
    SF_PREFETCH(<char *>handle + 64)


cdef void prefetch_call(PyObject *handle) noexcept:
    """Fetch the context of the handle's call into the cache. Call prefetch_handle() a while before."""
    SF_PREFETCH(<char *>SF_SLOT(handle, CONTEXT))


# The types whose callbacks run without asyncio's Python code. NULL while a program has replaced asyncio.Handle._run.
cdef PyTypeObject *quick_handle = handles.type
cdef PyTypeObject *quick_timer = timers.type
cdef object _asyncio_run = asyncio.Handle._run


cdef void notice_patches() noexcept:
    """Called before a loop runs: heed a replacement of asyncio.Handle._run, with which some tools measure callbacks."""
    global quick_handle, quick_timer
    cdef bint patched = _Handle._run is not _asyncio_run
    quick_handle = NULL if patched else handles.type
    quick_timer = NULL if patched else timers.type


cdef int run_handle(PyObject *handle) except -1:
    cdef PyTypeObject *type = Py_TYPE(handle)
    if type == quick_handle or type == quick_timer:
        return run_call(handle)
    return run_guarded(handle)


cdef int run_and_drop(PyObject *handle) except -1:
    cdef PyTypeObject *type = Py_TYPE(handle)
    cdef Outcome outcome
    if type == quick_handle or type == quick_timer:
        outcome = call(handle)
        if outcome == DONE:
            Py_XDECREF(handle)
            return 0
        held = owned(handle)
        return settle(handle, outcome)
    held = owned(handle)
    return run_guarded(handle)


cdef tuple OWN_TYPES = (_Handle, asyncio.TimerHandle, _ThreadSafeHandle, Handle, TimerHandle, ThreadSafeHandle)


cdef int run_guarded(PyObject *other) except -1:
    """Run a handle that another thread may want to cancel, or any other handle of asyncio's."""
    cdef bint begun = False
    handle = <object>other
    lock = None
    if type(handle) not in OWN_TYPES:  # a program's class, which may have a _run() of its own
        if not handle._cancelled:
            handle._run()
        return 0
    if Py_TYPE(other) == threadsafe.type:
        begun = begin_run(other)
    elif _ThreadSafeHandle is not None and isinstance(handle, _ThreadSafeHandle):
        lock = handle._lock
        lock.acquire()
    try:
        return run_call(other) if quick_handle != NULL else run_as_asyncio(other)
    finally:
        if begun:
            end_run(other)
        elif lock is not None:
            lock.release()


cdef enum Outcome:
    DONE
    FAILED  # a Python exception is set
    ODD     # the handle has attributes that only asyncio's Python code understands


cdef inline int run_call(PyObject *handle) except -1:
    cdef Outcome outcome = call(handle)
    return 0 if outcome == DONE else settle(handle, outcome)


cdef int settle(PyObject *handle, Outcome outcome) except -1:
    return report(handle) if outcome == FAILED else run_as_asyncio(handle)


cdef int run_as_asyncio(PyObject *odd) except -1:
    handle = <object>odd
    if not handle._cancelled:
        _Handle._run(handle)
    return 0


cdef inline Outcome call(PyObject *handle) noexcept:
    """Run the callback."""
    cdef PyObject *callback = SF_SLOT(handle, CALLBACK)
    cdef PyObject *args = SF_SLOT(handle, ARGS)
    cdef PyObject *context = SF_SLOT(handle, CONTEXT)
    cdef PyObject *result = NULL
    if SF_SLOT(handle, CANCELLED) != Py_False:
        return DONE if SF_SLOT(handle, CANCELLED) == Py_True else ODD
    if callback == NULL or context == NULL or args == NULL or not PyTuple_CheckExact(args):
        return ODD
    # Hold references, because the callback may cancel its own handle, which drops them.
    Py_XINCREF(callback)
    Py_XINCREF(args)
    Py_XINCREF(context)
    if PyContext_Enter(context) < 0:
        PyErr_Clear()
        Py_XDECREF(callback)
        Py_XDECREF(args)
        Py_XDECREF(context)
        return ODD
    result = PyObject_Vectorcall(callback, SF_TUPLE_ITEMS(args), <size_t>PyTuple_GET_SIZE(<object>args), NULL)
    if PyContext_Exit(context) < 0:
        Py_XDECREF(result)
        result = NULL
    Py_XDECREF(callback)
    Py_XDECREF(args)
    Py_XDECREF(context)
    if result == NULL:
        return FAILED
    Py_XDECREF(result)
    return DONE


cdef int report(PyObject *failed) except -1:
    """Pass the exception to the loop's exception handler, as asyncio.Handle._run does."""
    handle = <object>failed
    try:
        raise_current()
    except (SystemExit, KeyboardInterrupt):
        raise
    except BaseException as exc:
        source = format_helpers._format_callback_source(handle._callback, handle._args)
        context = {"message": f"Exception in callback {source}", "exception": exc, "handle": handle}
        if handle._source_traceback:
            context["source_traceback"] = handle._source_traceback
        handle._loop.call_exception_handler(context)
    return 0


cdef extern from *:
    """
    #define SF_FAIL() (-1)
    """
    int raise_current "SF_FAIL" () except -1  # the exception is already set


def live():
    """The number of live (handles, timer handles) of this process, over all its loops."""
    return handles.live + threadsafe.live, timers.live
