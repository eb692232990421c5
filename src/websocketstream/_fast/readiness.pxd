# The C types of _network/readiness.py.

cimport cython

from .calls cimport Calls

cdef long IN
cdef long OUT

cdef class EpollReadiness:
    cdef Calls _calls
    cdef dict _watches
    cdef dict _readers
    cdef set _writers
    cdef object _ready
    cdef public object epoll
    cdef public bint told

    cpdef call_ready(self)
    cdef call_told(self)
    @cython.locals(told=bint, enough=double, events=long)
    cdef _call_ready(self)
    cdef _call(self, who)

cdef class Callback:
    cdef public EpollReadiness keeps
