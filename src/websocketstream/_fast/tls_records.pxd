# The C types of _network/tls_records.py.

cimport cython

cdef class TLSRecords:
    cdef object _incoming
    cdef object _read
    cdef object _scratch
    cdef readonly Py_ssize_t filled
    cdef readonly bint ended

    @cython.locals(count=Py_ssize_t)
    cpdef decrypt(self, data)
    cpdef take(self)
