/*
 * The client of the show: one TCP connection of numbered records
 *
 * What must come next is known to the byte.  So each byte is compared when
 * it comes, and no more than one record is ever held.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include <glib-unix.h>
#include <sys/socket.h>
#include "guest-proto.h"
#include "stream.h"
#include "wire.h"

struct Stream {
    int fd;                 /* -1 once broken */
    GSource *source;        /* reads from fd; NULL once broken */
    void (*broken)(void *opaque, const char *why);
    void *opaque;
    char *error;            /* what broken() was told, or NULL */

    StreamStats stats;      /* without current_gap_us */
    char want[GUEST_RECORD_SIZE + 1];   /* the next record */
    char got[GUEST_RECORD_SIZE];        /* what has come of it */
    size_t fill;            /* bytes in got[] */
};

static void stream_stop(Stream *s)
{
    if (s->source) {
        g_source_destroy(s->source);
        g_source_unref(s->source);
        s->source = NULL;
    }
    if (s->fd >= 0) {
        close(s->fd);
        s->fd = -1;
    }
}

/* Takes over @why.  @s may be gone afterwards: broken() may close it. */
static void stream_fail(Stream *s, char *why)
{
    stream_stop(s);
    s->error = why;
    s->broken(s->opaque, why);
}

/* The connection ended, where no record was due or within one. */
static void stream_fail_end(Stream *s, const char *how)
{
    g_autofree char *rest = wire_quote(s->got, s->fill);

    stream_fail(s, g_strdup_printf("%s, instead of record %" PRIu64
                                   "%s%s", how, s->stats.next,
                                   s->fill ? ", of which came " : "",
                                   s->fill ? rest : ""));
}

static void stream_fail_wrong(Stream *s)
{
    g_autofree char *want = wire_quote(s->want, GUEST_RECORD_SIZE);
    g_autofree char *got = wire_quote(s->got, s->fill);

    stream_fail(s, g_strdup_printf("record %" PRIu64 " is wrong: %s came "
                                   "instead of %s", s->stats.next, got,
                                   want));
}

static void stream_count(Stream *s, int64_t now)
{
    StreamStats *st = &s->stats;

    if (st->records && now - st->last_us > st->gap_us) {
        st->gap_us = now - st->last_us;
        st->gap_at_us = now;
    }
    st->last_us = now;
    st->records++;
    st->next++;
    s->fill = 0;
    guest_record_format(s->want, st->next);
}

/* Returns false where they are wrong; then @s may be gone. */
static bool stream_feed(Stream *s, const char *bytes, size_t n, int64_t now)
{
    while (n) {
        size_t len = MIN(n, GUEST_RECORD_SIZE - s->fill);

        memcpy(s->got + s->fill, bytes, len);
        s->fill += len;
        bytes += len;
        n -= len;
        if (memcmp(s->got, s->want, s->fill)) {
            stream_fail_wrong(s);
            return false;
        }
        if (s->fill == GUEST_RECORD_SIZE) {
            stream_count(s, now);
        }
    }
    return true;
}

/* One read per call: a fast sender must not keep others waiting. */
static gboolean stream_readable(gint fd, GIOCondition cond, gpointer opaque)
{
    Stream *s = opaque;
    char bytes[4096];
    ssize_t n = recv(fd, bytes, sizeof(bytes), 0);
    g_autofree char *how = NULL;

    if (n > 0) {
        return stream_feed(s, bytes, n, g_get_monotonic_time())
               ? G_SOURCE_CONTINUE : G_SOURCE_REMOVE;
    }
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
        return G_SOURCE_CONTINUE;
    }
    how = n ? g_strdup_printf("the connection broke (%s)", strerror(errno))
            : g_strdup("the guest closed the connection");
    stream_fail_end(s, how);
    return G_SOURCE_REMOVE;
}

Stream *stream_open(const char *address, uint16_t port, uint64_t first,
                    unsigned interval_us, int connect_timeout_ms,
                    void (*broken)(void *opaque, const char *why),
                    void *opaque, Error **errp)
{
    int64_t until = g_get_monotonic_time() + connect_timeout_ms * 1000LL;
    g_autofree char *request = g_strdup_printf("stream %" PRIu64 " %u\n",
                                               first, interval_us);
    int fd = wire_connect(address, port, until, errp);
    Stream *s;

    if (fd < 0) {
        return NULL;
    }
    if (!wire_send(fd, request, strlen(request), errp)) {
        close(fd);
        return NULL;
    }
    s = g_new0(Stream, 1);
    s->fd = fd;
    s->broken = broken;
    s->opaque = opaque;
    s->stats.next = first;
    s->stats.last_us = g_get_monotonic_time();
    guest_record_format(s->want, first);
    s->source = g_unix_fd_source_new(fd, G_IO_IN | G_IO_HUP | G_IO_ERR);
    g_source_set_callback(s->source, (GSourceFunc)stream_readable, s, NULL);
    g_source_attach(s->source, NULL);
    return s;
}

void stream_stats(Stream *s, StreamStats *stats)
{
    *stats = s->stats;
    stats->current_gap_us = g_get_monotonic_time() - s->stats.last_us;
}

void stream_reset_gap(Stream *s)
{
    s->stats.gap_us = 0;
    s->stats.gap_at_us = 0;
}

const char *stream_error(Stream *s)
{
    return s->error;
}

void stream_close(Stream *s)
{
    if (s) {
        stream_stop(s);
        g_free(s->error);
        g_free(s);
    }
}
