/*
 * Daemon of the test guest: a TCP connection opened by the guest
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "guestd.h"

#define CHUNK 8192
/* Without any byte; a failover may take as long as this. */
#define PATIENCE_MS (120 * 1000)

/*
 * Where the kernel chooses the client's port, two instances of the guest
 * choose differently.
 */
#define PORT_FIRST 20000
#define PORTS 10000

static atomic_uint port_count;

static socklen_t make_address(struct sockaddr_storage *ss, const char *text,
                              uint16_t port)
{
    struct sockaddr_in *in = (void *)ss;
    struct sockaddr_in6 *in6 = (void *)ss;

    memset(ss, 0, sizeof(*ss));
    if (inet_pton(AF_INET, text, &in->sin_addr) == 1) {
        ss->ss_family = AF_INET;
        in->sin_port = htons(port);
        return sizeof(*in);
    }
    if (inet_pton(AF_INET6, text, &in6->sin6_addr) == 1) {
        ss->ss_family = AF_INET6;
        in6->sin6_port = htons(port);
        return sizeof(*in6);
    }
    return 0;
}

static int connect_wait(int fd, short events)
{
    struct pollfd pfd = { .fd = fd, .events = events };
    int n = poll(&pfd, 1, PATIENCE_MS);

    if (n == 0) {
        errno = ETIMEDOUT;
    }
    return n > 0 ? pfd.revents : -1;
}

/* Returns a connected non-blocking socket, or -1 with errno. */
static int connect_to(const struct sockaddr_storage *to, socklen_t len)
{
    struct sockaddr_storage from;
    int fd = socket(to->ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC,
                    0);
    int one = 1, err = 0;
    socklen_t err_len = sizeof(err);
    unsigned port = PORT_FIRST + atomic_fetch_add(&port_count, 1) % PORTS;

    if (fd < 0) {
        return -1;
    }
    make_address(&from, to->ss_family == AF_INET ? "0.0.0.0" : "::", port);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    if (bind(fd, (void *)&from, len) == 0 &&
        (connect(fd, (void *)to, len) == 0 || errno == EINPROGRESS) &&
        connect_wait(fd, POLLOUT) > 0 &&
        getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &err_len) == 0) {
        if (!err) {
            return fd;
        }
        errno = err;
    }
    err = errno;
    close(fd);
    errno = err;
    return -1;
}

/* Some of bytes @at.. @end.  Returns their number, 0 for none, -1 and errno. */
static ssize_t send_some(int fd, uint64_t at, uint64_t end)
{
    uint8_t bytes[CHUNK];
    size_t len = end - at < CHUNK ? end - at : CHUNK;
    ssize_t n;

    guest_fill(bytes, len, GUEST_CONNECT_SEED, at);
    n = send(fd, bytes, len, MSG_NOSIGNAL);
    return n < 0 && errno == EAGAIN ? 0 : n;
}

/* As send_some(); compares them. */
static ssize_t receive_some(int fd, uint64_t at, uint64_t end)
{
    uint8_t bytes[CHUNK], wanted[CHUNK];
    size_t len = end - at < CHUNK ? end - at : CHUNK;
    ssize_t n = recv(fd, bytes, len, 0);

    if (n < 0 && errno == EAGAIN) {
        return 0;
    }
    if (n == 0) {
        errno = ECONNRESET;
        return -1;
    }
    if (n > 0) {
        guest_fill(wanted, n, GUEST_CONNECT_SEED, at);
        if (memcmp(bytes, wanted, n)) {
            errno = EBADMSG;
            return -1;
        }
    }
    return n;
}

static bool exchange(int fd, uint64_t size)
{
    uint64_t sent = 0, received = 0;

    while (received < size) {
        int events = connect_wait(fd, POLLIN | (sent < size ? POLLOUT : 0));
        ssize_t n = 0;

        if (events < 0) {
            return false;
        }
        if ((events & POLLOUT) && sent < size) {
            n = send_some(fd, sent, size);
            if (n < 0) {
                return false;
            }
            sent += n;
        }
        if (events & (POLLIN | POLLERR | POLLHUP)) {
            n = receive_some(fd, received, sent);
            if (n < 0) {
                return false;
            }
            received += n;
        }
    }
    return true;
}

void connect_run(Job *job)
{
    struct sockaddr_storage to;
    socklen_t len = make_address(&to, job->text, job->arg[0]);
    int fd;

    if (!len) {
        job_answer(job, "error not an IP address");
        return;
    }
    fd = connect_to(&to, len);
    if (fd >= 0 && exchange(fd, job->arg[1])) {
        job_answer(job, "ok");
    } else if (errno == EBADMSG) {
        job_answer(job, "error the echo differs from what was sent");
    } else {
        job_answer(job, "error connection: %s", strerrordesc_np(errno));
    }
    if (fd >= 0) {
        close(fd);
    }
}
