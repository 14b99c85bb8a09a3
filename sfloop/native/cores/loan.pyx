# cython: language_level=3
"""Views of a stack's memory, for as long as a callback runs.

Nothing stops a program from keeping a view, or an array made of one. Then the memory behind it is not given back when the
loop is closed, but when the last view is gone.
"""

from cpython.buffer cimport PyBuffer_FillInfo
from cpython.memoryview cimport PyMemoryView_FromObject
from libc.stdint cimport uint32_t

from sfloop.native.cores.core cimport LoopCore

cdef extern from "Python.h":
    Py_ssize_t Py_REFCNT(object)


cdef class Piece:
    cdef const void *data
    cdef uint32_t length
    cdef Py_ssize_t exports
    cdef LoopCore kept_of   # the loop that must not free the memory yet

    def __getbuffer__(self, Py_buffer *view, int flags):
        PyBuffer_FillInfo(view, self, <void *>self.data, self.length, True, flags)
        self.exports += 1

    def __releasebuffer__(self, Py_buffer *view):
        self.exports -= 1
        if self.exports == 0 and self.kept_of is not None:
            loop, self.kept_of = self.kept_of, None
            loop.give_back()


cdef class Loan:
    """The views of one batch after the other. A piece serves again as soon as nobody looks at its memory."""

    def __cinit__(self):
        self.views = []
        self.pieces = []

    cdef object view(self, const void *data, uint32_t length):
        cdef Py_ssize_t i = len(self.views)
        cdef Piece piece
        if i < len(self.pieces):
            piece = <Piece>self.pieces[i]
        else:
            piece = Piece.__new__(Piece)
            self.pieces.append(piece)
        piece.data = data
        piece.length = length
        lent = PyMemoryView_FromObject(piece)
        self.views.append(lent)
        return lent

    cdef bint end(self, LoopCore loop) except -1:
        """Takes the views back. False if some of them, or views of them, are still held."""
        cdef Py_ssize_t i
        cdef Piece piece
        cdef bint all_back = True
        for i, lent in enumerate(self.views):
            if Py_REFCNT(lent) > 2:  # of the list, and of this loop: else it is released when the list forgets it
                try:
                    lent.release()
                except BufferError:
                    pass
        lent = None
        self.views.clear()
        for i in range(len(self.pieces)):
            piece = <Piece>self.pieces[i]
            if piece.exports:
                piece.kept_of = loop
                loop.kept += 1
                all_back = False
                self.pieces[i] = Piece.__new__(Piece)
        return all_back
