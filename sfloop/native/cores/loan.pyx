# cython: language_level=3
"""Views of a stack's memory, which are valid while a callback runs.

A program can keep a view, or an array made from one. The memory then stays allocated after the loop is closed, until
the last view is released.
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
    """The views of each batch in turn. A piece is used again once no view of its memory exists."""

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
        """Take the views back. Returns False if the program still holds one of them, or a view of one."""
        cdef Py_ssize_t i
        cdef Piece piece
        cdef bint all_back = True
        for i, lent in enumerate(self.views):
            # The list and this function hold two; without a third the view is released when the list is cleared.
            if Py_REFCNT(lent) > 2:
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


cdef object kept_view(str method, str what):
    return BufferError(f"{method}() has kept a view of a {what} beyond its return; its data will be overwritten. Keep a "
                       "copy (bytes(view)), or switch zero_copy off")
