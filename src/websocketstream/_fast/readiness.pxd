# The C types of _network/readiness.py.

cimport cython

from .calls cimport Calls

cdef long IN
cdef long OUT

cdef class EpollReadiness:
    cdef Calls _calls
    cdef dict _watches
    cdef object _ready
    cdef public object epoll

    cpdef note_only_watch(self)
    @cython.locals(enough=double, events=long)
    cpdef call_ready(self)
