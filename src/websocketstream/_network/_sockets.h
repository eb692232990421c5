/* The system calls of _sockets.pyx, by which nothing ever waits, and no signal comes of a peer that is gone. */

#include <sys/types.h>
#include <sys/socket.h>
#include <sys/uio.h>

#ifndef MSG_NOSIGNAL
#define MSG_NOSIGNAL 0 /* macOS: Python ignores SIGPIPE */
#endif

#ifdef __linux__
static inline int ws_accept(int descriptor) {
    return accept4(descriptor, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
}
#else
#include <errno.h>
static inline int ws_accept(int descriptor) { /* nobody asks for it */
    errno = ENOSYS;
    return -1;
}
#endif

static inline ssize_t ws_send(int descriptor, const void *data, size_t size) {
    return send(descriptor, data, size, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static inline ssize_t ws_receive_both(int descriptor, void *room, size_t size, void *behind, size_t more) {
    struct iovec parts[2] = {{room, size}, {behind, more}};
    struct msghdr message = {0};
    message.msg_iov = parts;
    message.msg_iovlen = more ? 2 : 1;
    return recvmsg(descriptor, &message, MSG_DONTWAIT);
}

static inline ssize_t ws_receive(int descriptor, void *room, size_t size) {
    return recv(descriptor, room, size, MSG_DONTWAIT);
}
