# The C types of _network/tls_calls.py.

cimport cython

cdef Py_ssize_t FEW_RECORDS_BYTES
cdef Py_ssize_t FIRST_TYPE
cdef Py_ssize_t HEADER_BYTES
cdef Py_ssize_t LAST_TYPE
cdef Py_ssize_t MAJOR_VERSION
cdef Py_ssize_t MAX_CIPHERTEXT_BYTES
cdef Py_ssize_t RECORD_BYTES

cdef class TLSCalls:
    cdef object _read
    cdef object _write
    cdef object _incoming
    cdef object _outgoing
    cdef object _data
    cdef Py_ssize_t _start
    cdef bint _is_fed
    cdef Py_ssize_t _missing
    cdef bytes _header
    cdef bint _is_lost
    cdef readonly bint ended
    cdef readonly object error
    cdef readonly Py_ssize_t encrypted

    @cython.locals(start=Py_ssize_t, size=Py_ssize_t)
    cpdef feed(self, data)
    cpdef give(self, data)
    @cython.locals(most=Py_ssize_t)
    cpdef decrypt(self, data)
    @cython.locals(size=Py_ssize_t)
    cdef bint _is_one_record(self, data) except -1
    cdef _read_text(self, Py_ssize_t most)
    @cython.locals(filled=Py_ssize_t, size=Py_ssize_t, count=Py_ssize_t)
    cpdef Py_ssize_t read(self, room) except -1
    @cython.locals(count=Py_ssize_t)
    cdef Py_ssize_t _read_into(self, room) except -1
    cdef _has_read(self, Py_ssize_t count, Py_ssize_t most)
    cdef _take_note(self, error)
    @cython.locals(start=Py_ssize_t, size=Py_ssize_t, end=Py_ssize_t)
    cdef bint _may_read(self) except -1
    @cython.locals(
        size=Py_ssize_t, most=Py_ssize_t, end=Py_ssize_t, whole=Py_ssize_t, record=Py_ssize_t
    )
    cdef Py_ssize_t _end_of_records(self, data, Py_ssize_t start) except -1
    @cython.locals(missing=Py_ssize_t, begun=Py_ssize_t, record=Py_ssize_t)
    cdef Py_ssize_t _rest_of_record(self, data, Py_ssize_t start) except -1
    @cython.locals(header=bytes, size=Py_ssize_t)
    cdef Py_ssize_t _size_of_record(self, data, Py_ssize_t start) except -1
    @cython.locals(done=Py_ssize_t, size=Py_ssize_t)
    cpdef encrypt(self, data)
    cpdef take(self)
