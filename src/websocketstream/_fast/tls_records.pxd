# The C types of _network/tls_records.py.

cimport cython

cdef Py_ssize_t DECRYPT_BYTES
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
    cdef public object deliver
    cdef public bint may_read
    cdef public bint may_write
    cdef public bint is_waiting
    cdef readonly Py_ssize_t filled
    cdef readonly bint ended

    cpdef release(self)
    cpdef data_received(self, data)
    @cython.locals(count=Py_ssize_t)
    cpdef decrypt(self, data)
    cpdef take(self)
    cpdef write(self, data)
    cpdef encrypt(self, data)
