# cython: language_level=3, always_allow_keywords=True
"""TLS by OpenSSL's own functions, without Python's ssl module in between: no copy into a buffer, no call for each record.

See ``tls_calls.py`` for what is done: it does the same by Python's ssl module, and is used where this was not built, or does
not find OpenSSL. Python's object remains the one that shakes hands, and says what went wrong.
"""

import _ssl
import ssl
from os import fsencode

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize

cdef extern from "_openssl.h":
    ctypedef struct ws_tls:
        const char *data
        size_t size
        char *room
        size_t free
        char *kept
        size_t kept_size
    enum:
        WS_NO_ERROR
        WS_WANT_READ
        WS_SYSTEM_CALL
        WS_ZERO_RETURN
    int ws_load(const char *file)
    void ws_forget()
    int ws_begin(ws_tls *tls, const void *object)
    void ws_end(ws_tls *tls)
    int ws_keep(ws_tls *tls, const char *data, size_t size)
    void ws_drop_kept(ws_tls *tls)
    size_t ws_read(ws_tls *tls, char *room, size_t size, int *verdict) nogil
    size_t ws_write(ws_tls *tls, const char *data, size_t size, int *verdict) nogil

cdef enum:
    # Of plain text, what is read at a time where it is not known how much there is.
    LITTLE = 4096
    # Other threads need not wait for more.
    MUCH = 64 * 1024
    RECORD = 16 * 1024
    # What a record has beyond its text, until one was seen.
    OVERHEAD = 22

# Others have functions of the same names with other arguments: AWS-LC ("OpenSSL 1.1.1 (compatible; AWS-LC ...)" to some).
if not ssl.OPENSSL_VERSION.startswith("OpenSSL ") or "compatible" in ssl.OPENSSL_VERSION:
    raise ImportError("Python's ssl module stands on something else")

if not ws_load(fsencode(getattr(_ssl, "__file__", ""))):
    raise ImportError("OpenSSL's functions are not found")


def forget():
    """Forget what SSL object this thread has made last: the next one is meant."""
    ws_forget()


# The garbage collector may not take away what our end is still told to: OpenSSL's object, and whose buffer we have.
@cython.no_gc_clear
cdef class OpenSSLCalls:
    """See ``tls_calls.py``.

    :param tls: whose SSL object is the one that this thread has made last
    :raises ValueError: it is not
    """

    cdef ws_tls _tls
    cdef Py_buffer _view  # of what has arrived
    cdef bint _has_view
    cdef object _inner  # Python's, which must not end before
    cdef size_t _overhead
    cdef readonly bint ended
    cdef readonly object error
    cdef readonly Py_ssize_t encrypted

    def __cinit__(self, tls):
        self._overhead = OVERHEAD
        self._inner = tls._sslobj
        if not ws_begin(&self._tls, <void *>self._inner):
            raise ValueError("OpenSSL has made no such object")

    def __dealloc__(self):
        ws_end(&self._tls)
        if self._has_view:
            PyBuffer_Release(&self._view)

    @property
    def has_news(self):
        return self.ended or self._tls.kept_size > 0

    @property
    def pending(self):
        return self._tls.kept_size

    @property
    def left(self):
        return self._tls.size

    @property
    def may_hold_text(self):
        return not self.ended and (self._tls.size > 0 or self._inner.pending() > 0)

    # --- reading

    def feed(self, data):
        cdef bytes before = PyBytes_FromStringAndSize(self._tls.data, self._tls.size)
        self.give(before + bytes(data))

    cpdef give(self, data):
        self._let_go()
        PyObject_GetBuffer(data, &self._view, PyBUF_SIMPLE)
        self._has_view = True
        self._tls.data = <const char *>self._view.buf
        self._tls.size = self._view.len

    cdef _let_go(self):
        self._tls.data = NULL
        self._tls.size = 0
        if self._has_view:
            self._has_view = False
            PyBuffer_Release(&self._view)

    def read(self, room):
        cdef Py_buffer view
        cdef size_t filled
        cdef int verdict
        if self.ended:
            self._let_go()
            return 0
        PyObject_GetBuffer(room, &view, PyBUF_WRITABLE)
        try:
            if self._tls.size < MUCH:
                filled = ws_read(&self._tls, <char *>view.buf, view.len, &verdict)
            else:
                with nogil:
                    filled = ws_read(&self._tls, <char *>view.buf, view.len, &verdict)
        finally:
            PyBuffer_Release(&view)
        self._check(verdict)
        return filled

    def decrypt(self, data):
        cdef char[LITTLE] room
        cdef size_t filled
        cdef int verdict
        if self.ended:
            return b""
        self.give(data)
        filled = ws_read(&self._tls, room, LITTLE, &verdict)
        plain = PyBytes_FromStringAndSize(room, filled)
        while filled == LITTLE and not verdict:
            filled = ws_read(&self._tls, room, LITTLE, &verdict)
            plain += PyBytes_FromStringAndSize(room, filled)
        self._check(verdict)
        return plain

    cdef _check(self, int verdict):
        """Let go of what was read to its end, and take note of what was in it."""
        cdef char[1] room
        if verdict not in (WS_NO_ERROR, WS_WANT_READ, WS_ZERO_RETURN):
            # It looks at errors that others have left for this thread, too: its second word is about us alone.
            error = self._failure()
            ws_read(&self._tls, room, 1, &verdict)
            # Behind an alert that is that nothing more comes, as behind a clean end.
            is_ours = verdict != WS_ZERO_RETURN or getattr(error, "library", "SSL") == "SSL"
            if verdict != WS_WANT_READ and is_ours:
                self.error = error
        self.ended = verdict not in (WS_NO_ERROR, WS_WANT_READ)
        if not self._tls.size or self.ended:
            self._let_go()

    def _failure(self):
        """Return the error of which OpenSSL has taken note for this thread: Python's own method finds it there, and takes it."""
        try:
            self._inner.read(1)
        except ssl.SSLError as exc:
            return exc.with_traceback(None)
        return ssl.SSLError(ssl.SSL_ERROR_SSL, "TLS has failed")

    # --- writing

    def encrypt(self, data):
        cdef Py_buffer view
        cdef bytes records
        cdef Py_ssize_t room
        cdef size_t done
        cdef int verdict
        PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
        try:
            room = 0
            if not self._tls.kept_size:  # which leaves first
                room = view.len + (view.len + RECORD - 1) // RECORD * self._overhead
            records = PyBytes_FromStringAndSize(NULL, room)
            self._tls.room = PyBytes_AS_STRING(records)
            self._tls.free = room
            done = ws_write(&self._tls, <const char *>view.buf, view.len, &verdict)
            room -= self._tls.free
            self._tls.free = 0
        finally:
            PyBuffer_Release(&view)
        self.encrypted = done
        if self._tls.kept_size or room != len(records):
            records = records[:room] + self.take()
            if 0 < done <= RECORD and len(records) - done < RECORD:
                self._overhead = len(records) - done
        if verdict == WS_NO_ERROR or done:
            return records
        if not ws_keep(&self._tls, PyBytes_AS_STRING(records), len(records)):
            raise MemoryError
        # The latter is what OpenSSL says when a handshake finds text that has to be read first.
        if verdict == WS_WANT_READ or (verdict == WS_SYSTEM_CALL and (self._tls.size or self._inner.pending())):
            raise ssl.SSLWantReadError(ssl.SSL_ERROR_WANT_READ, "TLS has to read first")
        self.encrypted = self._inner.write(data)  # which raises what OpenSSL says
        return self.take()

    cpdef bytes take(self):
        records = PyBytes_FromStringAndSize(self._tls.kept, self._tls.kept_size)
        ws_drop_kept(&self._tls)
        return records
