# cython: language_level=3, always_allow_keywords=True
"""A socket's system calls without what Python's own cost around them: a third to a half of the time of a small one.

See ``socket_calls.py`` for what they do: it does the same by Python's sockets, and is used where this was not built.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.exc cimport PyErr_CheckSignals, PyErr_SetFromErrno
from libc.errno cimport EINTR, errno

cdef extern from "_sockets.h":
    int ws_accept(int descriptor) nogil
    Py_ssize_t ws_send(int descriptor, const void *data, size_t size) nogil
    Py_ssize_t ws_receive(int descriptor, void *room, size_t size) nogil
    Py_ssize_t ws_receive_both(int descriptor, void *room, size_t size, void *behind, size_t more) nogil

cdef enum:
    # A copy of so much takes less time than a view of it.
    LITTLE = 2048
    # Other threads need not wait for the copy of more. To let them run costs as much as the copy of 8 KiB, each time.
    MUCH = 64 * 1024
    MUCH_ROOM = 256 * 1024


cdef class SocketCalls:
    """See ``socket_calls.py``."""

    cdef object _fileno

    def __init__(self, connected):
        self._fileno = connected.fileno  # which knows when the socket has been closed

    def send(self, data):
        cdef Py_buffer view
        if PyBytes_CheckExact(data):
            return self._send(PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))
        PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
        try:
            return self._send(<const char *>view.buf, view.len)
        finally:
            PyBuffer_Release(&view)

    cdef Py_ssize_t _send(self, const char *data, Py_ssize_t size) except -1:
        cdef int descriptor = self._fileno()
        cdef Py_ssize_t sent
        while True:
            if size < MUCH:
                sent = ws_send(descriptor, data, size)
            else:
                with nogil:
                    sent = ws_send(descriptor, data, size)
            if sent >= 0:
                return sent
            _raise_unless_interrupted()

    def receive(self, room):
        cdef int descriptor = self._fileno()
        cdef Py_buffer view
        cdef Py_ssize_t received
        PyObject_GetBuffer(room, &view, PyBUF_WRITABLE)
        try:
            while True:
                if view.len <= MUCH_ROOM:
                    received = ws_receive(descriptor, view.buf, view.len)
                else:
                    with nogil:
                        received = ws_receive(descriptor, view.buf, view.len)
                if received >= 0:
                    break
                _raise_unless_interrupted()
            if received <= LITTLE:
                return PyBytes_FromStringAndSize(<const char *>view.buf, received)
        finally:
            PyBuffer_Release(&view)
        return room[:received]

    def receive_both(self, room, behind):
        cdef int descriptor = self._fileno()
        cdef Py_buffer view, more
        cdef Py_ssize_t received
        PyObject_GetBuffer(room, &view, PyBUF_WRITABLE)
        try:
            PyObject_GetBuffer(behind, &more, PyBUF_WRITABLE)
            try:
                while True:
                    if view.len + more.len <= MUCH_ROOM:
                        received = ws_receive_both(descriptor, view.buf, view.len, more.buf, more.len)
                    else:
                        with nogil:
                            received = ws_receive_both(descriptor, view.buf, view.len, more.buf, more.len)
                    if received >= 0:
                        return received
                    _raise_unless_interrupted()
            finally:
                PyBuffer_Release(&more)
        finally:
            PyBuffer_Release(&view)


def accept(int descriptor):
    cdef int accepted
    while True:
        accepted = ws_accept(descriptor)
        if accepted >= 0:
            return accepted
        _raise_unless_interrupted()


def part_of(room, Py_ssize_t size):
    cdef Py_buffer view
    if size > LITTLE:
        return room[:size]
    PyObject_GetBuffer(room, &view, PyBUF_SIMPLE)
    try:
        return PyBytes_FromStringAndSize(<const char *>view.buf, size)
    finally:
        PyBuffer_Release(&view)


cdef int _raise_unless_interrupted() except -1:
    """PEP 475: a call that a signal has interrupted is done again, unless the signal's handler raises."""
    if errno != EINTR:
        PyErr_SetFromErrno(OSError)
    return PyErr_CheckSignals()


def sender_of(connected):
    return SocketCalls(connected).send
