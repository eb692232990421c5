/* What the compiled codec calls of _zlib. */

#ifndef WEBSOCKETSTREAM_ZLIB_H
#define WEBSOCKETSTREAM_ZLIB_H

#include <Python.h>
#include <stdint.h>

/* What one step of inflating is given, and what it leaves. */
typedef struct {
    const uint8_t *data; /* moves on over what was read ... */
    Py_ssize_t size;     /* ... and this gets less */
    uint8_t *out;        /* room for WS_INFLATED_AT_ONCE bytes ... */
    Py_ssize_t made;     /* ... of which so many were used */
    int full;            /* there may be more inside of zlib, without any data */
} ws_inflating;

enum {
    /* deflate.py has the same steps, for reasons of its own. Here they bound what happens between two looks at the
     * limits and at the budget, and both lie on the stack. */
    WS_INFLATED_AT_ONCE = 16 * 1024,
    WS_READ_AT_ONCE = 8 * 1024
};

/* They return -1 with an exception. */
typedef struct {
    int (*begin)(PyObject *inflater, Py_ssize_t limit);
    int (*step)(PyObject *inflater, ws_inflating *step);
    int (*finish)(PyObject *inflater);
} ws_inflater_calls;

/* The number is that of what stands above, and grows when it changes: a module of another build may lie beside ours, for
 * each of the two is left out, or left as it was, when it cannot be built. */
#define WS_INFLATER_CALLS "websocketstream._protocol._zlib.CALLS 1"

#endif
