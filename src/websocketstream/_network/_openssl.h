/* OpenSSL's own functions, those of the library that Python's ssl module has loaded, and bytes in memory for its network.
 *
 * All of them are documented, and as they are since OpenSSL 1.1.0; its headers are not needed. SSL_new() tells of each
 * SSL object that it makes: there is no other way to one that Python has made.
 */

#ifndef WEBSOCKETSTREAM_OPENSSL_H
#define WEBSOCKETSTREAM_OPENSSL_H

#include <dlfcn.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

typedef struct ws_ssl ws_ssl; /* SSL */
typedef struct ws_bio ws_bio; /* BIO */
typedef struct ws_bio_method ws_bio_method;

/* What SSL_get_error() says. */
enum { WS_NO_ERROR = 0, WS_WANT_READ = 2, WS_SYSTEM_CALL = 5, WS_ZERO_RETURN = 6 };

typedef struct {
    ws_ssl *ssl;      /* of Python's object */
    ws_bio *bio;      /* of OpenSSL's */
    const char *data; /* what has arrived and was not read yet */
    size_t size;
    char *room; /* where records go to ... */
    size_t free;
    char *kept; /* ... and those for which there is no room, and none before was */
    size_t kept_size, kept_room;
} ws_tls;

typedef void ws_on_change(void *parent, void *item, void *data, int index, long number, void *argument);

static struct {
    int (*new_index)(int kind, long number, void *argument, ws_on_change *made, void *copied, ws_on_change *freed);
    void *(*get_ex_data)(const ws_ssl *ssl, int index);
    void (*set_bio)(ws_ssl *ssl, ws_bio *in, ws_bio *out);
    int (*read)(ws_ssl *ssl, void *room, int size);
    int (*write)(ws_ssl *ssl, const void *data, int size);
    int (*get_error)(const ws_ssl *ssl, int result);
    int (*new_type)(void);
    ws_bio_method *(*new_method)(int type, const char *name);
    int (*set_read)(ws_bio_method *method, int (*read)(ws_bio *bio, char *room, int size));
    int (*set_write)(ws_bio_method *method, int (*write)(ws_bio *bio, const char *data, int size));
    int (*set_ctrl)(ws_bio_method *method, long (*ctrl)(ws_bio *bio, int command, long number, void *argument));
    ws_bio *(*new_bio)(const ws_bio_method *method);
    void *(*get_data)(ws_bio *bio);
    void (*set_data)(ws_bio *bio, void *data);
    void (*set_init)(ws_bio *bio, int is_ready);
    void (*set_flags)(ws_bio *bio, int flags);
    void (*clear_flags)(ws_bio *bio, int flags);
} ws_api;

static ws_bio_method *ws_method;
static __thread ws_ssl *ws_newest;

static void ws_made(void *parent, void *item, void *data, int index, long number, void *argument) {
    (void)item, (void)data, (void)index, (void)number, (void)argument;
    ws_newest = parent;
}

static void ws_freed(void *parent, void *item, void *data, int index, long number, void *argument) {
    (void)item, (void)data, (void)index, (void)number, (void)argument;
    if (ws_newest == parent)
        ws_newest = NULL;
}

/* --- what OpenSSL takes for the network */

static int ws_keep(ws_tls *tls, const char *data, size_t size) {
    size_t needed = tls->kept_size + size;
    if (needed > tls->kept_room) {
        char *kept = realloc(tls->kept, needed + needed / 2);
        if (!kept)
            return 0;
        tls->kept = kept;
        tls->kept_room = needed + needed / 2;
    }
    memcpy(tls->kept + tls->kept_size, data, size);
    tls->kept_size = needed;
    return 1;
}

static void ws_drop_kept(ws_tls *tls) {
    free(tls->kept);
    tls->kept = NULL;
    tls->kept_size = tls->kept_room = 0;
}

enum { WS_READ = 0x01, WS_RETRY = 0x08, WS_ALL_RETRIES = 0x0f };

static int ws_bio_read(ws_bio *bio, char *room, int size) {
    ws_tls *tls = ws_api.get_data(bio);
    ws_api.clear_flags(bio, WS_ALL_RETRIES);
    if (!tls || size <= 0)
        return -1;
    if (!tls->size) {
        ws_api.set_flags(bio, WS_READ | WS_RETRY);
        return -1;
    }
    if ((size_t)size > tls->size)
        size = (int)tls->size;
    memcpy(room, tls->data, (size_t)size);
    tls->data += size;
    tls->size -= (size_t)size;
    return size;
}

static int ws_bio_write(ws_bio *bio, const char *data, int size) {
    ws_tls *tls = ws_api.get_data(bio);
    ws_api.clear_flags(bio, WS_ALL_RETRIES);
    if (!tls || size <= 0)
        return -1;
    if (tls->kept_size || (size_t)size > tls->free)
        return ws_keep(tls, data, (size_t)size) ? size : -1;
    memcpy(tls->room, data, (size_t)size);
    tls->room += size;
    tls->free -= (size_t)size;
    return size;
}

static long ws_bio_ctrl(ws_bio *bio, int command, long number, void *argument) {
    enum { END = 2, PENDING = 10, FLUSH = 11 };
    ws_tls *tls = ws_api.get_data(bio);
    (void)number, (void)argument;
    if (command == END)
        return !tls;
    if (command == PENDING)
        return tls ? (long)tls->size : 0;
    return command == FLUSH;
}

/* --- how to get there */

/* Find the functions in the library of Python's ssl module (no name: it is a part of Python itself), and let SSL_new() tell; false where that cannot be. */
static int ws_load(const char *file) {
    void *library = dlopen(*file ? file : NULL, RTLD_LAZY | RTLD_NOLOAD);
    if (!library)
        return 0;
#define WS_FIND(function, name)                                    \
    if (!(*(void **)&ws_api.function = dlsym(library, name))) \
        return 0;
    WS_FIND(new_index, "CRYPTO_get_ex_new_index")
    WS_FIND(get_ex_data, "SSL_get_ex_data")
    WS_FIND(set_bio, "SSL_set_bio")
    WS_FIND(read, "SSL_read")
    WS_FIND(write, "SSL_write")
    WS_FIND(get_error, "SSL_get_error")
    WS_FIND(new_type, "BIO_get_new_index")
    WS_FIND(new_method, "BIO_meth_new")
    WS_FIND(set_read, "BIO_meth_set_read")
    WS_FIND(set_write, "BIO_meth_set_write")
    WS_FIND(set_ctrl, "BIO_meth_set_ctrl")
    WS_FIND(new_bio, "BIO_new")
    WS_FIND(get_data, "BIO_get_data")
    WS_FIND(set_data, "BIO_set_data")
    WS_FIND(set_init, "BIO_set_init")
    WS_FIND(set_flags, "BIO_set_flags")
    WS_FIND(clear_flags, "BIO_clear_flags")
#undef WS_FIND
    enum { OF_SSL = 0, SOURCE_AND_SINK = 0x0400 }; /* CRYPTO_EX_INDEX_SSL, BIO_TYPE_SOURCE_SINK */
    int type = ws_api.new_type();
    ws_method = type < 0 ? NULL : ws_api.new_method(type | SOURCE_AND_SINK, "websocketstream");
    return ws_method && ws_api.set_read(ws_method, ws_bio_read) && ws_api.set_write(ws_method, ws_bio_write) &&
           ws_api.set_ctrl(ws_method, ws_bio_ctrl) &&
           ws_api.new_index(OF_SSL, 0, NULL, ws_made, NULL, ws_freed) >= 0;
}

static void ws_forget(void) {
    ws_newest = NULL;
}

/* Take over the SSL object that this thread made last, if it is that of Python's object. */
static int ws_begin(ws_tls *tls, const void *object) {
    ws_ssl *ssl = ws_newest;
    ws_forget();
    if (!ssl || ws_api.get_ex_data(ssl, 0) != object)
        return 0;
    ws_bio *bio = ws_api.new_bio(ws_method);
    if (!bio)
        return 0;
    ws_api.set_data(bio, tls);
    ws_api.set_init(bio, 1);
    ws_api.set_bio(ssl, bio, bio);
    tls->ssl = ssl;
    tls->bio = bio;
    return 1;
}

static void ws_end(ws_tls *tls) {
    if (tls->bio)
        ws_api.set_data(tls->bio, NULL);
    ws_drop_kept(tls);
}

/* --- reading and writing */

/* Read plain text as long as there is some, and room; say why there is no more. */
static size_t ws_read(ws_tls *tls, char *room, size_t size, int *verdict) {
    size_t filled = 0;
    *verdict = WS_NO_ERROR;
    while (filled < size) {
        int most = size - filled < INT_MAX ? (int)(size - filled) : INT_MAX;
        int got = ws_api.read(tls->ssl, room + filled, most);
        if (got <= 0) {
            *verdict = ws_api.get_error(tls->ssl, got);
            break;
        }
        filled += (size_t)got;
        if (!tls->size && got < most)
            break; /* it has read to the end of a record, and not beyond */
    }
    return filled;
}

/* Write plain text as long as it is taken; say why it is not. */
static size_t ws_write(ws_tls *tls, const char *data, size_t size, int *verdict) {
    size_t done = 0;
    *verdict = WS_NO_ERROR;
    while (done < size) {
        int most = size - done < INT_MAX ? (int)(size - done) : INT_MAX;
        int taken = ws_api.write(tls->ssl, data + done, most);
        if (taken <= 0) {
            *verdict = ws_api.get_error(tls->ssl, taken);
            break;
        }
        done += (size_t)taken;
    }
    return done;
}

#endif
