# cython: language_level=3
"""The inbox in C, for an interpreter that asks an awaitable for its result without an exception (CPython 3.11).

It does what the portable one does. What ``receive()`` returns is a coroutine to everybody who looks, and takes a message
only when it is awaited.
"""

cimport cython
from cpython.object cimport PyObject, PyTypeObject

cdef extern from "Python.h":
    ctypedef enum PySendResult:
        PYGEN_RETURN
        PYGEN_ERROR
        PYGEN_NEXT
    ctypedef PySendResult (*sendfunc)(PyObject *, PyObject *, PyObject **) except PYGEN_ERROR
    PySendResult PyIter_Send(object, PyObject *, PyObject **) noexcept
    void Py_INCREF(PyObject *)
    void Py_XDECREF(PyObject *)

cdef extern from *:
    """
    static void install_send(PyTypeObject *type, sendfunc send) { type->tp_as_async->am_send = send; }
    static int pass_on(void) { return -1; }
    """
    void install_send(PyTypeObject *, sendfunc)
    int pass_on() except -1  # the exception that is set already

cdef enum:
    FRESH
    WAITING
    DONE


cdef class Inbox:
    """See :class:`.inbox.PortableInbox`."""

    cdef public list _items
    cdef public Py_ssize_t _credit

    def __init__(self):
        self._items = []
        self._credit = 0

    def receive(self):
        return _receiving(self, False)

    def __anext__(self):
        return _receiving(self, True)


@cython.final
@cython.freelist(8)
cdef class Receiving:
    """One call of ``receive()`` or ``__anext__()``."""

    cdef Inbox _inbox
    cdef bint _iterating
    cdef int _state
    cdef object _coroutine  # what waits when nothing can be handed out at once

    def __await__(self):
        return self

    def __iter__(self):
        return self

    def __next__(self):
        return self.send(None)

    def send(self, value):
        cdef PyObject *result = NULL
        cdef PySendResult outcome = _send(<PyObject *>self, <PyObject *>value, &result)
        value = <object>result
        Py_XDECREF(result)
        if outcome == PYGEN_RETURN:
            raise StopIteration(value)
        return value

    def throw(self, *error):
        if self._state == WAITING:
            return self._coroutine.throw(*error)
        self._state = DONE
        if isinstance(error[0], BaseException):
            raise error[0]
        raise error[0](*error[1:2])

    def close(self):
        if self._state == WAITING:
            self._coroutine.close()
        self._state = DONE


cdef Receiving _receiving(Inbox inbox, bint iterating):
    cdef Receiving receiving = Receiving.__new__(Receiving)
    receiving._inbox = inbox
    receiving._iterating = iterating
    return receiving


cdef int _begin(Receiving self) except -1:
    if self._state == DONE:
        raise RuntimeError("cannot reuse already awaited coroutine")
    self._coroutine = self._inbox._next() if self._iterating else self._inbox._receive()
    self._state = WAITING
    return 0


cdef PySendResult _send(PyObject *receiving, PyObject *value, PyObject **result) except PYGEN_ERROR:
    """Hand a message out, or do what the coroutine does."""
    cdef Receiving self = <Receiving>receiving
    cdef PySendResult outcome
    if self._state == FRESH:
        if self._inbox._credit > 0:
            self._state = DONE
            self._inbox._credit -= 1
            message = self._inbox._items.pop()
            Py_INCREF(<PyObject *>message)
            result[0] = <PyObject *>message
            return PYGEN_RETURN
    if self._state != WAITING:
        _begin(self)
    outcome = PyIter_Send(self._coroutine, value, result)
    if outcome != PYGEN_NEXT:
        self._state = DONE
        self._coroutine = None
    if outcome == PYGEN_ERROR:
        pass_on()
    return outcome


install_send(<PyTypeObject *>Receiving, _send)
