/* The system calls of _sockets.pyx, by which nothing ever waits, and no signal comes of a peer that is gone. */

#include <sys/types.h>
#include <sys/socket.h>

#ifndef MSG_NOSIGNAL
#define MSG_NOSIGNAL 0 /* macOS: Python ignores SIGPIPE */
#endif

static inline ssize_t ws_send(int descriptor, const void *data, size_t size) {
    return send(descriptor, data, size, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static inline ssize_t ws_receive(int descriptor, void *room, size_t size) {
    return recv(descriptor, room, size, MSG_DONTWAIT);
}
