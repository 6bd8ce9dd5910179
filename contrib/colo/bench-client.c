/*
 * What a client of the guest measures
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include "bench-client.h"
#include "guest-proto.h"

#define CHUNK (256 * 1024)
#define DATAGRAM_NS 1000000000LL
#define CONNECTIONS_MAX 32

static int64_t end_of(double seconds)
{
    return seconds > 0 ? bench_now_ns() + (int64_t)(seconds * 1e9) : INT64_MAX;
}

static void add_ms(GArray *ms, int64_t ns)
{
    double value = ns / 1e6;

    if (ms) {
        g_array_append_val(ms, value);
    }
}

int bench_client_open(BenchWork *work, const char *address, uint16_t port,
                      int type, Error **errp)
{
    ERRP_GUARD();
    struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = htons(port) };
    int fd, one = 1, err = 0;
    socklen_t len = sizeof(err);

    if (inet_pton(AF_INET, address, &in.sin_addr) != 1) {
        error_setg(errp, "'%s' is not an IPv4 address", address);
        return -1;
    }
    fd = socket(AF_INET, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        error_setg_errno(errp, errno, "socket");
        return -1;
    }
    if (type == SOCK_STREAM) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    }
    if (connect(fd, (struct sockaddr *)&in, sizeof(in)) == 0) {
        return fd;
    }
    if (errno != EINPROGRESS) {
        err = errno;
    } else if (!bench_work_wait(work, fd, POLLOUT, errp)) {
        error_prepend(errp, "connecting to %s port %u: ", address, port);
        close(fd);
        return -1;
    } else if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len) < 0) {
        err = errno;
    }
    if (err) {
        error_setg_errno(errp, err, "connecting to %s port %u", address, port);
        close(fd);
        return -1;
    }
    return fd;
}

static bool send_all(BenchWork *work, int fd, const void *buf, size_t len,
                     Error **errp)
{
    const char *p = buf;

    while (len) {
        ssize_t n = send(fd, p, len, MSG_NOSIGNAL);

        if (n >= 0) {
            p += n;
            len -= n;
        } else if (errno == EAGAIN) {
            if (!bench_work_wait(work, fd, POLLOUT, errp)) {
                return false;
            }
        } else if (errno != EINTR) {
            error_setg_errno(errp, errno, "sending to the guest");
            return false;
        }
    }
    return true;
}

/* Some bytes, up to @len: their number, 0 at the end, -1 with @errp set. */
static ssize_t receive(BenchWork *work, int fd, void *buf, size_t len,
                       Error **errp)
{
    for (;;) {
        ssize_t n = recv(fd, buf, len, 0);

        if (n >= 0) {
            return n;
        }
        if (errno == EAGAIN) {
            if (!bench_work_wait(work, fd, POLLIN, errp)) {
                return -1;
            }
        } else if (errno != EINTR) {
            error_setg_errno(errp, errno, "receiving from the guest");
            return -1;
        }
    }
}

static bool receive_all(BenchWork *work, int fd, void *buf, size_t len,
                        Error **errp)
{
    char *p = buf;

    while (len) {
        ssize_t n = receive(work, fd, p, len, errp);

        if (n == 0) {
            error_setg(errp, "the guest closed the connection");
        }
        if (n <= 0) {
            return false;
        }
        p += n;
        len -= n;
    }
    return true;
}

/* One datagram that is equal to @want: 1; none came in time: 0; or -1. */
static int receive_datagram(BenchWork *work, int fd, const char *want,
                            size_t len, Error **errp)
{
    int64_t until = bench_now_ns() + DATAGRAM_NS;
    char got[2048];

    for (;;) {
        ssize_t n = recv(fd, got, sizeof(got), 0);
        int ready;

        if (n == (ssize_t)len && !memcmp(got, want, len)) {
            return 1;
        }
        if (n >= 0) {
            continue; /* a late one */
        }
        ready = bench_work_wait_until(work, fd, POLLIN, until, errp);
        if (ready <= 0) {
            return ready;
        }
    }
}

/* 1: answered, 0: lost, -1: failed */
static int echo_once(BenchWork *work, BenchEcho *e, int fd, uint64_t number,
                     Error **errp)
{
    char sent[1400], got[1400];

    guest_fill(sent, e->size, number, 0);
    guest_put64((uint8_t *)sent, number);
    if (!send_all(work, fd, sent, e->size, errp)) {
        return -1;
    }
    if (e->udp) {
        return receive_datagram(work, fd, sent, e->size, errp);
    }
    if (!receive_all(work, fd, got, e->size, errp)) {
        return -1;
    }
    if (memcmp(sent, got, e->size)) {
        error_setg(errp, "answer %" PRIu64 " of the echo service is not what "
                   "was sent", number);
        return -1;
    }
    return 1;
}

/* TCP's retransmission time-out, as the connection has learnt it; 0: unknown */
static double rto_ms(int fd)
{
    struct tcp_info info = { };
    socklen_t len = sizeof(info);

    return getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) < 0 ? 0 :
           info.tcpi_rto / 1e3;
}

bool bench_client_echo(BenchWork *work, void *opaque, Error **errp)
{
    ERRP_GUARD();
    BenchEcho *e = opaque;
    int fd = bench_client_open(work, e->address, e->port,
                               e->udp ? SOCK_DGRAM : SOCK_STREAM, errp);
    int64_t end = end_of(e->seconds);
    uint64_t number = 1;
    int ret = 0;

    if (fd < 0) {
        return false;
    }
    while (ret >= 0 && !bench_work_stopped(work)) {
        int64_t start = bench_now_ns(), now;

        if (start >= end) {
            break;
        }
        ret = echo_once(work, e, fd, number++, errp);
        now = bench_now_ns();
        if (ret == 0) {
            e->lost++;
        } else if (ret > 0) {
            add_ms(e->ms, now - start);
            if (e->answers) {
                g_array_append_val(e->answers, now);
            }
        }
        if (ret >= 0 && e->pause_ns && !bench_work_stopped(work)) {
            ret = bench_work_wait_until(work, -1, 0, now + e->pause_ns, errp);
        }
    }
    e->rto_ms = e->udp ? 0 : rto_ms(fd);
    close(fd);
    if (ret < 0 && bench_work_stopped(work)) {
        g_clear_pointer(errp, error_free); /* that is how it is to end */
        ret = 0;
    }
    return ret >= 0;
}

static bool connect_once(BenchWork *work, BenchConnect *c, Error **errp)
{
    g_autofree char *request = g_strdup_printf("%s\n", c->command);
    int fd = bench_client_open(work, c->address, GUEST_CONTROL_PORT,
                               SOCK_STREAM, errp);
    char line[GUEST_LINE_MAX];
    size_t fill = 0;
    bool ok = fd >= 0 &&
              send_all(work, fd, request, strlen(request), errp);

    while (ok && !(fill && line[fill - 1] == '\n')) {
        ssize_t n = receive(work, fd, line + fill, sizeof(line) - fill, errp);

        if (n == 0) {
            error_setg(errp, "the guest closed the connection");
        }
        ok = n > 0;
        fill += MAX(n, 0);
    }
    if (ok && strncmp(line, "ok", 2)) {
        error_setg(errp, "the guest refused '%s'", c->command);
        ok = false;
    }
    if (fd >= 0) {
        close(fd);
    }
    return ok;
}

bool bench_client_connect(BenchWork *work, void *opaque, Error **errp)
{
    BenchConnect *c = opaque;
    int64_t end = end_of(c->seconds);
    unsigned i;

    for (i = 0; !c->count || i < c->count; i++) {
        int64_t start = bench_now_ns();

        if (start >= end) {
            break;
        }
        if (!connect_once(work, c, errp)) {
            return false;
        }
        add_ms(c->ms, bench_now_ns() - start);
    }
    return true;
}

/* Takes what has come; adds the number of whole records to *@count. */
static bool take_records(int fd, size_t *fill, uint64_t *count, Error **errp)
{
    char bytes[GUEST_RECORD_SIZE * 4];
    ssize_t n = recv(fd, bytes, sizeof(bytes), 0);

    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
        error_setg(errp, "a connection of requests broke: %s",
                   n ? strerror(errno) : "closed by the guest");
        return false;
    }
    *fill += MAX(n, 0);
    *count += *fill / GUEST_RECORD_SIZE;
    *fill %= GUEST_RECORD_SIZE;
    return true;
}

static bool request_loop(BenchWork *work, BenchRequests *r,
                         struct pollfd *pfd, Error **errp)
{
    int64_t start = bench_now_ns(), end = end_of(r->seconds), now = start;
    size_t fill[CONNECTIONS_MAX] = { };
    uint64_t total = 0;
    unsigned i;

    for (i = 0; i < r->connections; i++) {
        if (!send_all(work, pfd[i].fd, "next\n", 5, errp)) {
            return false;
        }
    }
    while (now < end) {
        /* For its bounds; one of them being ready is enough */
        int n = poll(pfd, r->connections, 50);

        if (n <= 0 &&
            bench_work_wait_until(work, -1, 0, now, errp) < 0) {
            return false;
        }
        for (i = 0; n > 0 && i < r->connections; i++) {
            uint64_t count = 0;

            if (pfd[i].revents &&
                !take_records(pfd[i].fd, &fill[i], &count, errp)) {
                return false;
            }
            if (count && !send_all(work, pfd[i].fd, "next\n", 5, errp)) {
                return false;
            }
            total += count;
        }
        now = bench_now_ns();
    }
    r->per_second = total / ((now - start) / 1e9);
    return true;
}

bool bench_client_requests(BenchWork *work, void *opaque, Error **errp)
{
    BenchRequests *r = opaque;
    struct pollfd pfd[CONNECTIONS_MAX];
    bool ok = true;
    unsigned i;

    for (i = 0; i < CONNECTIONS_MAX; i++) {
        pfd[i] = (struct pollfd) { .fd = -1, .events = POLLIN };
    }
    assert(r->connections <= CONNECTIONS_MAX);
    for (i = 0; ok && i < r->connections; i++) {
        pfd[i].fd = bench_client_open(work, r->address, r->port, SOCK_STREAM,
                                      errp);
        ok = pfd[i].fd >= 0;
    }
    ok = ok && request_loop(work, r, pfd, errp);
    for (i = 0; i < CONNECTIONS_MAX; i++) {
        if (pfd[i].fd >= 0) {
            close(pfd[i].fd);
        }
    }
    return ok;
}

static bool download(BenchWork *work, BenchTransfer *t, int fd, char *buf,
                     Error **errp)
{
    g_autofree char *request = g_strdup_printf("%" PRIu64 " 1\n",
                                               t->bytes ?: INT64_MAX);
    uint64_t received = 0;

    if (!send_all(work, fd, request, strlen(request), errp)) {
        return false;
    }
    while (!t->bytes || received < t->bytes) {
        ssize_t n;

        /* A guest that always has more would not let it wait, and so end. */
        if (bench_work_stopped(work)) {
            error_setg(errp, "stopped before the end");
            return false;
        }
        n = receive(work, fd, buf, CHUNK, errp);
        if (n == 0) {
            error_setg(errp, "only %" PRIu64 " of %" PRIu64 " bytes came",
                       received, t->bytes);
        }
        if (n <= 0) {
            return false;
        }
        received += n;
    }
    return true;
}

/* The sink's end of file says that it has read all. */
static bool upload(BenchWork *work, BenchTransfer *t, int fd, char *buf,
                   Error **errp)
{
    uint64_t sent = 0;
    ssize_t n;

    guest_fill(buf, CHUNK, 1, 0);
    while (!t->bytes || sent < t->bytes) {
        size_t len = t->bytes ? MIN(CHUNK, t->bytes - sent) : CHUNK;

        if (!send_all(work, fd, buf, len, errp)) {
            return false;
        }
        sent += len;
    }
    shutdown(fd, SHUT_WR);
    n = receive(work, fd, buf, 1, errp);
    if (n > 0) {
        error_setg(errp, "the guest answered what it should only take");
    }
    return n == 0;
}

bool bench_client_transfer(BenchWork *work, void *opaque, Error **errp)
{
    ERRP_GUARD();
    BenchTransfer *t = opaque;
    g_autofree char *buf = g_malloc(CHUNK);
    int fd = bench_client_open(work, t->address, t->upload ? GUEST_SINK_PORT
                                                       : GUEST_SOURCE_PORT,
                               SOCK_STREAM, errp);
    int64_t start = bench_now_ns();
    bool ok;

    if (fd < 0) {
        return false;
    }
    ok = t->upload ? upload(work, t, fd, buf, errp)
                   : download(work, t, fd, buf, errp);
    t->mb_per_s = t->bytes * 1e3 / (bench_now_ns() - start);
    close(fd);
    if (!ok && !t->bytes && bench_work_stopped(work)) {
        g_clear_pointer(errp, error_free);
        return true;
    }
    return ok;
}
