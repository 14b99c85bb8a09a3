"""Native methods that look like functions of Python."""

from cpython.object cimport PyObject

# self, the other arguments, their number without keywords, and the names of the keywords (a tuple) or NULL.
ctypedef PyObject *(*native_call)(PyObject *self, PyObject **args, Py_ssize_t n, PyObject *names) except NULL
ctypedef PyObject *(*native_call_of_none)(PyObject *self, PyObject *unused) except NULL

# A method of `owner`, for its namespace. `like` is the function with the same meaning that the method replaces: it
# describes the method (name, signature, documentation), and raises the error for arguments that the method does not take.
cdef object new_method(type owner, native_call call, object like)
cdef object new_method_of_none(type owner, native_call_of_none call, object like)
# Make every method of an extension type refuse a wrong `self` with a TypeError. Cython's methods crash when a program
# calls them by the class with another object. `but`: leave out names that begin so, which are private and called for each
# message.
cdef int check_methods(type owner, str but=*) except -1
