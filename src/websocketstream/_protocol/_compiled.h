/* The inner loops of the compiled engine, in plain C: words are loaded with memcpy, so they are right on every
 * architecture and alignment, and compilers make vector instructions of them. No loop reads or writes outside of
 * [p, p + n). */

#ifndef WEBSOCKETSTREAM_COMPILED_H
#define WEBSOCKETSTREAM_COMPILED_H

#include <Python.h>
#include <stdint.h>
#include <string.h>

#if defined(_MSC_VER)
#define WS_RESTRICT __restrict
#else
#define WS_RESTRICT restrict
#endif

#define WS_HIGH_BITS UINT64_C(0x8080808080808080)

/* A masking key (RFC 6455 5.3) as its four bytes lie in memory. */
typedef uint32_t ws_key;

static inline ws_key ws_load_key(const uint8_t *p) {
    ws_key key;
    memcpy(&key, p, 4);
    return key;
}

/* The key for what comes after n bytes. */
static inline ws_key ws_advance_key(ws_key key, size_t n) {
    uint8_t twice[8];
    memcpy(twice, &key, 4);
    memcpy(twice + 4, &key, 4);
    return ws_load_key(twice + (n & 3));
}

/* What is worth the call of a function that was compiled for several kinds of processors, where there is such a thing. */
#define WS_MUCH 1024
#if defined(__x86_64__) && defined(__GLIBC__) && defined(__GNUC__) && !defined(__clang__)
#define WS_FOR_EACH_PROCESSOR __attribute__((target_clones("avx2", "default")))
#else
#define WS_FOR_EACH_PROCESSOR
#endif

/* dst and src do not overlap, or are the same. */
static inline int ws_mask_words(uint8_t *dst, const uint8_t *src, size_t n, ws_key key) {
    const uint64_t wide = (uint64_t)key << 32 | key;
    const size_t words = n / 8;
    uint64_t seen = 0;
    uint8_t key_bytes[4], tail = 0;
    size_t i;

    for (i = 0; i < words; i++) {
        uint64_t word;
        memcpy(&word, src + 8 * i, 8);
        word ^= wide;
        seen |= word;
        memcpy(dst + 8 * i, &word, 8);
    }
    memcpy(key_bytes, &key, 4);
    for (i = 8 * words; i < n; i++) {
        dst[i] = src[i] ^ key_bytes[i & 3];
        tail |= dst[i];
    }
    return !(seen & WS_HIGH_BITS) && !(tail & 0x80);
}

WS_FOR_EACH_PROCESSOR
static int ws_mask_much(uint8_t *WS_RESTRICT dst, const uint8_t *WS_RESTRICT src, size_t n, ws_key key) {
    return ws_mask_words(dst, src, n, key);
}

/* Mask or unmask; dst and src do not overlap. Returns whether all of dst is ASCII. */
static inline int ws_mask(uint8_t *WS_RESTRICT dst, const uint8_t *WS_RESTRICT src, size_t n, ws_key key) {
    return n < WS_MUCH ? ws_mask_words(dst, src, n, key) : ws_mask_much(dst, src, n, key);
}

/* Whether eight bytes are there and all of them ASCII. */
static inline int ws_starts_with_ascii(const uint8_t *p, size_t n) {
    uint64_t word;
    if (n < 8)
        return 0;
    memcpy(&word, p, 8);
    return !(word & WS_HIGH_BITS);
}

/* Copy; dst and src do not overlap. Returns whether it is all ASCII. */
static int ws_copy(uint8_t *WS_RESTRICT dst, const uint8_t *WS_RESTRICT src, size_t n) {
    return ws_mask(dst, src, n, 0);
}

/* Unmask what lies where it shall stay. Returns whether it is all ASCII then. */
WS_FOR_EACH_PROCESSOR
static int ws_unmask(uint8_t *p, size_t n, ws_key key) {
    return ws_mask_words(p, p, n, key);
}

WS_FOR_EACH_PROCESSOR
static int ws_is_ascii(const uint8_t *p, size_t n) {
    const size_t words = n / 8;
    uint64_t seen = 0;
    size_t i;

    for (i = 0; i < words; i++) {
        uint64_t word;
        memcpy(&word, p + 8 * i, 8);
        seen |= word;
    }
    for (i = 8 * words; i < n; i++)
        seen |= p[i];
    return !(seen & WS_HIGH_BITS);
}

/* --- incremental UTF-8 (RFC 3629; the Unicode Standard, table 3-7) --- */

/* What the next byte has to be: the number of continuation bytes to come, and the bounds of the first of them. */
typedef struct {
    uint8_t needed, low, high;
} ws_utf8;

enum { WS_UTF8_OK, WS_UTF8_BAD_START, WS_UTF8_BAD_CONTINUATION };

#define WS_CONTINUES(byte) (((byte) & 0xC0) == 0x80)

/* The length of the character at p, of which four bytes can be read; 0 when it is better looked at byte by byte. */
static inline size_t ws_utf8_length(const uint8_t *p) {
    if (p[0] < 0x80)
        return 1;
    if (!WS_CONTINUES(p[1]))
        return 0;
    if (p[0] >= 0xC2 && p[0] < 0xE0)
        return 2;
    if (!WS_CONTINUES(p[2]))
        return 0;
    if (p[0] > 0xE0 && p[0] < 0xF0 && p[0] != 0xED)
        return 3;
    if (p[0] > 0xF0 && p[0] < 0xF4 && WS_CONTINUES(p[3]))
        return 4;
    if (p[0] == 0xF0 && p[1] >= 0x90 && WS_CONTINUES(p[3]))
        return 4; /* most emoji */
    return 0;
}

static int ws_utf8_check(ws_utf8 *state, const uint8_t *p, size_t n) {
    size_t i = 0;
    uint8_t needed = state->needed, low = state->low, high = state->high;

    for (;;) {
        for (; needed; needed--, i++) {
            if (i == n) {
                state->needed = needed, state->low = low, state->high = high;
                return WS_UTF8_OK;
            }
            if (p[i] < low || p[i] > high)
                return WS_UTF8_BAD_CONTINUATION;
            low = 0x80, high = 0xBF;
        }
        while (n - i >= 4) {
            const size_t length = ws_utf8_length(p + i);
            if (!length)
                break;
            i += length;
            if (length == 1)
                i += 8 * ws_starts_with_ascii(p + i, n - i);
        }
        while (i < n && p[i] < 0x80)
            i++;
        if (i == n) {
            state->needed = 0;
            return WS_UTF8_OK;
        }
        low = 0x80, high = 0xBF;
        if (p[i] < 0xC2)
            return WS_UTF8_BAD_START;
        if (p[i] < 0xE0) {
            needed = 1;
        } else if (p[i] < 0xF0) {
            needed = 2;
            if (p[i] == 0xE0)
                low = 0xA0; /* not shorter than it could be */
            else if (p[i] == 0xED)
                high = 0x9F; /* no surrogates */
        } else if (p[i] < 0xF5) {
            needed = 3;
            if (p[i] == 0xF0)
                low = 0x90;
            else if (p[i] == 0xF4)
                high = 0x8F; /* nothing above U+10FFFF */
        } else {
            return WS_UTF8_BAD_START;
        }
        i++;
    }
}

/* --- messages in the making --- */

/* A buffer is a bytes object, or for text a str that takes ASCII only; nobody else has seen it. When text turns out not
 * to be ASCII, the str goes on as a mere piece of memory, and is decoded from in the end. A debug build of CPython looks
 * into every str that is resized, so there it is always bytes. */

static inline PyObject *ws_new_buffer(Py_ssize_t size, int text) {
#ifndef Py_DEBUG
    if (text)
        return PyUnicode_New(size, 127);
#endif
    return PyBytes_FromStringAndSize(NULL, size);
}

static inline uint8_t *ws_buffer_data(PyObject *buffer) {
    return PyBytes_Check(buffer) ? (uint8_t *)PyBytes_AS_STRING(buffer) : (uint8_t *)PyUnicode_DATA(buffer);
}

static inline Py_ssize_t ws_buffer_size(PyObject *buffer) {
    return PyBytes_Check(buffer) ? PyBytes_GET_SIZE(buffer) : PyUnicode_GET_LENGTH(buffer);
}

/* On failure the buffer may be gone, and is NULL then. */
static inline int ws_resize_buffer(PyObject **buffer, Py_ssize_t size) {
    return PyBytes_Check(*buffer) ? _PyBytes_Resize(buffer, size) : PyUnicode_Resize(buffer, size);
}

/* What sys.getsizeof() says of a str or bytes object made here, 0 for anything else. */
static inline Py_ssize_t ws_memory_of(PyObject *message) {
    if (PyBytes_CheckExact(message))
        return PyBytes_Type.tp_basicsize + PyBytes_GET_SIZE(message);
    if (!PyUnicode_CheckExact(message))
        return 0;
    return (PyUnicode_IS_COMPACT_ASCII(message) ? sizeof(PyASCIIObject) : sizeof(PyCompactUnicodeObject))
        + (PyUnicode_GET_LENGTH(message) + 1) * PyUnicode_KIND(message);
}

/* --- headers (RFC 6455 5.2) --- */

#define WS_MAX_HEADER 14

/* The length of the header of a frame that carries n bytes. */
static inline Py_ssize_t ws_header_size(Py_ssize_t n, int masked) {
    return (n < 126 ? 2 : n < 65536 ? 4 : 10) + (masked ? 4 : 0);
}

/* Write a header without its key, and return what follows it. */
static inline uint8_t *ws_put_header(uint8_t *p, uint8_t first, Py_ssize_t n, int masked) {
    const uint8_t mask_bit = masked ? 0x80 : 0;
    int shift;
    *p++ = first;
    if (n < 126) {
        *p++ = mask_bit | (uint8_t)n;
        return p;
    }
    *p++ = mask_bit | (n < 65536 ? 126 : 127);
    for (shift = n < 65536 ? 8 : 56; shift >= 0; shift -= 8)
        *p++ = (uint8_t)((uint64_t)n >> shift);
    return p;
}

static inline uint64_t ws_read_length(const uint8_t *p, int bytes) {
    uint64_t length = 0;
    while (bytes--)
        length = length << 8 | *p++;
    return length;
}

#endif
