from cpython.object cimport PyObject

from sfloop.native.cores.engine cimport sf_sock

cdef extern from "libraries/openssl.h" nogil:
    cdef struct sf_openssl_connection:
        void *ssl
        void *context
        void *incoming
        void *outgoing


cdef class Session:
    cdef sf_openssl_connection c
    cdef tuple owners
    cdef PyObject *sealed   # buffer for encrypted records; NULL: none
    cdef bint sends         # records are sent as OpenSSL makes them

    cdef int put(self, const char *data, Py_ssize_t length) except -1
    cdef int settle(self) except -1
    cdef int expect(self, Py_ssize_t plaintext, sf_sock *sock) except -1
    cdef ssize_t sent(self) noexcept
    cdef Py_ssize_t readable(self) except -1
    cdef Py_ssize_t decrypt(self, char *out, Py_ssize_t room) noexcept
    cdef Py_ssize_t encrypt(self, const char *data, Py_ssize_t length) noexcept
    cdef Py_ssize_t waiting(self) except -1
    cdef bytes take(self)
    cdef int keep_buffers(self, bint keep) except -1
    cdef int shrink(self) except -1
    cdef object failure(self)


cdef Session session_of(object protocol)
