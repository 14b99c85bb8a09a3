# A part of core.pyx: the most frequently called methods, again as native methods.
#
# CPython calls a Cython method through a function object, which packs the arguments into a tuple and a dictionary. A
# native method (method.pyx) gets them where the caller has them. It handles the common case, and leaves the rest (debug mode, a
# closed loop, a task factory, unusual arguments) to the method of LoopCore that it replaces.

from sys import intern

cdef extern from *:
    """
    #define SF_NAMESPACE(type) ((type)->tp_dict)
    """
    PyObject *namespace_of "SF_NAMESPACE"(PyTypeObject *) noexcept

cdef extern from *:
    """
    #include <string.h>
    /* True: a keyword equals this literal. It compares the text, because asyncio's C code does not intern the names it passes. */
    #define SF_IS_NAME(text, literal) \
        (PyUnicode_IS_COMPACT_ASCII(text) && PyUnicode_GET_LENGTH(text) == (Py_ssize_t)sizeof(literal) - 1 && \
         memcmp(PyUnicode_DATA(text), literal, sizeof(literal) - 1) == 0)
    #define SF_NEW(type, args) ((type)->tp_new((type), (args), NULL))
    #define SF_INIT(type, object, args) ((type)->tp_init((object), (args), NULL))
    """
    bint is_name "SF_IS_NAME"(PyObject *text, const char *literal) noexcept
    PyObject *SF_NEW(PyTypeObject *, PyObject *args) noexcept
    int SF_INIT(PyTypeObject *, PyObject *, PyObject *args) noexcept
    int PY_VERSION_HEX

cdef extern from "Python.h":
    PyObject *Py_True
    PyObject *Py_False
    PyObject *Py_None
    void PyType_Modified(PyTypeObject *)
    PyObject *PyObject_VectorcallDict(PyObject *, PyObject **, size_t, PyObject *) noexcept
    Py_ssize_t PyTuple_GET_SIZE(PyObject *) noexcept
    PyObject *PyTuple_GET_ITEM(PyObject *, Py_ssize_t) noexcept
    PyObject *PyDict_GetItemWithError(PyObject *, PyObject *) noexcept
    bint PyFloat_CheckExact(PyObject *) noexcept
    double PyFloat_AS_DOUBLE(PyObject *) noexcept
    PyObject *PyFloat_FromDouble(double) except NULL
    PyObject *PyCFunction_GET_SELF(object) noexcept
    void Py_XDECREF(PyObject *) noexcept
    void *PyCFunction_GetFunction(object) except NULL
    PyObject *PyTuple_Pack(Py_ssize_t, ...) except NULL
    PyObject *PyObject_Vectorcall(PyObject *, PyObject **, size_t, PyObject *) noexcept
    void PyErr_Clear() noexcept
    PyObject *Py_NewRef(PyObject *) noexcept

cdef dict general = {}  # the replaced methods of LoopCore, by name
cdef str TASK = intern("Task")
cdef str FUTURE = intern("Future")
cdef dict tasks_namespace = vars(tasks)      # read each time, because a program may set its own classes there
cdef dict futures_namespace = vars(futures)


cdef PyObject *call_general(str name, PyObject *self, PyObject **args, Py_ssize_t n, PyObject *names) except NULL:
    cdef Py_ssize_t i
    cdef list positional = [<object>self]
    cdef dict keywords = {}
    for i in range(n):
        positional.append(<object>args[i])
    if names != NULL:
        for i in range(PyTuple_GET_SIZE(names)):
            keywords[<object>PyTuple_GET_ITEM(names, i)] = <object>args[n + i]
    result = general[name](*positional, **keywords)
    return Py_NewRef(<PyObject *>result)


cdef inline bint is_usual(PyObject *self, PyObject *names) noexcept:
    """Whether the loop is open, not in debug mode, and no keyword but `context` is given."""
    if (<LoopCore>self).closed or (<LoopCore>self).debug:
        return False
    return names == NULL or (PyTuple_GET_SIZE(names) == 1 and is_name(PyTuple_GET_ITEM(names, 0), "context"))


cdef PyObject *call_soon(PyObject *self, PyObject **args, Py_ssize_t n, PyObject *names) except NULL:
    cdef PyObject *handle
    if n < 1 or not is_usual(self, names):
        return call_general("call_soon", self, args, n, names)
    handle = handle_of_call(args, n, self, NULL if names == NULL else args[n])
    # Check again, as in push_ready().
    if (<LoopCore>self).closed or sf_ready_queue_push(&(<LoopCore>self).engine.ready, handle) < 0:
        Py_XDECREF(handle)
        (<LoopCore>self).check_open()
        raise MemoryError()
    return Py_NewRef(handle)  # the queue has the other reference


cdef PyObject *call_timer(PyObject *self, PyObject *when, PyObject **call, Py_ssize_t n, PyObject *context) except NULL:
    cdef sf_ns due = to_ns(PyFloat_AS_DOUBLE(when))
    cdef PyObject *timer = timer_of_call(when, call, n, self, context)
    if (<LoopCore>self).closed or sf_timers_push(&(<LoopCore>self).engine.timers, due, timer) < 0:
        Py_XDECREF(timer)
        (<LoopCore>self).check_open()
        raise MemoryError()
    return Py_NewRef(timer)


cdef PyObject *call_later(PyObject *self, PyObject **args, Py_ssize_t n, PyObject *names) except NULL:
    cdef PyObject *when
    cdef LoopCore loop = <LoopCore>self
    if n < 2 or not is_usual(self, names) or loop.clocked or loop.timed or not PyFloat_CheckExact(args[0]):
        return call_general("call_later", self, args, n, names)
    when = PyFloat_FromDouble(<double>sf_now() / 1e9 + PyFloat_AS_DOUBLE(args[0]))
    try:
        return call_timer(self, when, args + 1, n - 1, NULL if names == NULL else args[n])
    finally:
        Py_XDECREF(when)


cdef PyObject *call_at(PyObject *self, PyObject **args, Py_ssize_t n, PyObject *names) except NULL:
    if n < 2 or not is_usual(self, names) or not PyFloat_CheckExact(args[0]):
        return call_general("call_at", self, args, n, names)
    return call_timer(self, args[0], args + 1, n - 1, NULL if names == NULL else args[n])


# asyncio's own classes and its own record of the running loop, all in C. NULL: this Python lacks the module _asyncio,
# or is older than 3.12, whose lookup of the running loop makes a getpid() system call.
ctypedef PyObject *(*no_args_function)(PyObject *, PyObject *)
cdef PyTypeObject *own_task = NULL
cdef PyTypeObject *own_future = NULL
cdef no_args_function running_loop = NULL
cdef PyObject *running_loop_self = NULL
cdef tuple NO_ARGUMENTS = ()
cdef object own_module  # keeps them alive


cdef int find_own() except -1:
    global own_task, own_future, running_loop, running_loop_self, own_module
    if PY_VERSION_HEX < 0x030C0000:
        return 0
    try:
        import _asyncio
    except ImportError:
        return 0
    own_module = _asyncio
    own_task = <PyTypeObject *>_asyncio.Task
    own_future = <PyTypeObject *>_asyncio.Future
    running_loop = <no_args_function>PyCFunction_GetFunction(_asyncio._get_running_loop)
    running_loop_self = PyCFunction_GET_SELF(_asyncio._get_running_loop)
    return 0

find_own()


cdef inline bint is_running(PyObject *self) noexcept:
    """Whether a future or task of asyncio's own class that gets no loop would belong to this loop."""
    cdef PyObject *loop = running_loop(running_loop_self, NULL)
    if loop == NULL:
        PyErr_Clear()
    Py_XDECREF(loop)
    return loop == self


cdef inline PyObject *made(PyTypeObject *type, PyObject *args) except NULL:
    """Call type(*args), for a class of asyncio's own."""
    cdef PyObject *result = SF_NEW(type, args)
    if result != NULL and SF_INIT(type, result, args) < 0:
        Py_XDECREF(result)
        return NULL
    return result


cdef inline bint has_loop(PyObject *names) noexcept:
    cdef Py_ssize_t i
    for i in range(PyTuple_GET_SIZE(names)):
        if is_name(PyTuple_GET_ITEM(names, i), "loop"):
            return True
    return False


cdef PyObject *task_of_running(PyObject *coro) except NULL:
    cdef PyObject *args = PyTuple_Pack(1, coro)
    try:
        return made(own_task, args)
    finally:
        Py_XDECREF(args)


cdef PyObject *create_task(PyObject *self, PyObject **args, Py_ssize_t n, PyObject *names) except NULL:
    cdef PyObject *type
    cdef Py_ssize_t i
    if n != 1 or (<LoopCore>self).closed or (<LoopCore>self)._task_factory is not None:
        return call_general("create_task", self, args, n, names)
    type = PyDict_GetItemWithError(<PyObject *>tasks_namespace, <PyObject *>TASK)
    if type != NULL and type == <PyObject *>own_task and is_running(self):
        # asyncio finds the running loop itself, which is faster than to pass it as a keyword.
        if names == NULL:
            return task_of_running(args[0])
        if not has_loop(names):
            return checked(PyObject_Vectorcall(type, args, 1, names))
    keywords = (<LoopCore>self).own_keyword()
    if names != NULL:
        keywords = dict(keywords)
        for i in range(PyTuple_GET_SIZE(names)):
            keywords[<object>PyTuple_GET_ITEM(names, i)] = <object>args[1 + i]
        if len(keywords) <= PyTuple_GET_SIZE(names):  # `loop` is one of them
            return call_general("create_task", self, args, n, names)
    if type == NULL:
        return call_general("create_task", self, args, n, names)
    return checked(PyObject_VectorcallDict(type, args, 1, <PyObject *>keywords))


cdef PyObject *create_future(PyObject *self, PyObject *unused) except NULL:
    cdef PyObject *type = PyDict_GetItemWithError(<PyObject *>futures_namespace, <PyObject *>FUTURE)
    if type == NULL:
        return call_general("create_future", self, NULL, 0, NULL)
    if type == <PyObject *>own_future and is_running(self):
        return made(own_future, <PyObject *>NO_ARGUMENTS)
    keywords = (<LoopCore>self).own_keyword()
    return checked(PyObject_VectorcallDict(type, NULL, 0, <PyObject *>keywords))


cdef inline PyObject *checked(PyObject *result) except NULL:
    return result


cdef PyObject *get_debug(PyObject *self, PyObject *unused) except NULL:
    return Py_NewRef(Py_True if (<LoopCore>self).debug else Py_False)


cdef PyObject *is_closed(PyObject *self, PyObject *unused) except NULL:
    return Py_NewRef(Py_True if (<LoopCore>self).closed else Py_False)


cdef PyObject *clock_time(PyObject *self, PyObject *unused) except NULL:
    return PyFloat_FromDouble(<double>sf_now() / 1e9)


cdef int put_before(str name, native_call call, native_call_of_none call_of_none=NULL) except -1:
    cdef dict namespace = <dict>namespace_of(<PyTypeObject *>LoopCore)
    like = general[name] = namespace[name]
    if call != NULL:
        namespace[name] = new_method(LoopCore, call, like)
    else:
        namespace[name] = new_method_of_none(LoopCore, call_of_none, like)
    PyType_Modified(<PyTypeObject *>LoopCore)
    return 0


put_before("call_soon", call_soon)
put_before("call_later", call_later)
put_before("call_at", call_at)
put_before("create_task", create_task)
put_before("create_future", NULL, create_future)
put_before("get_debug", NULL, get_debug)
put_before("is_closed", NULL, is_closed)
put_before("time", NULL, clock_time)
# create_task() passes on all keywords. Show those that this version of Python has.
general["create_task"].__signature__ = inspect.signature(base_events.BaseEventLoop.create_task)

check_methods(LoopCore)
cdef object own_call_at = LoopCore.__dict__["call_at"]
cdef object own_time = LoopCore.__dict__["time"]
