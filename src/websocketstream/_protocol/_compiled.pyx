# cython: language_level=3, cdivision=True, always_allow_keywords=True
"""The compiled codec engine: a whole network read in, a list of messages out, and the other way round.

It makes the same events and the same failures as the portable engine, which is the one to read first; a test feeds both
the same bytes. What differs is that nothing is a Python object before it is an event: headers are parsed where they lie,
small messages are made straight from the read that brought them, large ones are put together in the bytes object that is
delivered.
"""

import os
from codecs import getincrementaldecoder
from collections import deque

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_FillInfo, PyBuffer_Release, PyObject_GetBuffer
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from cpython.object cimport PyObject
from cpython.pycapsule cimport PyCapsule_GetPointer
from cpython.ref cimport Py_INCREF, Py_XDECREF
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.stdint cimport INT64_MAX, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

from ._zlib cimport (
    WS_INFLATED_AT_ONCE,
    WS_INFLATER_CALLS,
    WS_READ_AT_ONCE,
    ws_inflater_calls,
    ws_inflating,
)

from .assembly import Violation, read_close
from .close import is_valid_on_the_wire, truncate_reason
from .codec import PINGS_PER_CALL, Chunk, Close, Failure, Outgoing, Ping, Pong, without_old_pings
from .deflate import InflatedTooLarge, InflateError, PerMessageDeflate as PythonDeflate
from .negotiation import Compression

cdef extern from "_compiled.h":
    ctypedef uint32_t ws_key
    ctypedef struct ws_utf8:
        uint8_t needed
    enum: WS_MAX_HEADER
    enum: WS_UTF8_OK
    enum: WS_UTF8_BAD_START
    ws_key ws_load_key(const uint8_t *p) noexcept nogil
    ws_key ws_advance_key(ws_key key, size_t n) noexcept nogil
    bint ws_mask(uint8_t *dst, const uint8_t *src, size_t n, ws_key key) noexcept nogil
    bint ws_unmask(uint8_t *p, size_t n, ws_key key) noexcept nogil
    bint ws_is_ascii(const uint8_t *p, size_t n) noexcept nogil
    bint ws_copy(uint8_t *dst, const uint8_t *src, size_t n) noexcept nogil
    PyObject *ws_new_buffer(Py_ssize_t size, bint text) except NULL
    uint8_t *ws_buffer_data(PyObject *buffer) noexcept
    Py_ssize_t ws_buffer_size(PyObject *buffer) noexcept
    int ws_resize_buffer(PyObject **buffer, Py_ssize_t size) except -1
    int ws_utf8_check(ws_utf8 *state, const uint8_t *p, size_t n) noexcept nogil
    Py_ssize_t ws_memory_of(object message) noexcept
    Py_ssize_t ws_header_size(Py_ssize_t n, bint masked) noexcept nogil
    uint8_t *ws_put_header(uint8_t *p, uint8_t first, Py_ssize_t n, bint masked) noexcept nogil
    uint64_t ws_read_length(const uint8_t *p, int size) noexcept nogil

cdef extern from "Python.h":
    PyObject *new_bytes "PyBytes_FromStringAndSize"(const char *, Py_ssize_t) except NULL
    char *data_of "PyBytes_AS_STRING"(PyObject *) noexcept
    str PyUnicode_New(Py_ssize_t, Py_UCS4)
    void *PyUnicode_DATA(object) noexcept
    Py_ssize_t Py_REFCNT(PyObject *) noexcept
    bint PyUnicode_IS_COMPACT_ASCII(object) noexcept
    Py_ssize_t PyUnicode_GET_LENGTH(object) noexcept
    Py_ssize_t PY_SSIZE_T_MAX

cdef enum:
    CONTINUATION = 0x0
    TEXT = 0x1
    BINARY = 0x2
    CLOSE = 0x8
    PING = 0x9
    PONG = 0xA

cdef enum:
    # What one call of receive_data() may do, in units of about one small message. Measured with CPython 3.11 on two shared
    # cores: 4096 fragments take 0.2 ms, 4096 small messages 0.2-1 ms, and another 1.2 ms to push and receive; 512 control
    # frames take 0.2 ms, and 1.3 ms at most to handle and answer; 2 MiB of payload 0.5-3 ms (it is the fresh memory that
    # costs), 240 KiB inflated 1 ms, 32 KiB of compressed data that is nothing but tables of codes 5 ms.
    BUDGET = 4096
    CONTROL_FRAME = 8
    BYTES_PER_UNIT = 512
    INFLATE_STEP = 32  # a call of Python's zlib, whatever it does ...
    INFLATE_STEP_IN_C = 8  # ... or of zlib itself ...
    INFLATED_BYTES_PER_UNIT = 64  # ... and what it takes in and puts out ...
    COMPRESSED_BYTES_PER_UNIT = 8  # ... unless that is less than what data can cost that is nothing but tables of codes.
    # Compressed bytes that are unmasked at a time for Python's zlib.
    INFLATE_INPUT = 8 * 1024
    # Empty fragments bring no byte nearer to any size limit, so they have one of their own.
    MAX_EMPTY_FRAGMENTS = 128
    MAX_CONTROL_PAYLOAD = 125  # RFC 6455 5.5
    MAX_SHORT = 125  # what the second byte of a header can say (RFC 6455 5.2)
    # A payload from here on is handed out in a buffer of its own; below, a copy is cheaper than a second write.
    LARGE = 64 * 1024
    # A first buffer of this size is within everybody's means; more is only allocated for what has arrived.
    FIRST_BUFFER = 4096
    # What follows of a frame of this size is read straight into the memory of its message, with little of what is behind.
    # Of smaller ones, reads that bring many are better: to copy so much takes as long as some passes of the event loop.
    DIRECT = 256 * 1024
    # Of what a frame has announced, so much may be allocated if the message before was that large, and was not inflated: what has
    # arrived of a new one is little, and would say how much the next read may bring. The peer has paid for it.
    AHEAD = 1024 * 1024
    # Masking so much takes 0.1-2 ms (it is the fresh memory that costs).
    MASKED_AT_ONCE = 2 * 1024 * 1024
    ON_STACK = 1024

# zlib's C interface, where it was built. Its functions are not cimported, because then nothing would work without them.
cdef const ws_inflater_calls *_inflater = NULL
try:
    from ._zlib import CALLS, PerMessageDeflate

    _inflater = <const ws_inflater_calls *>PyCapsule_GetPointer(CALLS, WS_INFLATER_CALLS)
except (ImportError, ValueError):  # the latter if it is of another build
    PerMessageDeflate = PythonDeflate

# --- masking keys ---

cdef enum:
    KEYS_AT_ONCE = 4096  # bytes

# RFC 6455 5.3 and 10.3: a fresh key for every frame, from a source that nobody can predict. Asking the operating system
# for a thousand of them at a time makes one cost 10 ns.
cdef uint8_t _keys[KEYS_AT_ONCE]
cdef Py_ssize_t _keys_left = 0  # bytes, at the end


def _forget_keys():
    """Throw away the keys in stock: after a fork, parent and child must not use the same ones."""
    global _keys_left
    _keys_left = 0


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_keys)


cdef inline ws_key _new_key() except? 0:
    global _keys_left
    if not _keys_left:
        _make_keys()
    _keys_left -= 4
    return ws_load_key(_keys + (KEYS_AT_ONCE - 4 - _keys_left))


cdef int _make_keys() except -1:
    global _keys_left
    cdef bytes keys = os.urandom(KEYS_AT_ONCE)
    if len(keys) < KEYS_AT_ONCE:
        raise RuntimeError("os.urandom() returned less than it was asked for")
    # Not before: other threads may run, and may come here, while the operating system is asked.
    memcpy(_keys, PyBytes_AS_STRING(keys), KEYS_AT_ONCE)
    _keys_left = KEYS_AT_ONCE
    return 0


# --- values ---


cdef object _not_utf8(str reason):
    return Violation(1007, f"text message is not UTF-8: {reason} (RFC 6455 8.1)")


cdef inline str _decode(const uint8_t *data, Py_ssize_t size):
    return PyUnicode_DecodeUTF8(<const char *>data, size, NULL)  # receive_data() catches what it raises


cdef str _masked_text(const uint8_t *data, Py_ssize_t size, ws_key key):
    cdef uint8_t small[ON_STACK]
    cdef str text
    if size <= ON_STACK:
        ws_mask(small, data, size, key)
        return _decode(small, size)
    # Large text is mostly ASCII: unmasked straight into the str, which is thrown away if it is not.
    text = PyUnicode_New(size, 127)
    if ws_mask(<uint8_t *>PyUnicode_DATA(text), data, size, key):
        return text
    return _decode(<const uint8_t *>PyUnicode_DATA(text), size)


cdef bytes _masked_bytes(const uint8_t *data, Py_ssize_t size, ws_key key):
    cdef bytes payload = PyBytes_FromStringAndSize(NULL, size)
    if size:  # otherwise it is everybody's empty bytes object
        ws_mask(<uint8_t *>PyBytes_AS_STRING(payload), data, size, key)
    return payload


cdef bytes _masked_part(bytes payload, Py_ssize_t start, Py_ssize_t size, ws_key key):
    if not key and size == PyBytes_GET_SIZE(payload):
        return payload  # a server's: nothing is copied
    return _masked_bytes(<const uint8_t *>PyBytes_AS_STRING(payload) + start, size, key)


cdef bytes _header(uint8_t first, Py_ssize_t size, bint masked, ws_key key):
    cdef uint8_t header[WS_MAX_HEADER]
    cdef uint8_t *end = ws_put_header(header, first, size, masked)
    if masked:
        memcpy(end, &key, 4)
        end += 4
    return header[: end - header]


cdef Py_ssize_t _bound(limit) except -2:
    """A limit as a number; what is None or beyond all that memory can hold is -1."""
    if limit is None or limit > INT64_MAX // 4:
        return -1
    return max(limit, 0)


cdef struct Frame:
    PyObject *owner  # of the payload
    const uint8_t *payload
    Py_ssize_t size
    uint8_t first
    bint large


cdef class Room:
    """Where the rest of a message goes: whoever holds it, or a view of it, holds the memory."""

    cdef PyObject *_buffer
    cdef uint8_t *_data
    cdef Py_ssize_t _size

    def __getbuffer__(self, Py_buffer *view, int flags):
        PyBuffer_FillInfo(view, self, self._data, self._size, 0, flags)

    def __dealloc__(self):
        Py_XDECREF(self._buffer)


cdef class CompiledCodec:
    """A :class:`~.codec.Codec` in C. Like all of them it belongs to one thread at a time."""

    cdef bint _client
    cdef object _deflate
    # limits
    cdef object _size_limit
    cdef Py_ssize_t _max_size
    cdef Py_ssize_t _max_fragments
    # what was given and not yet decoded: a read, where to go on in it, and those behind it
    cdef bytes _rest
    cdef Py_ssize_t _rest_at
    cdef object _queue
    # the frame in progress: first the bytes of its header, then its payload
    cdef uint8_t _head[WS_MAX_HEADER]
    cdef uint8_t _head_size
    cdef bint _in_payload
    cdef bint _fin
    cdef uint8_t _frame_opcode
    cdef uint64_t _frame_size
    cdef ws_key _key
    cdef uint64_t _left
    cdef PyObject *_control  # of a control frame that did not come in one piece
    cdef uint8_t _control_size
    # the message in progress
    cdef uint8_t _opcode  # 0: none
    cdef bint _compressed
    cdef uint64_t _announced  # payload bytes that the headers of this message have announced
    cdef Py_ssize_t _fragments
    cdef int _empty_fragments
    cdef PyObject *_buffer  # becomes the message; _size bytes of it are in use
    cdef Py_ssize_t _size
    cdef bint _beyond_ascii
    cdef ws_utf8 _utf8
    cdef object _room  # a view of the unused part of the buffer, while somebody reads into that
    cdef Py_ssize_t _room_size
    cdef Py_ssize_t _ahead  # bytes that may be allocated before they arrive
    # where messages are read in chunks
    cdef bint _in_chunks
    cdef object _decoder  # of text, from the first on
    # of a compressed one: the inflater in C, and whether it may have more to give without more data; ...
    cdef object _zlib
    cdef bint _full
    # ... or what Python's zlib has left of a piece of compressed payload
    cdef object _inflating
    cdef bint _inflating_last
    # state
    cdef bint _only_messages
    cdef Py_ssize_t _pings  # of this call
    cdef Py_ssize_t _message_bytes
    cdef bint _discarding
    cdef bint _ended
    cdef bint _busy

    def __init__(self, *, bint client, limits, deflate=None, compression=None):
        if self._busy:
            raise RuntimeError("the codec is at work")
        self._end()
        self._ended = self._discarding = self._in_chunks = False
        self._decoder = None
        self._ahead = 0
        self._client = client
        self._size_limit = limits.max_message_size
        self._max_size = _bound(limits.max_message_size)
        self._max_fragments = _bound(limits.max_fragments)
        self._deflate = self._zlib = None
        if deflate is not None:
            self._deflate = PerMessageDeflate(deflate, compression or Compression(), client=client)
            if _inflater is not NULL:
                self._zlib = getattr(self._deflate, "inflater", None)

    def __dealloc__(self):
        self._drop_buffers()

    @property
    def deflate(self):
        """The compressor and the inflater, None without compression."""
        return self._deflate

    # --- receiving ---

    @property
    def pending(self):
        """Whether ``receive_data(b"")`` has more to decode of what was already given."""
        return self._rest is not None or self._inflating is not None or self._full

    @property
    def only_messages(self):
        """Whether the last call of :meth:`receive_data` returned nothing but whole messages."""
        return self._only_messages

    @property
    def whole_bytes(self):
        """:attr:`message_bytes` after a call that returned nothing but whole messages, and left nothing to decode; else -1."""
        if self._only_messages and self._rest is None and self._inflating is None and not self._full:
            return self._message_bytes
        return -1

    @property
    def message_bytes(self):
        """The memory in bytes of the messages that the last call of :meth:`receive_data` returned."""
        return self._message_bytes

    def receive_data(self, data):
        """Decode what arrived into events: 4096 data frames, 512 control frames, 2 MiB, or 32 KiB to inflate or 240 KiB inflated."""
        return self._events(0, data)

    def room(self, Py_ssize_t most):
        """Return where the next bytes of a large message may be put, or None."""
        cdef Py_ssize_t size
        cdef Room room
        if (
            not self._in_payload
            or self._frame_opcode >= CLOSE
            or self._buffer is NULL
            or self._compressed
            or self._discarding
            or self._in_chunks
            or self.pending
            or self._busy
        ):
            return None
        if self._frame_size < DIRECT or not self._take_room():
            return None
        if <uint64_t>most > self._left:
            most = <Py_ssize_t>self._left
        size = ws_buffer_size(self._buffer) - self._size
        if size < most:
            try:
                self._grow(self._size, False)
            except BaseException:  # out of memory: as in receive_data()
                self._end()
                raise
            size = ws_buffer_size(self._buffer) - self._size
        if size < 1:
            return None
        room = Room()
        room._data, room._size = ws_buffer_data(self._buffer) + self._size, min(size, most)
        room._buffer = self._buffer
        Py_INCREF(<object>self._buffer)
        self._room, self._room_size = memoryview(room), room._size
        return self._room

    def receive_in_room(self, Py_ssize_t size, data):
        """Decode what was put in the room that was given last, and what arrived behind it, as :meth:`receive_data` does."""
        return self._events(size, data)

    cdef list _events(self, Py_ssize_t in_room, data):
        cdef list events = []
        if self._busy:
            # Only a second thread gets here. It would pull the buffers away under the first one.
            raise RuntimeError("receive_data() is being called by somebody else")
        self._only_messages = True
        self._message_bytes = 0
        self._pings = 0
        if self._ended:
            return events
        self._busy = True
        try:
            self._receive(in_room, data, events)
            if self._in_chunks and self._size:
                self._cut(events, False)
        except Violation as exc:
            self._fail(exc, events)
        except UnicodeDecodeError as exc:
            self._fail(_not_utf8(exc.reason), events)
        except BaseException:  # out of memory: a frame is lost, and with it the sense of what comes next
            self._end()
            raise
        finally:
            self._busy = False
        if self._pings > PINGS_PER_CALL:
            events = without_old_pings(events)
        return events

    def read_in_chunks(self):
        """Hand messages out in chunks from now on, the one in progress included."""
        self._in_chunks = True
        self._ahead = 0
        self._max_size = self._max_fragments = -1
        self._size_limit = None
        if self._deflate is not None:
            self._deflate.lift_limit()

    def discard_data(self):
        """Drop data frames unread from now on; control frames are still events and framing is still checked."""
        self._discarding = True
        if not self._busy:  # otherwise it is about to be noticed
            self._stop_inflating()
            self._forget_message_data()

    cdef int _receive(self, Py_ssize_t in_room, data, list events) except -1:
        cdef Py_ssize_t budget = BUDGET
        if self._room is not None:
            if in_room > self._room_size:
                raise ValueError("there was less room than that")
            if not self._take_room():
                raise BufferError("somebody holds a part of the message in progress")
            self._fill(in_room, events, &budget)
        elif in_room:
            raise ValueError("there was no room")
        if self._inflating is not None:
            self._inflate(events, &budget)
        if self._rest is None and self._inflating is None:
            self._decode_new(data, events, &budget)
        elif len(data):
            if self._queue is None:
                self._queue = deque()
            self._queue.append(bytes(data))
            if self._rest is None:
                self._next_read()
        while self._rest is not None and budget > 0 and self._inflating is None and not self._ended:
            self._decode_rest(events, &budget)
        return 0

    cdef int _decode_new(self, data, list events, Py_ssize_t *budget) except -1:
        cdef Py_buffer view
        cdef Py_ssize_t used
        if PyBytes_CheckExact(data):
            used = self._decode(<const uint8_t *>PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data), events, budget)
            if used < PyBytes_GET_SIZE(data) and not self._ended:
                self._rest, self._rest_at = data, used
            return 0
        PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
        try:
            used = self._decode(<const uint8_t *>view.buf, view.len, events, budget)
            if used < view.len and not self._ended:
                self._rest, self._rest_at = (<char *>view.buf)[used:view.len], 0
        finally:
            PyBuffer_Release(&view)
        return 0

    cdef int _decode_rest(self, list events, Py_ssize_t *budget) except -1:
        cdef bytes data = self._rest
        cdef Py_ssize_t size = PyBytes_GET_SIZE(data) - self._rest_at
        cdef Py_ssize_t used
        used = self._decode(<const uint8_t *>PyBytes_AS_STRING(data) + self._rest_at, size, events, budget)
        if self._ended:
            return 0
        self._rest_at += used
        if used == size:
            self._next_read()
        return 0

    cdef int _next_read(self) except -1:
        self._rest, self._rest_at = None, 0
        if self._queue is not None:
            self._rest = self._queue.popleft()
            if not self._queue:
                self._queue = None
        return 0

    cdef Py_ssize_t _decode(
        self, const uint8_t *data, Py_ssize_t size, list events, Py_ssize_t *budget
    ) except -1:
        """Decode until the data or the budget is used up, and return how much of the data was."""
        cdef Py_ssize_t at = 0
        while budget[0] > 0 and self._inflating is None and not self._ended:
            if not self._in_payload:
                if not self._opcode and not self._head_size and not self._discarding:
                    at += self._take_whole(data + at, size - at, events, budget)
                if at == size or budget[0] <= 0:
                    break
                at += self._take_header(data + at, size - at)
                if not self._in_payload:
                    break
            if at == size and self._left and not self._full:
                break
            if self._frame_opcode >= CLOSE:
                at += self._take_control(data + at, size - at, events, budget)
            else:
                at += self._take_data(data + at, size - at, events, budget)
        return at

    cdef Py_ssize_t _take_whole(
        self, const uint8_t *data, Py_ssize_t size, list events, Py_ssize_t *budget
    ) except -1:
        """Take the small messages that are there whole, in one frame each: a fifth of the time. The rest is for others."""
        cdef Py_ssize_t at = 0
        cdef Py_ssize_t header = 2 if self._client else 6
        cdef uint8_t mask = 0 if self._client else 0x80
        cdef Py_ssize_t most = MAX_SHORT if self._max_size < 0 else min(self._max_size, <Py_ssize_t>MAX_SHORT)
        cdef Py_ssize_t length
        cdef const uint8_t *payload
        if not self._max_fragments or self._in_chunks:
            return 0
        while budget[0] > 0 and size - at > header:
            length = data[at + 1] ^ mask  # too large if the mask is not as it should be
            if not 0 < length <= most or length > size - at - header:
                break
            payload = data + at + header
            if data[at] == (0x80 | BINARY):
                if self._client:
                    message = PyBytes_FromStringAndSize(<const char *>payload, length)
                else:
                    message = _masked_bytes(payload, length, ws_load_key(payload - 4))
            elif data[at] == (0x80 | TEXT):
                if self._client:
                    message = _decode(payload, length)
                else:
                    message = _masked_text(payload, length, ws_load_key(payload - 4))
            else:
                break
            self._deliver(events, message)
            at += header + length
            budget[0] -= 1
            self._ahead = 0
        return at

    # --- headers ---

    cdef Py_ssize_t _take_header(self, const uint8_t *data, Py_ssize_t size) except -1:
        """Read a header, or a part of it, and return how much of the data it took."""
        cdef Py_ssize_t before = self._head_size
        cdef Py_ssize_t used
        if before == 0:
            used = self._parse_header(data, size)
            if used:
                return used
        if size > WS_MAX_HEADER - before:
            size = WS_MAX_HEADER - before
        memcpy(self._head + before, data, size)
        self._head_size = before + size
        if before == 0:
            return size
        used = self._parse_header(self._head, self._head_size)
        if not used:
            return size
        self._head_size = 0
        return used - before

    cdef Py_ssize_t _parse_header(self, const uint8_t *head, Py_ssize_t size) except -1:
        """Check a header as far as it is there; begin its frame and return its size, or 0 when some is missing."""
        cdef uint8_t opcode, short_length
        cdef Py_ssize_t end = 2
        cdef uint64_t length
        if size < 2:
            return 0
        if bool(head[1] & 0x80) == self._client:
            kind = "masked frame from a server" if self._client else "unmasked frame from a client"
            raise Violation(1002, f"{kind} (RFC 6455 5.1)")
        opcode = head[0] & 0x0F
        short_length = head[1] & 0x7F
        if BINARY < opcode < CLOSE or opcode > PONG:
            raise Violation(1002, f"Invalid opcode {opcode:#x} (RFC 6455 5.2)")
        if opcode >= CLOSE:
            if not head[0] & 0x80:
                raise Violation(1002, "Invalid attempt to fragment control frame (RFC 6455 5.2)")
            if short_length > MAX_CONTROL_PAYLOAD:
                raise Violation(1002, "Control frame with payload len > 125 (RFC 6455 5.2)")
        length = short_length
        if short_length >= 126:
            end = 4 if short_length == 126 else 10
            if size < end:
                return 0
            length = ws_read_length(head + 2, end - 2)
            _check_length(length, end - 2)
        self._check_frame(opcode, head[0], length)
        if not self._client:
            end += 4
            if size < end:
                return 0
            self._key = ws_load_key(head + end - 4)
        self._begin_frame(opcode, head[0], length)
        return end

    cdef int _check_frame(self, uint8_t opcode, uint8_t first, uint64_t length) except -1:
        cdef bint rsv1 = first & 0x40
        cdef bint starts_message = CONTINUATION < opcode < CLOSE
        # RFC 7692 6: RSV1 is set on the first frame of a compressed message and on no other.
        if first & 0x30 or (rsv1 and (self._deflate is None or not starts_message)):
            raise Violation(1002, "reserved bit set, and no extension gives it a meaning (RFC 6455 5.2)")
        if opcode == CONTINUATION and not self._opcode:
            raise Violation(1002, "continuation frame without a message in progress (RFC 6455 5.4)")
        if starts_message and self._opcode:
            raise Violation(1002, "new message before the last fragment of the one in progress (RFC 6455 5.4)")
        if opcode < CLOSE and not self._discarding:
            self._check_limits(length, rsv1 or self._compressed)
        return 0

    cdef int _check_limits(self, uint64_t length, bint compressed) except -1:
        cdef uint64_t allowed
        if self._max_size >= 0:
            # Of compressed data, the inflater counts what counts. But DEFLATE never makes data this much longer, so a
            # frame of 2**62 bytes is refused by its header, compressed or not.
            allowed = self._max_size
            if compressed:
                allowed += allowed // 8 + 1024
            # Both are below 2**63: what was announced has arrived, but for the frame in question.
            if self._announced + length > allowed:
                raise self._too_large()
        if self._fragments == self._max_fragments:
            raise Violation(1008, f"message has more than {self._fragments} fragments (limit: max_fragments)")
        if not length and self._empty_fragments == MAX_EMPTY_FRAGMENTS:
            raise Violation(
                1008,
                f"more than {MAX_EMPTY_FRAGMENTS} empty fragments in a row, which is a limit beside max_fragments",
            )
        return 0

    cdef object _too_large(self):
        return Violation(1009, f"message is larger than {self._size_limit} bytes (limit: max_message_size)")

    cdef int _begin_frame(self, uint8_t opcode, uint8_t first, uint64_t length) except -1:
        self._in_payload = True
        self._fin = first & 0x80
        self._frame_opcode = opcode
        self._frame_size = self._left = length
        if opcode >= CLOSE:
            return 0
        if opcode != CONTINUATION:
            self._opcode = opcode
            self._compressed = first & 0x40
            if self._compressed and self._zlib is not None:
                _inflater.begin(self._zlib, self._max_size)
            elif self._compressed:
                self._deflate.begin(self._size_limit)
        self._announced += length
        self._fragments += 1
        self._empty_fragments = 0 if length else self._empty_fragments + 1
        return 0

    # --- control frames ---

    cdef Py_ssize_t _take_control(
        self, const uint8_t *data, Py_ssize_t size, list events, Py_ssize_t *budget
    ) except -1:
        cdef bytes payload
        if size >= <Py_ssize_t>self._left and self._control is NULL:
            size = <Py_ssize_t>self._left
            payload = data[:size] if self._client else _masked_bytes(data, size, self._key)
        else:
            if self._control is NULL:
                self._control = new_bytes(NULL, <Py_ssize_t>self._left)
                self._control_size = 0
            if size > <Py_ssize_t>self._left:
                size = <Py_ssize_t>self._left
            self._copy(<uint8_t *>data_of(self._control) + self._control_size, data, size)
            self._control_size += size
            self._left -= size
            if self._left:
                return size
            payload = <bytes>self._control
            Py_XDECREF(self._control)
            self._control = NULL
        if self._in_chunks and self._size:
            self._cut(events, False)
        self._in_payload = False
        budget[0] -= CONTROL_FRAME
        self._only_messages = False
        if self._frame_opcode == PING:
            self._pings += 1
            events.append(Ping(payload))
        elif self._frame_opcode == PONG:
            events.append(Pong(payload))
        else:
            events.append(read_close(payload))
            self._end()
        return size

    cdef bint _copy(self, uint8_t *target, const uint8_t *data, Py_ssize_t size) noexcept:
        """Copy payload out of a read, without its mask, and tell whether it is ASCII, if it is text."""
        cdef ws_key key = self._key
        if self._client:
            return self._copy_plain(target, data, size)
        self._key = ws_advance_key(key, size)
        return ws_mask(target, data, size, key)

    cdef bint _copy_plain(self, uint8_t *target, const uint8_t *data, Py_ssize_t size) noexcept:
        if self._opcode == TEXT:
            return ws_copy(target, data, size)
        memcpy(target, data, size)
        return False

    # --- data frames ---

    cdef Py_ssize_t _take_data(
        self, const uint8_t *data, Py_ssize_t size, list events, Py_ssize_t *budget
    ) except -1:
        cdef bint last
        cdef bint inflated = self._compressed and not self._discarding
        cdef Py_ssize_t most = INFLATE_INPUT if inflated else budget[0] * BYTES_PER_UNIT
        if inflated and self._zlib is not None:
            return self._take_compressed(data, size, events, budget)
        if size > most:
            size = most
        if <uint64_t>size > self._left:
            size = <Py_ssize_t>self._left
        self._left -= size
        self._in_payload = self._left != 0
        last = self._fin and not self._left
        budget[0] -= 1 + size // (COMPRESSED_BYTES_PER_UNIT if inflated else BYTES_PER_UNIT)
        if self._discarding:
            self._full = False
            if not self._client:
                self._key = ws_advance_key(self._key, size)
            if last:
                self._end_message()
        elif self._compressed:
            self._begin_inflating(data, size, last)
            self._inflate(events, budget)
        elif self._in_chunks and size >= FIRST_BUFFER and self._opcode == BINARY:
            self._take_chunk(data, size, last, events)
        elif last and self._buffer is NULL and not self._in_chunks:
            self._ahead = 0 if size < DIRECT else min(size, AHEAD)
            self._deliver(events, self._message(data, size))
            self._end_message()
        else:
            self._append(data, size, last)
            if last:
                self._complete(events)
        return size

    cdef inline int _deliver(self, list events, object message) except -1:
        events.append(message)
        self._message_bytes += ws_memory_of(message)
        return 0

    cdef object _message(self, const uint8_t *data, Py_ssize_t size):
        """Make a message of a whole payload."""
        if self._opcode == TEXT:
            return _decode(data, size) if self._client else _masked_text(data, size, self._key)
        return data[:size] if self._client else _masked_bytes(data, size, self._key)

    cdef int _append(self, const uint8_t *data, Py_ssize_t size, bint last) except -1:
        """Add payload to the message in progress; the last of it is not checked, because it will be decoded at once."""
        cdef uint8_t *target
        if size:
            target = self._reserve(size, last)
            self._added(target, size, self._copy(target, data, size), not last)
        return 0

    cdef int _append_inflated(self, const uint8_t *data, Py_ssize_t size, bint last) except -1:
        cdef uint8_t *target
        if size:
            target = self._reserve(size, last)
            self._added(target, size, self._copy_plain(target, data, size), True)
        return 0

    cdef bint _take_room(self) except -1:
        """Take back the room, if there is one; false if somebody holds a part of it, who could write into a message."""
        if self._room is not None:
            try:
                self._room.release()
            except BufferError:
                return False
            if self._buffer is not NULL and Py_REFCNT(self._buffer) > 1:
                return False
            self._room = None
        return True

    cdef int _fill(self, Py_ssize_t size, list events, Py_ssize_t *budget) except -1:
        """Take note of payload that was put where it shall stay."""
        cdef uint8_t *data
        cdef bint ascii = False, last
        if not size:
            return 0
        self._left -= size
        self._in_payload = self._left != 0
        last = self._fin and not self._left
        if self._buffer is NULL:  # nobody wants it any more
            self._key = ws_advance_key(self._key, size)
            if last:
                self._end_message()
            return 0
        budget[0] -= 1 + size // BYTES_PER_UNIT
        data = ws_buffer_data(self._buffer) + self._size
        if not self._client:
            ascii = ws_unmask(data, size, self._key)
            self._key = ws_advance_key(self._key, size)
        elif self._opcode == TEXT:
            ascii = ws_is_ascii(data, size)
        self._added(data, size, ascii, not last)
        if last:
            self._complete(events)
        return 0

    cdef int _added(self, const uint8_t *data, Py_ssize_t size, bint ascii, bint check) except -1:
        """Text fails at its first bad byte (RFC 6455 8.1), and not only when the message is complete."""
        cdef int verdict
        self._size += size
        if self._opcode != TEXT or (ascii and not self._utf8.needed) or self._in_chunks:
            return 0
        self._beyond_ascii = True
        if check:
            verdict = ws_utf8_check(&self._utf8, data, size)
            if verdict != WS_UTF8_OK:
                raise _not_utf8("invalid start byte" if verdict == WS_UTF8_BAD_START else "invalid continuation byte")
        return 0

    cdef uint8_t *_reserve(self, Py_ssize_t more, bint last) except NULL:
        """Return where more bytes go that have arrived: for what was only announced, nothing is ever allocated."""
        cdef Py_ssize_t needed, wanted
        if self._buffer is not NULL and more <= ws_buffer_size(self._buffer) - self._size:
            return ws_buffer_data(self._buffer) + self._size
        if more > PY_SSIZE_T_MAX // 4 - self._size:
            raise MemoryError
        self._grow(self._size + more, last)
        return ws_buffer_data(self._buffer) + self._size

    cdef int _grow(self, Py_ssize_t needed, bint last) except -1:
        """See to it that there is room for what has arrived, and, unless that is the last of it, for what follows.

        For what was only announced nothing is allocated, but as much again as has arrived, or as the message before had.
        """
        cdef Py_ssize_t wanted = needed
        if not last:
            wanted = max(2 * needed, FIRST_BUFFER)
            if not self._compressed and <uint64_t>wanted < needed + min(<uint64_t>self._ahead, self._left):
                wanted = needed + <Py_ssize_t>min(<uint64_t>self._ahead, self._left)
        if self._fin and not self._compressed and <uint64_t>wanted > self._announced:
            wanted = <Py_ssize_t>self._announced  # all of it has been announced
        elif 0 <= self._max_size < wanted:
            wanted = self._max_size
        if wanted < needed:
            wanted = needed
        if self._buffer is NULL:
            self._buffer = ws_new_buffer(wanted, self._opcode == TEXT)
        elif wanted > ws_buffer_size(self._buffer):
            ws_resize_buffer(&self._buffer, wanted)
        return 0

    cdef int _complete(self, list events) except -1:
        """Deliver what was put together."""
        self._ahead = 0 if self._size < DIRECT or self._in_chunks or self._compressed else min(self._size, AHEAD)
        if self._in_chunks:
            self._cut(events, True)
        elif self._buffer is NULL:
            self._deliver(events, "" if self._opcode == TEXT else b"")
        elif self._opcode == TEXT and (self._beyond_ascii or PyBytes_CheckExact(<object>self._buffer)):
            self._deliver(events, _decode(ws_buffer_data(self._buffer), self._size))
        else:
            ws_resize_buffer(&self._buffer, self._size)
            self._deliver(events, <object>self._buffer)
        self._forget_message_data()
        self._end_message()
        return 0

    cdef int _take_chunk(self, const uint8_t *data, Py_ssize_t size, bint last, list events) except -1:
        """Deliver payload that is large enough to be a chunk by itself: without a buffer that grows."""
        if self._size:
            self._cut(events, False)
        chunk = self._message(data, size)
        if not self._client:
            self._key = ws_advance_key(self._key, size)
        events.append(Chunk(chunk, last))
        self._message_bytes += ws_memory_of(chunk)
        if last:
            self._end_message()
        return 0

    cdef int _cut(self, list events, bint last) except -1:
        """Deliver what has come together of a message that is read in chunks."""
        data = b""
        if self._buffer is not NULL:
            if self._opcode == TEXT:
                data = ws_buffer_data(self._buffer)[: self._size]
            else:
                ws_resize_buffer(&self._buffer, self._size)
                data = <object>self._buffer
        Py_XDECREF(self._buffer)
        self._buffer = NULL
        self._size = 0
        if self._opcode == TEXT:
            if self._decoder is None:
                self._decoder = getincrementaldecoder("utf-8")()
            data = self._decoder.decode(data, last)  # receive_data() catches what it raises
        if data or last:
            events.append(Chunk(data, last))
            self._message_bytes += ws_memory_of(data)
        return 0

    cdef void _end_message(self) noexcept:
        self._opcode = 0
        self._compressed = False
        self._announced = 0
        self._fragments = 0
        self._empty_fragments = 0

    # --- compressed messages ---

    cdef Py_ssize_t _take_compressed(
        self, const uint8_t *data, Py_ssize_t size, list events, Py_ssize_t *budget
    ) except -1:
        """Make a step of inflating payload by zlib's C interface, and return how much of the data it took.

        What comes out is copied once, which takes a hundredth of the time, so that the message's buffer need not be larger
        than the message. What is left is told by the frame (``_left``), and by ``_full`` when it is inside of zlib.
        """
        cdef uint8_t unmasked[WS_READ_AT_ONCE]
        cdef uint8_t out[WS_INFLATED_AT_ONCE]
        cdef ws_inflating step
        cdef bint last
        if size > <Py_ssize_t>WS_READ_AT_ONCE:
            size = WS_READ_AT_ONCE
        if <uint64_t>size > self._left:
            size = <Py_ssize_t>self._left
        step.data, step.size, step.out, step.made = data, size, out, 0
        if not self._client:
            ws_mask(unmasked, data, size, self._key)
            step.data = unmasked
        try:
            if size or self._full:
                _inflater.step(self._zlib, &step)
                self._full = step.full
            size -= step.size
            if not self._client:
                self._key = ws_advance_key(self._key, size)
            self._left -= size
            last = self._fin and not self._left and not self._full
            budget[0] -= 1 + INFLATE_STEP_IN_C
            budget[0] -= max((size + step.made) // INFLATED_BYTES_PER_UNIT, size // COMPRESSED_BYTES_PER_UNIT)
            self._append_inflated(out, step.made, last)
            if last:
                _inflater.finish(self._zlib)
        except InflatedTooLarge:
            raise self._too_large() from None
        except InflateError as exc:
            raise Violation(1007, str(exc)) from exc
        if last:
            self._complete(events)
        if not self._left and not self._full:
            self._in_payload = False
        return size

    cdef int _begin_inflating(self, const uint8_t *data, Py_ssize_t size, bint last) except -1:
        cdef bytes payload = PyBytes_FromStringAndSize(NULL, size)
        if size:
            self._copy(<uint8_t *>PyBytes_AS_STRING(payload), data, size)
        self._inflating = iter(self._deflate.inflate(payload, last=last))
        self._inflating_last = last
        return 0

    cdef void _stop_inflating(self) noexcept:
        """Do without the rest of a piece of compressed payload; the message ends where it would have ended."""
        if self._full:
            self._full = False
            if not self._left:
                self._in_payload = False
                if self._fin:
                    self._end_message()
        if self._inflating is not None:
            self._inflating = None
            if self._inflating_last:
                self._end_message()

    cdef int _inflate(self, list events, Py_ssize_t *budget) except -1:
        """Go on with a piece of compressed payload until it or the budget is used up."""
        cdef bytes piece
        try:
            while not self._discarding:
                if budget[0] <= 0:
                    return 0
                piece = next(self._inflating, None)
                if self._discarding:  # decided meanwhile
                    break
                if piece is None:
                    self._inflating = None
                    if self._inflating_last:
                        self._complete(events)
                    return 0
                budget[0] -= INFLATE_STEP + len(piece) // INFLATED_BYTES_PER_UNIT
                self._append_inflated(<const uint8_t *>PyBytes_AS_STRING(piece), PyBytes_GET_SIZE(piece), False)
        except InflatedTooLarge:
            raise self._too_large() from None
        except InflateError as exc:
            raise Violation(1007, str(exc)) from exc
        self._stop_inflating()
        self._forget_message_data()
        return 0

    # --- the end ---

    cdef int _fail(self, violation, list events) except -1:
        self._end()
        self._only_messages = False
        events.append(Failure(violation.code, violation.message))
        return 0

    cdef void _end(self) noexcept:
        """Let go of everything: nothing more is received."""
        self._ended = True
        self._room = None
        self._rest = None
        self._queue = None
        self._forget_message_data()
        self._drop_buffers()
        self._in_payload = False
        self._head_size = 0
        self._end_message()

    cdef void _forget_message_data(self) noexcept:
        self._inflating = None
        self._full = False
        self._utf8.needed = 0
        self._beyond_ascii = False
        self._size = 0
        Py_XDECREF(self._buffer)
        self._buffer = NULL

    cdef void _drop_buffers(self) noexcept:
        Py_XDECREF(self._buffer)
        self._buffer = NULL
        Py_XDECREF(self._control)
        self._control = NULL

    # --- sending ---

    def send_message(self, message):
        """Encode one message or part into one piece."""
        cdef Frame frame
        cdef bytes wire
        payload = self._prepare(message, &frame)
        frame.large = False
        if frame.size > PY_SSIZE_T_MAX - WS_MAX_HEADER:
            raise MemoryError
        wire = PyBytes_FromStringAndSize(NULL, ws_header_size(frame.size, self._client) + frame.size)
        self._put_frame(<uint8_t *>PyBytes_AS_STRING(wire), &frame)
        return wire

    def send_messages(self, messages):
        """Encode messages or parts of one, a frame each, into one buffer; large ones of a server stand in the list as they are."""
        cdef tuple items = tuple(messages)  # nobody can change it, whatever happens while something is compressed
        cdef Py_ssize_t count = len(items)
        cdef list made = [], buffers = []  # the former: payloads that nobody else keeps
        cdef Frame *frames
        cdef Py_ssize_t i
        if not count:
            return buffers
        frames = <Frame *>PyMem_Malloc(count * sizeof(Frame))
        if frames is NULL:
            raise MemoryError
        try:
            for i in range(count):
                payload = self._prepare(items[i], &frames[i])
                if payload is not items[i]:
                    made.append(payload)
            i = 0
            while i < count:
                i = self._encode_some(frames, i, count, buffers)
        finally:
            PyMem_Free(frames)
        return buffers

    cdef object _prepare(self, message, Frame *frame):
        """Describe the frame of a message, and return the object that has its payload."""
        cdef bint compress = True
        cdef bint whole = True
        if isinstance(message, str):
            frame.first = 0x80 | TEXT
            if self._deflate is None and PyUnicode_IS_COMPACT_ASCII(message):
                frame.owner = <PyObject *>message
                frame.payload = <const uint8_t *>PyUnicode_DATA(message)
                frame.size = PyUnicode_GET_LENGTH(message)
                frame.large = not self._client and frame.size >= LARGE
                if not frame.large:
                    return message
            payload = (<str>message).encode()
        elif isinstance(message, bytes):
            frame.first = 0x80 | BINARY
            payload = message
        else:
            # RFC 6455 5.4: the first frame has the opcode, the last one the FIN bit.
            frame.first = (0x80 if message.ends else 0) | ((TEXT if message.text else BINARY) if message.begins else 0)
            payload = message.payload
            compress = message.compress
            whole = message.begins and message.ends
        if self._deflate is None or not compress:
            pass
        elif not whole:
            frame.first |= 0x40 if message.begins else 0  # RFC 7692 6.1
            payload = self._deflate.compress_part(payload, last=message.ends)
        elif len(payload) >= self._deflate.threshold:
            compressed = self._deflate.compress(payload)
            if compressed is not None:
                frame.first |= 0x40
                payload = compressed
        if not isinstance(payload, bytes):
            payload = bytes(payload)
        frame.owner = <PyObject *>payload
        frame.payload = <const uint8_t *>PyBytes_AS_STRING(payload)
        frame.size = PyBytes_GET_SIZE(payload)
        frame.large = not self._client and frame.size >= LARGE
        return payload

    cdef Py_ssize_t _encode_some(
        self, Frame *frames, Py_ssize_t start, Py_ssize_t count, list buffers
    ) except -1:
        """Add the buffers up to and including the next large payload, and return where to go on."""
        cdef Py_ssize_t total = 0
        cdef Py_ssize_t end = start
        cdef Py_ssize_t i
        cdef bytes shared
        cdef uint8_t *p
        cdef bint large = False
        while end < count and not large:
            large = frames[end].large
            if frames[end].size > PY_SSIZE_T_MAX - WS_MAX_HEADER - total:
                raise MemoryError
            total += ws_header_size(frames[end].size, self._client) + (0 if large else frames[end].size)
            end += 1
        shared = PyBytes_FromStringAndSize(NULL, total)
        p = <uint8_t *>PyBytes_AS_STRING(shared)
        for i in range(start, end):
            p = self._put_frame(p, &frames[i])
        buffers.append(shared)
        if large:
            buffers.append(<object>frames[end - 1].owner)
        return end

    cdef uint8_t *_put_frame(self, uint8_t *p, const Frame *frame) except NULL:
        """Write a frame, of a large one the header only, and return what follows it."""
        cdef ws_key key
        p = ws_put_header(p, frame.first, frame.size, self._client)
        if frame.large:
            return p
        if self._client:
            key = _new_key()
            memcpy(p, &key, 4)
            p += 4
            ws_mask(p, frame.payload, frame.size, key)
        else:
            memcpy(p, frame.payload, frame.size)
        return p + frame.size

    @property
    def portion(self):
        """How many bytes of payload are encoded in about a millisecond or two."""
        if self._deflate is not None:
            return self._deflate.portion
        return MASKED_AT_ONCE if self._client else PY_SSIZE_T_MAX

    def send_in_portions(self, message):
        """Encode a message step by step, and yield empty lists until its frame is there."""
        cdef ws_key key = _new_key() if self._client else 0
        cdef Py_ssize_t size = 0, start, step
        cdef bint is_shorter = False
        cdef bytes piece, payload
        cdef list pieces = []
        message = Outgoing.of(message)
        payload = message.payload
        if self._deflate is not None and message.compress and len(payload) >= self._deflate.threshold:
            for piece in self._deflate.compress_in_portions(payload):
                pieces.append(_masked_part(piece, 0, len(piece), ws_advance_key(key, size)))
                size += len(piece)
                yield []
            is_shorter = size < len(payload)
        if not is_shorter:
            pieces.clear()
            size = len(payload)
            step = MASKED_AT_ONCE if self._client else max(1, size)
            for start in range(0, size, step):
                pieces.append(_masked_part(payload, start, min(step, size - start), ws_advance_key(key, start)))
                yield []
        header = _header((0xC0 if is_shorter else 0x80) | (TEXT if message.text else BINARY), size, self._client, key)
        yield [header, *filter(None, pieces)]

    def send_ping(self, payload):
        """Encode a Ping frame.

        :raises ValueError: the payload is longer than 125 bytes
        """
        return self._control_frame(PING, bytes(payload))

    def send_pong(self, payload):
        """Encode a Pong frame.

        :raises ValueError: the payload is longer than 125 bytes
        """
        return self._control_frame(PONG, bytes(payload))

    def send_close(self, code=None, str reason not None=""):
        """Encode a Close frame; without a code its body is empty, reason or not.

        :raises ValueError: the code is not one for the wire
        """
        if code is None:
            return self._control_frame(CLOSE, b"")
        if not is_valid_on_the_wire(code):
            raise ValueError(f"close code {code} is not for the wire (RFC 6455 7.4)")
        return self._control_frame(CLOSE, int(code).to_bytes(2, "big") + truncate_reason(reason).encode())

    cdef bytes _control_frame(self, uint8_t opcode, bytes payload):
        cdef Frame frame
        cdef bytes wire
        cdef Py_ssize_t size = len(payload)
        if size > MAX_CONTROL_PAYLOAD:
            raise ValueError(f"a control frame carries at most 125 bytes, not {size} (RFC 6455 5.5)")
        frame.payload = <const uint8_t *>PyBytes_AS_STRING(payload)
        frame.size = size
        frame.first = 0x80 | opcode
        frame.large = False
        wire = PyBytes_FromStringAndSize(NULL, ws_header_size(size, self._client) + size)
        self._put_frame(<uint8_t *>PyBytes_AS_STRING(wire), &frame)
        return wire


cdef int _check_length(uint64_t length, Py_ssize_t width) except -1:
    """RFC 6455 5.2: the shortest form there is, and no sign bit."""
    if width == 2 and length < 126:
        raise Violation(1002, "Payload length used 2 bytes when 1 would have sufficed (RFC 6455 5.2)")
    if width == 8 and length < 65536:
        raise Violation(1002, "Payload length used 8 bytes when 2 would have sufficed (RFC 6455 5.2)")
    if length >> 63:
        raise Violation(1002, "8-byte payload length with non-zero MSB (RFC 6455 5.2)")
    return 0
