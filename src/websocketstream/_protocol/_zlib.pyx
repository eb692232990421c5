# cython: language_level=3, cdivision=True, always_allow_keywords=True
"""The compressor and the inflater of permessage-deflate by zlib's C interface, for the compiled engine.

They do what those of deflate.py do, which are the ones to read first; the same tests run with both. What differs is that
nothing is copied on the way in, that the inflater's window is zlib's own, and that zlib itself is asked whether a block has
ended.

This is a module of its own because it is linked with the system's zlib: where that or its header is missing, only this
module is left out, and the engine makes do with Python's zlib. So the engine gets at its functions by way of CALLS.
"""

from cython cimport final

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Free, PyMem_Malloc, PyMem_RawFree, PyMem_RawMalloc
from cpython.object cimport PyObject
from cpython.pycapsule cimport PyCapsule_New
from cpython.ref cimport Py_XDECREF
from libc.stdint cimport uint8_t

from . import deflate as in_python
from .deflate import InflatedTooLarge, InflateError

cdef extern from "Python.h":
    PyObject *new_bytes "PyBytes_FromStringAndSize"(const char *, Py_ssize_t) except NULL
    char *data_of "PyBytes_AS_STRING"(PyObject *) noexcept
    int resize_bytes "_PyBytes_Resize"(PyObject **, Py_ssize_t) except -1
    Py_ssize_t PY_SSIZE_T_MAX

cdef extern from *:
    """
    #define ZLIB_CONST
    #include <zlib.h>
    """
    ctypedef struct z_stream:
        const uint8_t *next_in
        unsigned int avail_in
        uint8_t *next_out
        unsigned int avail_out
        const char *msg
        void *(*zalloc)(void *, unsigned int, unsigned int) noexcept
        void (*zfree)(void *, void *) noexcept
        void *opaque
        int data_type
    enum: Z_OK
    enum: Z_STREAM_END
    enum: Z_BUF_ERROR
    enum: Z_MEM_ERROR
    enum: Z_NO_FLUSH
    enum: Z_BLOCK
    enum: Z_SYNC_FLUSH
    enum: Z_DEFLATED
    enum: Z_DEFAULT_STRATEGY
    int deflateInit2(z_stream *, int, int, int, int, int) noexcept
    int deflate(z_stream *, int) noexcept
    int deflateReset(z_stream *) noexcept
    int deflateEnd(z_stream *) noexcept
    int inflateInit2(z_stream *, int) noexcept
    int inflate(z_stream *, int) noexcept
    int inflateReset(z_stream *) noexcept
    int inflateEnd(z_stream *) noexcept
    int inflateGetDictionary(z_stream *, uint8_t *, unsigned int *) noexcept
    int inflateSetDictionary(z_stream *, const uint8_t *, unsigned int) noexcept

cdef enum:
    TAIL_SIZE = 4
    # zlib counts in unsigned int, whatever the platform.
    MOST_AT_ONCE = 0x40000000
    # zlib.h at inflate(): 128 is a block's end; 64 would be the last block, and 0-7 the bits left of the last byte.
    AT_BLOCK_BOUNDARY = 128

cdef const uint8_t *TAIL = b"\x00\x00\xff\xff"  # RFC 7692 7.2.1


# zlib's memory is Python's, so that tracemalloc sees it.
cdef void *_allocate(void *opaque, unsigned int count, unsigned int size) noexcept:
    return PyMem_RawMalloc(<size_t>count * size)


cdef void _free(void *opaque, void *memory) noexcept:
    PyMem_RawFree(memory)


cdef int _set_up(z_stream *z) noexcept:
    z.zalloc, z.zfree, z.opaque = _allocate, _free, NULL
    z.next_in, z.avail_in, z.msg = NULL, 0, NULL
    return 0


cdef int _check_opened(int status) except -1:
    if status == Z_MEM_ERROR:
        raise MemoryError
    if status != Z_OK:
        raise RuntimeError(f"zlib refuses its settings: error {status}")
    return 0


@final
cdef class Compressor:
    cdef z_stream _z
    cdef bint _open
    cdef int _level
    cdef int _bits
    cdef int _mem_level
    cdef bint _takeover
    cdef bint _in_portions
    cdef bint _in_parts  # of a message that comes part by part
    cdef readonly Py_ssize_t portion

    def __cinit__(self, int bits, bint takeover, compression):
        self._level, self._mem_level = compression.level, compression.mem_level
        self._bits = max(bits, 9)  # deflate.py says why
        self._takeover = takeover
        self.portion = in_python.portion_of(compression.level)

    def __dealloc__(self):
        self._close()

    def compress(self, bytes payload not None):
        cdef PyObject *out = NULL
        cdef Py_ssize_t size = PyBytes_GET_SIZE(payload)
        cdef Py_ssize_t made
        cdef bint sent = False
        if not size:
            return None  # a second flush without data in between is nothing at all, not even an empty block
        self._take()
        try:
            out = new_bytes(NULL, size + TAIL_SIZE)
            # Where this is used up, the result is no shorter than the payload.
            made = self._deflate(<const uint8_t *>PyBytes_AS_STRING(payload), size, Z_SYNC_FLUSH, &out, False)
            if made < 0:
                return None
            resize_bytes(&out, made - TAIL_SIZE)
            sent = True
            return <bytes>out
        finally:
            self._keep_if(sent)
            Py_XDECREF(out)

    def compress_in_portions(self, bytes payload not None):
        cdef Py_ssize_t start, step, total = 0
        cdef Py_ssize_t size = PyBytes_GET_SIZE(payload)
        if not size:
            return
        self._take()
        self._in_portions = True
        try:
            for start in range(0, size, self.portion):
                step = min(self.portion, size - start)
                piece = self._portion(<const uint8_t *>PyBytes_AS_STRING(payload) + start, step, Z_NO_FLUSH)
                total += len(piece)
                yield piece
            # zlib makes the tail again for every buffer that it fills (zlib.h at deflate()), so it gets one of its own.
            piece = self._portion(NULL, 0, Z_BLOCK) + self._portion(NULL, 0, Z_SYNC_FLUSH)[:-TAIL_SIZE]
            total += len(piece)
            yield piece
        except BaseException:  # given up, for one
            total = size
            raise
        finally:
            self._in_portions = False
            self._keep_if(total < size)

    def compress_part(self, bytes payload not None, *, bint last):
        cdef bytes data = b""
        if not self._in_parts:
            self._take()
        self._in_parts = not last
        if payload:
            data = self._portion(<const uint8_t *>PyBytes_AS_STRING(payload), PyBytes_GET_SIZE(payload), Z_BLOCK)
            data += self._portion(NULL, 0, Z_SYNC_FLUSH)
        if not last:
            return data
        self._keep_if(True)
        return data + in_python.LAST_PART

    cdef bytes _portion(self, const uint8_t *data, Py_ssize_t size, int flush):
        cdef PyObject *out = new_bytes(NULL, size // 2 + 256)
        cdef Py_ssize_t made
        try:
            made = self._deflate(data, size, flush, &out, True)
            resize_bytes(&out, made)
            return <bytes>out
        finally:
            Py_XDECREF(out)

    cdef Py_ssize_t _deflate(
        self, const uint8_t *data, Py_ssize_t size, int flush, PyObject **out, bint may_grow
    ) except -2:
        """Compress into ``out``, and return the size of the result; -1 when it does not fit and ``out`` may not grow."""
        cdef Py_ssize_t made = 0
        cdef Py_ssize_t space, step
        cdef int status
        while True:
            space = PyBytes_GET_SIZE(<object>out[0]) - made
            if not space:
                if not may_grow:
                    return -1
                resize_bytes(out, 2 * made)
                continue
            step = min(size, <Py_ssize_t>MOST_AT_ONCE)
            space = min(space, <Py_ssize_t>MOST_AT_ONCE)
            self._z.next_in, self._z.avail_in = data, step
            self._z.next_out, self._z.avail_out = <uint8_t *>data_of(out[0]) + made, space
            status = deflate(&self._z, flush if step == size else Z_NO_FLUSH)
            if status != Z_OK and status != Z_BUF_ERROR:  # the latter is no error, but nothing to do
                raise RuntimeError(f"zlib cannot compress: error {status}")
            data += step - self._z.avail_in
            size -= step - self._z.avail_in
            made += space - self._z.avail_out
            if not size and self._z.avail_out:
                return made

    def forget(self):
        self._check_free()
        if self._open:
            deflateReset(&self._z)

    cdef int _check_free(self) except -1:
        if self._in_portions or self._in_parts:
            # It would leave first, and then its data would lie in the peer's window and not in the other's.
            raise RuntimeError("another message is being compressed in portions")
        return 0

    cdef int _take(self) except -1:
        self._check_free()
        if not self._open:
            _set_up(&self._z)
            _check_opened(
                deflateInit2(&self._z, self._level, Z_DEFLATED, -self._bits, self._mem_level, Z_DEFAULT_STRATEGY)
            )
            self._open = True
        return 0

    cdef void _keep_if(self, bint sent) noexcept:
        """Data that is thrown away has moved our window and not the peer's: then the next message has an empty one."""
        if not self._takeover:
            self._close()
        elif not sent:
            deflateReset(&self._z)

    cdef void _close(self) noexcept:
        if self._open:
            self._open = False
            deflateEnd(&self._z)


@final
cdef class Inflater:
    cdef z_stream _z
    cdef bint _open
    cdef int _bits
    cdef bint _takeover
    cdef bint _between_streams
    cdef Py_ssize_t _room

    def __cinit__(self, int bits, bint takeover):
        self._bits = bits
        self._takeover = takeover
        self._between_streams = True
        self._room = PY_SSIZE_T_MAX

    def __dealloc__(self):
        self._close()

    def begin(self, limit):
        self._begin(-1 if limit is None or limit > PY_SSIZE_T_MAX else limit)

    def lift_limit(self):
        self._room = PY_SSIZE_T_MAX

    def inflate(self, data, *, bint last):
        """Yield what comes out piece by piece; only tests do, the codec makes the steps itself."""
        cdef ws_inflating step
        cdef Py_buffer view
        cdef bytes out = PyBytes_FromStringAndSize(NULL, WS_INFLATED_AT_ONCE)
        PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
        try:
            step.data, step.size, step.full = <const uint8_t *>view.buf, view.len, False
            step.out = <uint8_t *>PyBytes_AS_STRING(out)
            while step.size or step.full:
                self._step(&step, WS_INFLATED_AT_ONCE)
                yield PyBytes_FromStringAndSize(<const char *>step.out, step.made)
        finally:
            PyBuffer_Release(&view)
        if last:
            self._finish()

    cdef int _begin(self, Py_ssize_t limit) noexcept:
        self._room = PY_SSIZE_T_MAX if limit < 0 else limit
        self._between_streams = True  # nothing of this message has been read
        return 0

    cdef int _step(self, ws_inflating *step, Py_ssize_t space) except -1:
        """Make up to ``space`` bytes of up to 8 KiB, or of what comes before the end of a last block."""
        cdef Py_ssize_t size = min(step.size, <Py_ssize_t>WS_READ_AT_ONCE)
        cdef Py_ssize_t most = space if space <= self._room else max(self._room, 0) + 1
        cdef int status
        if not self._open:
            _set_up(&self._z)
            _check_opened(inflateInit2(&self._z, -self._bits))
            self._open = True
        self._z.next_in, self._z.avail_in = step.data, size
        self._z.next_out, self._z.avail_out = step.out, most
        status = inflate(&self._z, Z_SYNC_FLUSH)
        step.data += size - self._z.avail_in
        step.size -= size - self._z.avail_in
        step.made = most - self._z.avail_out
        if status == Z_MEM_ERROR:
            raise MemoryError
        if status != Z_OK and status != Z_STREAM_END and status != Z_BUF_ERROR:
            raise self._broken(status)
        self._room -= step.made
        if self._room < 0:
            raise InflatedTooLarge
        self._between_streams = status == Z_STREAM_END
        step.full = step.made == space and not self._between_streams
        if self._between_streams:
            self._begin_stream()
        return 0

    cdef int _begin_stream(self) except -1:
        """RFC 7692 7.2.1 allows a "last" block anywhere in a message; what follows may refer to what was before."""
        cdef unsigned int size = 0
        cdef uint8_t *window = <uint8_t *>PyMem_Malloc(1 << self._bits)
        if window is NULL:
            raise MemoryError
        inflateGetDictionary(&self._z, window, &size)
        inflateReset(&self._z)
        inflateSetDictionary(&self._z, window, size)
        PyMem_Free(window)
        return 0

    cdef int _finish(self) except -1:
        """The message ends here; deflate.py says how it may."""
        cdef uint8_t out[64]
        cdef ws_inflating step
        cdef bint was_data = False  # the tail
        if not self._between_streams:
            step.data, step.size, step.out, step.full = TAIL, TAIL_SIZE, out, False
            while step.full or (step.size and not was_data):
                self._step(&step, sizeof(out))
                was_data = was_data or step.made
            if was_data or self._between_streams or self._z.data_type != AT_BLOCK_BOUNDARY:
                raise InflateError("compressed data ends inside of a block (RFC 7692 7.2.2)")
        if not self._takeover:
            self._close()
        return 0

    cdef object _broken(self, int status):
        cdef bytes why = b": " + self._z.msg if self._z.msg is not NULL else b""
        message = f"Error {status} while decompressing data{why.decode()}"  # zlib.error says the same
        return InflateError(f"compressed data is broken: {message} (RFC 7692 7.2.2)")

    cdef void _close(self) noexcept:
        if self._open:
            self._open = False
            inflateEnd(&self._z)


class PerMessageDeflate(in_python.PerMessageDeflate):
    """That of deflate.py with the parts above."""

    @property
    def inflater(self):
        """What the calls are for."""
        return self._inflater

    @staticmethod
    def _parts():
        return Compressor, Inflater


cdef int _call_begin(object inflater, Py_ssize_t limit) except -1:
    return (<Inflater?>inflater)._begin(limit)


cdef int _call_step(object inflater, ws_inflating *step) except -1:
    return (<Inflater?>inflater)._step(step, WS_INFLATED_AT_ONCE)


cdef int _call_finish(object inflater) except -1:
    return (<Inflater?>inflater)._finish()


cdef ws_inflater_calls _calls
_calls.begin, _calls.step, _calls.finish = _call_begin, _call_step, _call_finish
CALLS = PyCapsule_New(&_calls, WS_INFLATER_CALLS, NULL)
