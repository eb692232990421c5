# The C types of _network/tls_records.py.

cimport cython

cdef Py_ssize_t BEHIND_BYTES
cdef Py_ssize_t FEW_RECORDS_BYTES
cdef Py_ssize_t ENCRYPT_BYTES
cdef Py_ssize_t FIRST_TYPE
cdef Py_ssize_t HEADER_BYTES
cdef Py_ssize_t LAST_TYPE
cdef Py_ssize_t LITTLE_BYTES
cdef Py_ssize_t MAJOR_VERSION
cdef Py_ssize_t MAX_CIPHERTEXT_BYTES
cdef Py_ssize_t RECORD_BYTES

cdef class TLSRecords:
    cdef object _owner
    cdef object _below
    cdef object _incoming
    cdef object _outgoing
    cdef object _read
    cdef object _encrypt
    cdef object _write
    cdef object _scratch
    cdef Py_ssize_t _missing
    cdef bytes _header
    cdef bint _is_lost
    cdef public object deliver
    cdef public object offer
    cdef public object fill
    cdef object _into
    cdef Py_ssize_t _put
    cdef public bint may_read
    cdef public bint may_write
    cdef public bint is_waiting
    cdef readonly Py_ssize_t filled
    cdef readonly bint ended
    cdef readonly Py_ssize_t encrypted

    cpdef release(self)
    cpdef data_received(self, data)
    @cython.locals(size=Py_ssize_t)
    cdef bint _is_little(self, data) except -1
    cdef _decrypt_little(self, data)
    cdef _put_back(self, bytes plain)
    cdef _decrypt_all(self, data)
    @cython.locals(start=Py_ssize_t, size=Py_ssize_t)
    cdef _decrypt_into_rooms(self, data)
    cdef _hand_on(self)
    @cython.locals(start=Py_ssize_t, size=Py_ssize_t)
    cpdef decrypt(self, data)
    @cython.locals(size=Py_ssize_t, end=Py_ssize_t)
    cdef Py_ssize_t _decrypt_some(self, data, Py_ssize_t start) except -1
    @cython.locals(start=Py_ssize_t, size=Py_ssize_t)
    cpdef feed(self, data)
    @cython.locals(
        size=Py_ssize_t, most=Py_ssize_t, end=Py_ssize_t, whole=Py_ssize_t, record=Py_ssize_t
    )
    cdef Py_ssize_t _end_of_records(self, data, Py_ssize_t start) except -1
    @cython.locals(missing=Py_ssize_t, begun=Py_ssize_t, record=Py_ssize_t)
    cdef Py_ssize_t _rest_of_record(self, data, Py_ssize_t start) except -1
    @cython.locals(header=bytes, size=Py_ssize_t)
    cdef Py_ssize_t _size_of_record(self, data, Py_ssize_t start) except -1
    @cython.locals(count=Py_ssize_t)
    cpdef read(self)
    cpdef Py_ssize_t space(self)
    cpdef take(self)
    cpdef write(self, data)
    @cython.locals(done=Py_ssize_t, end=Py_ssize_t, records=list)
    cpdef list encrypt_some(self, data, Py_ssize_t size)
    cpdef encrypt(self, data)
