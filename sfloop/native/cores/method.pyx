# cython: language_level=3
"""Native methods that look like functions of Python.

CPython's own native methods (`PyMethodDef`) get their arguments without a tuple and a dictionary. But
`inspect.ismethod()`, `weakref.WeakMethod` and `unittest.mock.create_autospec()` do not take them for methods. A `Method`
gets its arguments in the same way. Read from an instance, it gives a bound method, as a function does.
"""

from cpython.object cimport PyObject, PyTypeObject

cdef extern from *:
    """
    /* Cython has no syntax for these: a call of the object is a call of the pointer at `offset`, and the interpreter may
     * call obj.name(...) without making a bound method. */
    #define SF_CALL_BY_POINTER(type, offset) \
        ((type)->tp_vectorcall_offset = (offset), (type)->tp_call = PyVectorcall_Call, \
         (type)->tp_flags |= Py_TPFLAGS_HAVE_VECTORCALL | Py_TPFLAGS_METHOD_DESCRIPTOR)
    #define SF_NAMESPACE(type) ((type)->tp_dict)
    #define SF_VERSION_OF(object) (Py_TYPE(object)->tp_version_tag)
    """
    unsigned int version_of "SF_VERSION_OF"(PyObject *) noexcept
    PyObject *namespace_of "SF_NAMESPACE"(PyTypeObject *) noexcept
    void SF_CALL_BY_POINTER(PyTypeObject *, Py_ssize_t) noexcept

cdef extern from "Python.h":
    object PyMethod_New(object, object)
    object PyVectorcall_Call(object, object, object)
    void PyType_Modified(PyTypeObject *)
    Py_ssize_t PyVectorcall_NARGS(size_t) noexcept
    PyObject *PyObject_Vectorcall(PyObject *, PyObject **, size_t, PyObject *) noexcept
    bint PyObject_TypeCheck(PyObject *, PyTypeObject *) noexcept

ctypedef PyObject *(*vectorcall)(PyObject *self, PyObject **args, size_t nargs, PyObject *names) except NULL


cdef class Method:
    cdef vectorcall entry
    cdef native_call call
    cdef native_call_of_none call_of_none
    cdef type owner
    cdef unsigned int known_version  # of the type that self had last; 0: none
    cdef object like
    cdef dict __dict__
    cdef object __weakref__

    def __get__(self, instance, owner):
        return self if instance is None else PyMethod_New(self, instance)

    def __call__(self, *args, **kwargs):
        return PyVectorcall_Call(self, args, kwargs)

    def __getattr__(self, name):
        return getattr(self.like, name)

    @property
    def __doc__(self):
        return self.like.__doc__

    @property
    def __module__(self):
        return self.like.__module__

    def __repr__(self):
        return repr(self.like)

    def __reduce__(self):
        return self.like.__qualname__  # copied and pickled by its name, as a function is


cdef inline bint has_self(PyObject *method, PyObject **args, size_t nargs) noexcept:
    """Whether the first argument is an instance of the method's class. The type of the last one is remembered by its
    version, a number that CPython gives to no other state of a type."""
    cdef unsigned int version
    if PyVectorcall_NARGS(nargs) < 1:
        return False
    version = version_of(args[0])
    if version != 0 and version == (<Method>method).known_version:
        return True
    if not PyObject_TypeCheck(args[0], <PyTypeObject *>(<Method>method).owner):
        return False
    (<Method>method).known_version = version
    return True


cdef PyObject *refuse(PyObject *method, PyObject **args, size_t nargs) except NULL:
    cdef Method m = <Method>method
    cdef str given = f", not {<object>args[0]!r}" if PyVectorcall_NARGS(nargs) else ""
    raise TypeError(f"{m.like.__qualname__}() needs an instance of {m.owner.__name__}{given}")


cdef PyObject *enter(PyObject *self, PyObject **args, size_t nargs, PyObject *names) except NULL:
    if not has_self(self, args, nargs):
        return refuse(self, args, nargs)
    return (<Method>self).call(args[0], args + 1, PyVectorcall_NARGS(nargs) - 1, names)


cdef PyObject *enter_without_arguments(PyObject *self, PyObject **args, size_t nargs, PyObject *names) except NULL:
    if not has_self(self, args, nargs):
        return refuse(self, args, nargs)
    if PyVectorcall_NARGS(nargs) != 1 or names != NULL:
        return PyObject_Vectorcall(<PyObject *>(<Method>self).like, args, nargs, names)  # which raises
    return (<Method>self).call_of_none(args[0], NULL)


cdef PyObject *enter_like(PyObject *self, PyObject **args, size_t nargs, PyObject *names) except NULL:
    if not has_self(self, args, nargs):
        return refuse(self, args, nargs)
    return PyObject_Vectorcall(<PyObject *>(<Method>self).like, args, nargs, names)


cdef object made_method(type owner, object like, vectorcall entry):
    cdef Method made = Method.__new__(Method)
    made.entry = entry
    made.owner = owner
    made.like = like
    return made


cdef object new_method(type owner, native_call call, object like):
    made = made_method(owner, like, enter)
    (<Method>made).call = call
    return made


cdef object new_method_of_none(type owner, native_call_of_none call, object like):
    made = made_method(owner, like, enter_without_arguments)
    (<Method>made).call_of_none = call
    return made


cdef int check_methods(type owner, str but=None) except -1:
    cdef dict namespace = <dict>namespace_of(<PyTypeObject *>owner)
    for name, value in list(namespace.items()):
        if type(value).__name__ == "cython_function_or_method" and not (but is not None and name.startswith(but)):
            namespace[name] = made_method(owner, value, enter_like)
    PyType_Modified(<PyTypeObject *>owner)
    return 0


cdef int prepare() except -1:
    cdef Method made = Method.__new__(Method)
    SF_CALL_BY_POINTER(<PyTypeObject *>Method, <char *>&made.entry - <char *><PyObject *>made)
    return 0


prepare()
