# The C types of _network/tls_records.py.

cimport cython

cdef Py_ssize_t BEHIND_BYTES
cdef Py_ssize_t ENCRYPT_BYTES
cdef Py_ssize_t LITTLE_BYTES
cdef Py_ssize_t RECORD_BYTES

cdef class TLSRecords:
    cdef object _owner
    cdef object _below
    cdef object _calls
    cdef object _decrypt
    cdef object _encrypt
    cdef object _read
    cdef object _scratch
    cdef object _write
    cdef public object deliver
    cdef public object offer
    cdef public object fill
    cdef public bint may_read
    cdef public bint may_write
    cdef public bint is_waiting
    cdef readonly Py_ssize_t filled
    cdef readonly Py_ssize_t encrypted

    cpdef release(self)
    @cython.locals(plain=bytes)
    cpdef data_received(self, data)
    cdef _put_back(self, bytes plain)
    @cython.locals(put=Py_ssize_t, behind=Py_ssize_t, is_full=bint)
    cdef _decrypt_much(self, data)
    @cython.locals(left=Py_ssize_t)
    cdef _ask_for_room(self)
    cpdef decrypt(self, data)
    cpdef read(self)
    cpdef Py_ssize_t space(self)
    cpdef take(self)
    cpdef write(self, data)
    @cython.locals(done=Py_ssize_t, records=list)
    cpdef list encrypt_some(self, data, Py_ssize_t size)
