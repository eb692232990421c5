# The C types of _streams/ends.py.

cimport cython

from .life cimport Life as LifeType
from .receive_buffer cimport ReceiveBuffer
from .send_buffer cimport SendBuffer

cdef class Ends:
    cdef LifeType _life
    cdef ReceiveBuffer _inbox
    cdef SendBuffer _outbox
    cdef object _error
    cdef object _told_receivers
    cdef object _told_senders

    @cython.locals(life=LifeType)
    cpdef tell(self)
    cpdef settle(self)
    cdef _error_for(self, end, closed)
