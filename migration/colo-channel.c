/*
 * The connection to the peer during COLO
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/event_notifier.h"
#include "qemu/iov.h"
#include "qemu/main-loop.h"
#include "qemu/module.h"
#include "qemu/stats64.h"
#include "qemu/timer.h"
#include "io/channel-socket.h"
#include "io/channel-tls.h"
#include "colo-channel.h"
#include "colo-patience.h"

struct ColoChannel {
    QIOChannel parent_obj;

    QIOChannel *ioc;
    int fd;
    EventNotifier kick;
    GByteArray *backlog;        /* written, from @backlog_sent on not sent */
    size_t backlog_sent;
    bool down;                  /* atomic: nothing is read any more */
    bool patient;
    ColoPatience patience;      /* for reads and writes, not for a mere wait */
    bool awake;                 /* watch before a wait */
    Stat64 sent;
    Stat64 received;
};

static uint32_t timeout_ms = COLO_PEER_TIMEOUT_DEFAULT_MS;

void colo_channel_set_timeout(uint32_t ms)
{
    qatomic_set(&timeout_ms, ms);
}

uint32_t colo_channel_get_timeout(void)
{
    return qatomic_read(&timeout_ms);
}

static int64_t timeout_ns(void)
{
    return colo_channel_get_timeout() * 1000000LL;
}

void colo_channel_renew_patience(ColoChannel *c)
{
    colo_patience_renew(&c->patience);
}

void colo_channel_set_awake(ColoChannel *c, bool awake)
{
    c->awake = awake;
}

/* As qemu_poll_ns(); another thread that wants this CPU has it in between */
static int wait_for_events(ColoChannel *c, GPollFD *pfd, guint n, int64_t ns)
{
    int64_t now = get_clock(), end = now + MIN(ns, COLO_AWAKE_NS);

    while (c->awake && now < end) {
        int ret = qemu_poll_ns(pfd, n, 0);

        if (ret) {
            return ret;
        }
        g_thread_yield();
        now = get_clock();
    }
    return qemu_poll_ns(pfd, n, ns);
}

static size_t backlog_size(ColoChannel *c)
{
    return c->backlog->len - c->backlog_sent;
}

/* Sends without waiting; bytes, 0 if none could be sent now, -1 on error */
static ssize_t send_now(ColoChannel *c, const struct iovec *iov, size_t niov,
                        Error **errp)
{
    ssize_t n = qio_channel_writev(c->ioc, iov, niov, errp);

    if (n == QIO_CHANNEL_ERR_BLOCK) {
        return 0;
    }
    if (n > 0) {
        stat64_add(&c->sent, n);
        colo_patience_moved(&c->patience, n);
    }
    return n;
}

/* As much of the backlog as the connection takes; false on error */
static bool send_backlog(ColoChannel *c, Error **errp)
{
    while (backlog_size(c)) {
        struct iovec iov = {
            .iov_base = c->backlog->data + c->backlog_sent,
            .iov_len = backlog_size(c),
        };
        ssize_t n = send_now(c, &iov, 1, errp);

        if (n <= 0) {
            return n == 0;
        }
        c->backlog_sent += n;
    }
    g_byte_array_set_size(c->backlog, 0);
    c->backlog_sent = 0;
    return true;
}

/* Until the connection is ready, as long as there is patience; without the BQL */
static bool wait_patiently(ColoChannel *c, gushort events)
{
    GPollFD pfd = { .fd = c->fd, .events = events };
    int64_t left = colo_patience_left(&c->patience, timeout_ns());
    int64_t begin = get_clock();
    bool ready = left && wait_for_events(c, &pfd, 1, left) != 0;

    colo_patience_waited(&c->patience, get_clock() - begin);
    return ready;
}

static bool wait_writable(ColoChannel *c, Error **errp)
{
    if (!wait_patiently(c, G_IO_OUT)) {
        error_setg(errp, "the peer took no data, or next to none, for %u ms",
                   colo_channel_get_timeout());
        return false;
    }
    return true;
}

/* Until the backlog is at most @size; called without the BQL */
static bool shrink_backlog(ColoChannel *c, size_t size, Error **errp)
{
    while (true) {
        if (!send_backlog(c, errp)) {
            return false;
        }
        if (backlog_size(c) <= size) {
            return true;
        }
        if (!wait_writable(c, errp)) {
            return false;
        }
    }
}

bool colo_channel_flush(ColoChannel *c, Error **errp)
{
    assert(!qemu_mutex_iothread_locked());
    return shrink_backlog(c, 0, errp);
}

static bool wait_for_room(ColoChannel *c, Error **errp)
{
    bool locked = qemu_mutex_iothread_locked();
    bool ok;

    if (locked) {
        qemu_mutex_unlock_iothread();
    }
    ok = shrink_backlog(c, COLO_BACKLOG_MAX / 2, errp);
    if (locked) {
        qemu_mutex_lock_iothread();
    }
    return ok;
}

/* Waits for room instead of keeping a copy: some of it, at least a byte */
static ssize_t send_patiently(ColoChannel *c, const struct iovec *iov,
                              size_t niov, Error **errp)
{
    ssize_t n;

    assert(!qemu_mutex_iothread_locked());
    if (!shrink_backlog(c, 0, errp)) {
        return -1;
    }
    while ((n = send_now(c, iov, niov, errp)) == 0) {
        if (!wait_writable(c, errp)) {
            return -1;
        }
    }
    return n;
}

static ssize_t colo_channel_writev(QIOChannel *ioc, const struct iovec *iov,
                                   size_t niov, int *fds, size_t nfds,
                                   int flags, Error **errp)
{
    ColoChannel *c = COLO_CHANNEL(ioc);
    size_t size = iov_size(iov, niov), old;
    ssize_t sent = 0;

    if (c->patient) {
        return send_patiently(c, iov, niov, errp);
    }
    if (!send_backlog(c, errp)) {
        return -1;
    }
    if (!backlog_size(c)) {
        sent = send_now(c, iov, niov, errp);
        if (sent < 0) {
            return -1;
        }
    }
    if (sent < size) {
        if (c->backlog_sent > backlog_size(c)) {
            g_byte_array_remove_range(c->backlog, 0, c->backlog_sent);
            c->backlog_sent = 0;
        }
        old = c->backlog->len;
        g_byte_array_set_size(c->backlog, old + size - sent);
        iov_to_buf(iov, niov, sent, c->backlog->data + old, size - sent);
        if (backlog_size(c) > COLO_BACKLOG_MAX && !wait_for_room(c, errp)) {
            return -1;
        }
    }
    return size;
}

void colo_channel_set_patient(ColoChannel *c, bool patient)
{
    c->patient = patient;
}

bool colo_channel_is_up(ColoChannel *c, Error **errp)
{
    if (!qatomic_read(&c->down)) {
        return true;
    }
    error_setg(errp, "the connection has been shut down");
    return false;
}

static ssize_t read_now(ColoChannel *c, const struct iovec *iov, size_t niov,
                        Error **errp)
{
    ssize_t n;

    if (!colo_channel_is_up(c, errp)) {
        return -1;
    }
    n = qio_channel_readv(c->ioc, iov, niov, errp);
    if (n == QIO_CHANNEL_ERR_BLOCK) {
        return 0;
    }
    if (n == 0) {
        error_setg(errp, "the peer closed the connection");
        return -1;
    }
    if (n > 0) {
        stat64_add(&c->received, n);
        colo_patience_moved(&c->patience, n);
    }
    return n;
}

ssize_t colo_channel_try_read(ColoChannel *c, void *buf, size_t size,
                              Error **errp)
{
    struct iovec iov = { .iov_base = buf, .iov_len = size };

    return read_now(c, &iov, 1, errp);
}

static ssize_t colo_channel_readv(QIOChannel *ioc, const struct iovec *iov,
                                  size_t niov, int **fds, size_t *nfds,
                                  Error **errp)
{
    ColoChannel *c = COLO_CHANNEL(ioc);

    while (true) {
        ssize_t n = read_now(c, iov, niov, errp);

        if (n) {
            return n;
        }
        assert(!qemu_mutex_iothread_locked());
        if (!wait_patiently(c, G_IO_IN)) {
            error_setg(errp, "the peer has been silent, or nearly so, for %u "
                       "ms", colo_channel_get_timeout());
            return -1;
        }
    }
}

unsigned colo_channel_wait(ColoChannel *c, int64_t ns)
{
    GPollFD pfd[] = {
        { .fd = c->fd, .events = G_IO_IN },
        { .fd = event_notifier_get_fd(&c->kick), .events = G_IO_IN },
    };
    unsigned seen = 0;

    assert(!qemu_mutex_iothread_locked());
    wait_for_events(c, pfd, ARRAY_SIZE(pfd), ns);
    if (pfd[0].revents) {
        seen |= COLO_WAIT_READABLE;
    }
    if (pfd[1].revents) {
        event_notifier_test_and_clear(&c->kick);
        seen |= COLO_WAIT_KICKED;
    }
    return seen;
}

void colo_channel_kick(ColoChannel *c)
{
    event_notifier_set(&c->kick);
}

void colo_channel_shutdown(ColoChannel *c)
{
    /* What has arrived before could be read else, which may be much */
    qatomic_set(&c->down, true);
    qio_channel_shutdown(c->ioc, QIO_CHANNEL_SHUTDOWN_BOTH, NULL);
    colo_channel_kick(c);
}

uint64_t colo_channel_sent(ColoChannel *c)
{
    return stat64_get(&c->sent);
}

uint64_t colo_channel_received(ColoChannel *c)
{
    return stat64_get(&c->received);
}

/* The socket at the bottom, or NULL */
static QIOChannelSocket *socket_of(QIOChannel *ioc)
{
    QIOChannelTLS *tls;

    while ((tls = (QIOChannelTLS *)
            object_dynamic_cast(OBJECT(ioc), TYPE_QIO_CHANNEL_TLS))) {
        ioc = tls->master;
    }
    return (QIOChannelSocket *)
        object_dynamic_cast(OBJECT(ioc), TYPE_QIO_CHANNEL_SOCKET);
}

ColoChannel *colo_channel_new(QIOChannel *ioc, Error **errp)
{
    QIOChannelSocket *sock = socket_of(ioc);
    ColoChannel *c;

    if (!sock) {
        error_setg(errp, "COLO needs a migration over a socket");
        return NULL;
    }
    if (qio_channel_set_blocking(ioc, false, errp) < 0) {
        return NULL;
    }
    qio_channel_set_delay(ioc, false);
    c = COLO_CHANNEL(object_new(TYPE_COLO_CHANNEL));
    c->ioc = ioc;
    object_ref(OBJECT(ioc));
    c->fd = sock->fd;
    return c;
}

/* QEMUFile closes what it writes to; the connection belongs to migration.c */
static int colo_channel_close(QIOChannel *ioc, Error **errp)
{
    return 0;
}

static int colo_channel_set_blocking(QIOChannel *ioc, bool enabled,
                                     Error **errp)
{
    return 0;
}

static void colo_channel_init(Object *obj)
{
    ColoChannel *c = COLO_CHANNEL(obj);
    int ret = event_notifier_init(&c->kick, false);

    if (ret < 0) {
        error_setg_errno(&error_fatal, -ret, "COLO: no event descriptor");
    }
    c->backlog = g_byte_array_new();
    stat64_init(&c->sent, 0);
    stat64_init(&c->received, 0);
}

static void colo_channel_finalize(Object *obj)
{
    ColoChannel *c = COLO_CHANNEL(obj);

    event_notifier_cleanup(&c->kick);
    g_byte_array_free(c->backlog, true);
    object_unref(OBJECT(c->ioc));
}

static void colo_channel_class_init(ObjectClass *klass, void *data)
{
    QIOChannelClass *ioc = QIO_CHANNEL_CLASS(klass);

    ioc->io_writev = colo_channel_writev;
    ioc->io_readv = colo_channel_readv;
    ioc->io_close = colo_channel_close;
    ioc->io_set_blocking = colo_channel_set_blocking;
}

static const TypeInfo colo_channel_info = {
    .name = TYPE_COLO_CHANNEL,
    .parent = TYPE_QIO_CHANNEL,
    .instance_size = sizeof(ColoChannel),
    .instance_init = colo_channel_init,
    .instance_finalize = colo_channel_finalize,
    .class_init = colo_channel_class_init,
};

static void colo_channel_register_types(void)
{
    type_register_static(&colo_channel_info);
}

type_init(colo_channel_register_types);
