"""Bytes objects that are filled after they were made. As pointers, because _PyBytes_Resize() replaces the object."""

from cpython.object cimport PyObject

cdef extern from "Python.h":
    PyObject *PyBytes_FromStringAndSize_ "PyBytes_FromStringAndSize" (const char *, Py_ssize_t) noexcept
    char *PyBytes_AS_STRING_ "PyBytes_AS_STRING" (PyObject *) noexcept
    int _PyBytes_Resize(PyObject **, Py_ssize_t) noexcept
