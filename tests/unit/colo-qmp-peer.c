/*
 * A scripted peer for tests of the QMP client
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include <sys/socket.h>
#include "qapi/qmp/qjson.h"
#include "colo-qmp-peer.h"

void peer_free_client(QMPPeer *t)
{
    g_clear_pointer(&t->client, qmp_client_free);
    g_string_append(t->trace, "freed\n");
}

void peer_trace_reply(void *opaque, QObject *ret, const Error *err)
{
    QMPPeer *t = opaque;

    g_assert_true(!ret != !err);
    g_assert_false(t->closed);
    t->replies++;
    if (ret) {
        g_autoptr(GString) json = qobject_to_json(ret);

        g_string_append_printf(t->trace, "reply %s\n", json->str);
    } else {
        g_string_append_printf(t->trace, "failed %s\n",
                               error_get_pretty(err));
    }
    if (t->free_at_reply) {
        t->free_at_reply = false;
        peer_free_client(t);
    }
    if (t->send_at_reply) {
        Error *errp = NULL;

        t->send_at_reply = false;
        if (!qmp_client_send(t->client, "{'execute': 'stop'}", GIVE_UP_MS,
                             peer_trace_reply, t, &errp)) {
            g_string_append_printf(t->trace, "not sent: %s\n",
                                   error_get_pretty(errp));
            error_free(errp);
        }
    }
}

static void trace_ready(void *opaque)
{
    QMPPeer *t = opaque;

    g_string_append(t->trace, "ready\n");
    if (t->free_at_ready) {
        peer_free_client(t);
    }
}

static void trace_event(void *opaque, const char *name, QDict *data,
                        int64_t time_us)
{
    QMPPeer *t = opaque;

    g_assert_false(t->closed);
    g_assert_cmpint(time_us, ==, 1000500);
    g_assert_cmpint(qdict_get_int(data, "x"), ==, 1);
    g_string_append_printf(t->trace, "event %s\n", name);
    if (t->free_at_event) {
        peer_free_client(t);
    } else if (t->call_at_event) {
        QObject *ret;

        t->call_at_event = false;
        ret = qmp_client_call(t->client, QUERY, GIVE_UP_MS, &error_abort);
        g_string_append_printf(t->trace, "called %s\n", name);
        qobject_unref(ret);
    }
    /* The data must have survived that. */
    g_assert_cmpint(qdict_get_int(data, "x"), ==, 1);
}

static void trace_closed(void *opaque, const Error *why)
{
    QMPPeer *t = opaque;

    g_assert_false(t->closed);
    t->closed = true;
    g_string_append_printf(t->trace, "closed %s\n", error_get_pretty(why));
    if (t->free_at_closed) {
        peer_free_client(t);
    }
}

static const QMPClientOps ops = {
    .ready = trace_ready,
    .event = trace_event,
    .closed = trace_closed,
};

void peer_setup(QMPPeer *t)
{
    int sv[2];

    memset(t, 0, sizeof(*t));
    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv),
                    ==, 0);
    t->trace = g_string_new(NULL);
    t->fd = sv[0];
    t->client = qmp_client_new(sv[1], &ops, t);
}

void peer_close(QMPPeer *t)
{
    if (t->fd >= 0) {
        close(t->fd);
        t->fd = -1;
    }
}

void peer_teardown(QMPPeer *t)
{
    qmp_client_free(t->client);
    peer_close(t);
    g_string_free(t->trace, true);
}

void peer_run(void)
{
    while (g_main_context_iteration(NULL, false)) {
        continue;
    }
}

static gboolean give_up(gpointer opaque)
{
    g_error("still no %s after %d ms", (const char *)opaque, GIVE_UP_MS);
    return G_SOURCE_REMOVE;
}

void peer_run_until(QMPPeer *t, const char *line)
{
    guint timer = g_timeout_add(GIVE_UP_MS, give_up, (gpointer)line);

    while (!strstr(t->trace->str, line)) {
        g_main_context_iteration(NULL, true);
    }
    g_source_remove(timer);
}

void peer_say_bytes(QMPPeer *t, const char *bytes, size_t size)
{
    g_assert_cmpint(send(t->fd, bytes, size, MSG_NOSIGNAL), ==, size);
    peer_run();
}

void peer_say(QMPPeer *t, const char *text)
{
    peer_say_bytes(t, text, strlen(text));
}

char *peer_hear(QMPPeer *t)
{
    GString *text = g_string_new(NULL);
    char buf[65536];
    ssize_t n;

    do {
        peer_run();
        n = recv(t->fd, buf, sizeof(buf), MSG_DONTWAIT);
        g_string_append_len(text, buf, MAX(n, 0));
    } while (n > 0);
    return g_string_free(text, false);
}

void peer_expect(QMPPeer *t, const char *trace)
{
    g_assert_cmpstr(t->trace->str, ==, trace);
    g_string_truncate(t->trace, 0);
}

void peer_query(QMPPeer *t, int timeout_ms)
{
    g_assert_true(qmp_client_send(t->client, QUERY, timeout_ms,
                                  peer_trace_reply, t, &error_abort));
}

void peer_connect(QMPPeer *t)
{
    peer_say(t, HELLO CAPS);
    peer_expect(t, "ready\n");
    g_free(peer_hear(t));
}
