/*
 * TCP connections to the guest, and what came over them
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include <glib-unix.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include "stream.h"
#include "wire.h"

/*
 * An attempt to connect may lose its SYN, or the answer, to a pair that is
 * being made: better a fresh one than the kernel's growing pauses.  But if
 * all answers are late, for a busy pair holds them, patience must grow, or
 * no attempt would ever succeed.
 */
#define WIRE_ATTEMPT_MIN_US (1 * G_USEC_PER_SEC)
#define WIRE_ATTEMPT_MAX_US (4 * G_USEC_PER_SEC)
/* Refused: nobody listens yet. */
#define WIRE_PAUSE_US (100 * 1000)

/*
 * How long a connection bears silence.  In a failover nothing comes from
 * the guest for seconds, on a slow host for tens of them: that is what is to
 * be measured, not a reason to give up.  So only after two minutes without
 * any sign of life does the connection end by itself.
 *
 * The probes are for the opposite case: a guest which has lost the
 * connection while it was silent, and would be silent for ever, answers a
 * probe with a reset.  They start late enough not to disturb a stream.
 */
#define WIRE_USER_TIMEOUT_MS (120 * 1000)
#define WIRE_KEEPIDLE_S 10
#define WIRE_KEEPINTVL_S 5

typedef struct Wait {
    bool ready;
    bool expired;
} Wait;

static gboolean wait_ready(gint fd, GIOCondition cond, gpointer opaque)
{
    Wait *wait = opaque;

    wait->ready = true;
    return G_SOURCE_CONTINUE;
}

static gboolean wait_expired(gpointer opaque)
{
    Wait *wait = opaque;

    wait->expired = true;
    return G_SOURCE_CONTINUE;
}

static void source_end(GSource *source)
{
    if (source) {
        g_source_destroy(source);
        g_source_unref(source);
    }
}

/* Belongs to whoever has called guest_give_up(). */
static const char *given_up;

void guest_give_up(const char *why)
{
    given_up = why;
    g_main_context_wakeup(NULL);
}

const char *wire_given_up(void)
{
    return given_up;
}

bool wire_wait(int fd, GIOCondition cond, int64_t until_us)
{
    int64_t left_us = MAX(until_us - g_get_monotonic_time(), 0);
    GSource *timeout = g_timeout_source_new((left_us + 999) / 1000);
    GSource *ready = NULL;
    Wait wait = { };

    g_source_set_callback(timeout, wait_expired, &wait, NULL);
    g_source_attach(timeout, NULL);
    if (fd >= 0) {
        ready = g_unix_fd_source_new(fd, cond);
        g_source_set_callback(ready, (GSourceFunc)wait_ready, &wait, NULL);
        g_source_attach(ready, NULL);
    }
    while (!wait.ready && !wait.expired && !given_up) {
        g_main_context_iteration(NULL, TRUE);
    }
    source_end(ready);
    source_end(timeout);
    return wait.ready;
}

static void set_option(int fd, int level, int option, int value)
{
    /* Known to every kernel with namespaces; if not, nothing is lost. */
    setsockopt(fd, level, option, &value, sizeof(value));
}

/* One attempt.  Returns the socket, or -errno. */
static int connect_once(const struct addrinfo *ai, int64_t until_us)
{
    int fd = socket(ai->ai_family,
                    SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int err = 0;
    socklen_t len = sizeof(err);

    if (fd < 0) {
        return -errno;
    }
    set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, WIRE_KEEPIDLE_S);
    set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, WIRE_KEEPINTVL_S);
    set_option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, WIRE_USER_TIMEOUT_MS);

    if (connect(fd, ai->ai_addr, ai->ai_addrlen) < 0) {
        err = errno;
    }
    if (err == EINPROGRESS) {
        if (!wire_wait(fd, G_IO_OUT, until_us)) {
            err = ETIMEDOUT;
        } else if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len) < 0) {
            err = errno;
        }
    }
    if (err) {
        close(fd);
        return -err;
    }
    return fd;
}

int wire_connect(const char *address, uint16_t port, int64_t until_us,
                 Error **errp)
{
    struct addrinfo hints = {
        .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV,
        .ai_socktype = SOCK_STREAM,
    }, *ai;
    g_autofree char *service = g_strdup_printf("%u", port);
    int64_t start = g_get_monotonic_time(), now = start;
    int64_t attempt_us = WIRE_ATTEMPT_MIN_US;
    int fd;

    if (getaddrinfo(address, service, &hints, &ai)) {
        error_setg(errp, "'%s' is not a numeric IP address", address);
        return -1;
    }
    do {
        fd = connect_once(ai, MIN(now + attempt_us, until_us));
        now = g_get_monotonic_time();
        if (fd == -ETIMEDOUT) {
            attempt_us = MIN(attempt_us * 2, WIRE_ATTEMPT_MAX_US);
        } else if (fd < 0) {
            wire_wait(-1, 0, MIN(now + WIRE_PAUSE_US, until_us));
            now = g_get_monotonic_time();
        }
    } while (fd < 0 && now < until_us && !given_up);
    freeaddrinfo(ai);
    if (fd < 0 && given_up) {
        error_setg(errp, "%s", given_up);
        return -1;
    }
    if (fd < 0) {
        error_setg(errp, "no connection to %s port %u within %.1f s: %s",
                   address, port, (now - start) / 1e6, strerror(-fd));
        return -1;
    }
    return fd;
}

bool wire_send(int fd, const char *bytes, size_t len, Error **errp)
{
    ssize_t n;

    /* The connection is new and its buffer empty: all fits, or never. */
    do {
        n = send(fd, bytes, len, MSG_NOSIGNAL);
    } while (n < 0 && errno == EINTR);
    if (n != (ssize_t)len) {
        error_setg(errp, "cannot send the request: %s",
                   n < 0 ? strerror(errno) : "no room");
        return false;
    }
    return true;
}

char *wire_quote(const char *bytes, size_t len)
{
    GString *text = g_string_new("\"");
    size_t i;

    for (i = 0; i < len; i++) {
        unsigned char c = bytes[i];

        if (c == '\n') {
            g_string_append(text, "\\n");
        } else if (c == '"' || c == '\\') {
            g_string_append_printf(text, "\\%c", c);
        } else if (g_ascii_isprint(c)) {
            g_string_append_c(text, c);
        } else {
            g_string_append_printf(text, "\\x%02x", c);
        }
    }
    g_string_append_c(text, '"');
    return g_string_free(text, FALSE);
}
