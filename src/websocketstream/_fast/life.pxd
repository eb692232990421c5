# The C types of _protocol/life.py.

cdef double LINGER_SECONDS
cdef double PARTING_SECONDS
cdef double LAST_WORDS_SECONDS
cdef double _NEVER
cdef object _OPEN
cdef object _CLOSE_RECEIVED
cdef object _CLOSE_EXCHANGED
cdef object _FAILING
cdef object _CLOSED_HERE
cdef object _CLOSED_BY_PEER
cdef object _BROKEN
cdef object _CLOSE
cdef object _CLOSE_WRITTEN
cdef object _PEER_CLOSE
cdef object _FAIL
cdef object _END
cdef object _GO_ON
cdef object _END_SENDING
cdef object _RELEASE
cdef object _NOTHING

cdef class Life:
    cdef bint _server
    cdef double _close_timeout
    cdef bint _may_hang_up
    cdef readonly object word
    cdef double _linger_until
    cdef tuple _leaving
    cdef double _parting_seconds
    cdef object _write_error
    cdef bint _peer_ended
    cdef object _step_taken
    cdef readonly object state
    cdef readonly double deadline
    cdef readonly tuple farewell
    cdef readonly object sent_code
    cdef readonly object peer_close
    cdef readonly object reason
    cdef readonly object receive_end
    cdef readonly object send_end

    cpdef close(self, code, reason, double now)
    cpdef finish_sending(self, code=*, reason=*)
    cpdef take_word(self, word, double now)
    cpdef caught_up(self, double now, bint unsent=*)
    cpdef close_begun(self)
    cpdef close_written(self, double now)
    cpdef ended(self, message, double now, cause=*)
    cpdef step_taken(self, step)
    cdef bint _is_all_said(self) except -1
    cdef _peer_closed(self, close, bint unsent, double now)
    cdef _drop_farewell(self)
    cdef _break(self, message, cause=*)
    cdef _limit(self, double deadline)
    cdef bint _advance(self, happening) except -1
