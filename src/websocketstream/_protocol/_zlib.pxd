# Nothing but what stands in the header: whoever cimports that does not import the module.

from libc.stdint cimport uint8_t

cdef extern from "_zlib.h":
    ctypedef struct ws_inflating:
        const uint8_t *data
        Py_ssize_t size
        uint8_t *out
        Py_ssize_t made
        bint full
    ctypedef struct ws_inflater_calls:
        int (*begin)(object inflater, Py_ssize_t limit) except -1
        int (*step)(object inflater, ws_inflating *step) except -1
        int (*finish)(object inflater) except -1
    enum: WS_INFLATED_AT_ONCE
    enum: WS_READ_AT_ONCE
    const char *WS_INFLATER_CALLS
