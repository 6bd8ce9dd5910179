/*
 * TCP connections that the guest opens
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include <glib-unix.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include "guest-proto.h"
#include "net-from-guest.h"
#include "sandbox.h"
#include "wire.h"

#define PORT 7007
#define PIECE 8192
#define PIECE_MS 50
#define BYTES (80 * PIECE)
#define CONTROL_MS (60 * 1000)

struct NetFromGuest {
    int listener;
    int control;           /* the guest's control service */
    int fd;                /* the connection that is open, or -1 */
    guint timer, answer_watch;
    char piece[PIECE];     /* to be sent back */
    size_t off, len;
    unsigned asked, done;
    NetBeat beat;
};

static void fail(NetFromGuest *n, char *why)
{
    g_free(n->beat.error);
    n->beat.error = why;
}

/* The control connection */

static bool ask(NetFromGuest *n, Error **errp)
{
    g_autofree char *line = g_strdup_printf(
        "connect %s %d %d\n",
        n->asked % 2 ? SANDBOX_CLIENT_IP6 : SANDBOX_CLIENT_IP4, PORT, BYTES);

    n->asked++;
    return wire_send(n->control, line, strlen(line), errp);
}

static gboolean answered(gint fd, GIOCondition cond, gpointer opaque)
{
    NetFromGuest *n = opaque;
    char line[GUEST_LINE_MAX + 1];
    ssize_t len = recv(fd, line, GUEST_LINE_MAX, 0);
    Error *err = NULL;

    if (len < 0 && (errno == EAGAIN || errno == EINTR)) {
        return G_SOURCE_CONTINUE;
    }
    line[MAX(len, 0)] = 0;
    if (len <= 0) {
        fail(n, g_strdup_printf("the control connection: %s",
                                len ? strerror(errno) : "closed"));
    } else if (!g_str_equal(line, "ok\n")) {
        fail(n, g_strdup_printf("connection %u: %s", n->asked,
                                g_strchomp(line)));
    } else if (!ask(n, &err)) {
        fail(n, g_strdup(error_get_pretty(err)));
        error_free(err);
    } else {
        n->done++;
        return G_SOURCE_CONTINUE;
    }
    n->answer_watch = 0;
    return G_SOURCE_REMOVE;
}

/* The echo service */

static void close_connection(NetFromGuest *n)
{
    close(n->fd);
    n->fd = -1;
    n->off = n->len = 0;
}

static void echo(NetFromGuest *n)
{
    ssize_t done;

    if (n->off == n->len) {
        done = recv(n->fd, n->piece, PIECE, 0);
        if (done == 0 || (done < 0 && errno != EAGAIN && errno != EINTR)) {
            /* The guest tells whether it should have ended. */
            close_connection(n);
        }
        if (done <= 0) {
            return;
        }
        n->off = 0;
        n->len = done;
    }
    done = send(n->fd, n->piece + n->off, n->len - n->off, MSG_NOSIGNAL);
    if (done > 0) {
        n->off += done;
        net_beat(&n->beat);
    }
}

static gboolean serve(gpointer opaque)
{
    NetFromGuest *n = opaque;
    int one = 1;

    if (n->fd < 0) {
        n->fd = accept4(n->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (n->fd >= 0) {
            setsockopt(n->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
        }
    }
    if (n->fd >= 0) {
        echo(n);
    }
    return G_SOURCE_CONTINUE;
}

static bool begin_listening(NetFromGuest *n, Error **errp)
{
    struct sockaddr_in6 in6 = {
        .sin6_family = AF_INET6, .sin6_port = htons(PORT),
    };
    int zero = 0, small = 2 * PIECE; /* the guest, too, shall take its time */

    n->listener = socket(AF_INET6, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC,
                         0);
    if (n->listener < 0 ||
        setsockopt(n->listener, IPPROTO_IPV6, IPV6_V6ONLY, &zero,
                   sizeof(zero)) < 0 ||
        setsockopt(n->listener, SOL_SOCKET, SO_RCVBUF, &small,
                   sizeof(small)) < 0 ||
        bind(n->listener, (struct sockaddr *)&in6, sizeof(in6)) < 0 ||
        listen(n->listener, 4) < 0) {
        error_setg_errno(errp, errno, "no listening socket");
        return false;
    }
    return true;
}

/* The public part */

NetFromGuest *net_from_guest_new(const char *address, Error **errp)
{
    int64_t until = g_get_monotonic_time() + CONTROL_MS * 1000LL;
    NetFromGuest *n = g_new0(NetFromGuest, 1);

    n->listener = n->control = n->fd = -1;
    if (!begin_listening(n, errp)) {
        net_from_guest_free(n);
        return NULL;
    }
    n->control = wire_connect(address, GUEST_CONTROL_PORT, until, errp);
    if (n->control < 0 || !ask(n, errp)) {
        net_from_guest_free(n);
        return NULL;
    }
    n->answer_watch = g_unix_fd_add(n->control, G_IO_IN, answered, n);
    n->timer = g_timeout_add(PIECE_MS, serve, n);
    return n;
}

static void close_fd(int fd)
{
    if (fd >= 0) {
        close(fd);
    }
}

void net_from_guest_free(NetFromGuest *n)
{
    if (!n) {
        return;
    }
    if (n->timer) {
        g_source_remove(n->timer);
    }
    if (n->answer_watch) {
        g_source_remove(n->answer_watch);
    }
    close_fd(n->listener);
    close_fd(n->control);
    close_fd(n->fd);
    g_free(n->beat.error);
    g_free(n);
}

NetBeat *net_from_guest_beat(NetFromGuest *n)
{
    return &n->beat;
}

unsigned net_from_guest_count(const NetFromGuest *n)
{
    return n->done;
}
