/*
 * The QMP client, used from within its own callbacks
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include <sys/socket.h>
#include "colo-qmp-peer.h"

#define FREED "no answer to 'query-status': closed by us\n"

static void test_free(void)
{
    QMPPeer t;

    /* pending ones are failed, closed() is not called */
    peer_setup(&t);
    peer_query(&t, GIVE_UP_MS);
    peer_query(&t, GIVE_UP_MS);
    peer_free_client(&t);
    peer_expect(&t, "failed " FREED "failed " FREED "freed\n");
    peer_teardown(&t);

    /* from the callback of one that is failed by that */
    peer_setup(&t);
    peer_query(&t, GIVE_UP_MS);
    peer_query(&t, GIVE_UP_MS);
    t.send_at_reply = true;
    qmp_client_free(t.client);
    peer_expect(&t, "failed " FREED "not sent: the monitor is closed: closed "
                "by us\nfailed " FREED);
    t.client = NULL;
    peer_teardown(&t);

    peer_setup(&t);
    t.free_at_ready = true;
    peer_query(&t, GIVE_UP_MS);
    peer_say(&t, HELLO CAPS EVENT("A"));
    peer_expect(&t, "ready\nfailed " FREED "freed\n");
    peer_teardown(&t);

    peer_setup(&t);
    t.free_at_event = true;
    peer_query(&t, GIVE_UP_MS);
    peer_say(&t, HELLO CAPS EVENT("A") EVENT("B"));
    peer_expect(&t, "ready\nevent A\nfailed " FREED "freed\n");
    peer_teardown(&t);

    peer_setup(&t);
    t.free_at_reply = true;
    peer_query(&t, GIVE_UP_MS);
    peer_query(&t, GIVE_UP_MS);
    peer_say(&t, HELLO CAPS RE(2, "2") RE(3, "3"));
    peer_expect(&t, "ready\nreply 2\nfailed " FREED "freed\n");
    peer_teardown(&t);

    /* at a time-out, of a command that was sent, and of one that was not */
    for (int i = 0; i < 2; i++) {
        peer_setup(&t);
        if (i == 0) {
            peer_connect(&t);
        }
        t.free_at_reply = true;
        peer_query(&t, 1);
        peer_query(&t, GIVE_UP_MS);
        peer_run_until(&t, "freed\n");
        peer_expect(&t, i == 0 ?
                    "failed no answer to 'query-status' within 1 ms\n"
                    "failed " FREED "freed\n" :
                    "failed no answer to 'query-status' within 1 ms "
                    "(it could not be sent)\nfailed " FREED "freed\n");
        peer_teardown(&t);
    }

    /* while a closing connection fails them: no closed() any more */
    peer_setup(&t);
    t.free_at_reply = true;
    peer_query(&t, GIVE_UP_MS);
    peer_query(&t, GIVE_UP_MS);
    peer_close(&t);
    peer_run();
    peer_expect(&t, LOST(EOF_WHY) LOST(EOF_WHY) "freed\n");
    peer_teardown(&t);

    peer_setup(&t);
    t.free_at_closed = true;
    peer_close(&t);
    peer_run();
    peer_expect(&t, END(EOF_WHY) "freed\n");
    peer_teardown(&t);

    qmp_client_free(NULL);
}

/* From a reply's callback, also while the connection is ending. */
static void test_send_from_reply(void)
{
    QMPPeer t;

    peer_setup(&t);
    peer_connect(&t);
    t.send_at_reply = true;
    peer_query(&t, GIVE_UP_MS);
    peer_say(&t, RE(2, "2"));
    peer_say(&t, RE(3, "3"));
    peer_expect(&t, "reply 2\nreply 3\n");
    t.send_at_reply = true;
    peer_query(&t, GIVE_UP_MS);
    peer_close(&t);
    peer_run();
    peer_expect(&t, LOST(EOF_WHY) "not sent: the monitor is closed: "
                EOF_WHY "\n" END(EOF_WHY));
    peer_teardown(&t);
}

static gboolean answer_later(gpointer opaque)
{
    QMPPeer *t = opaque;
    const char *text = t->free_at_closed ? "{" : RE(2, "{\"a\": 1}");

    g_assert_cmpint(send(t->fd, text, strlen(text), 0), >, 0);
    if (t->free_at_closed) {
        peer_close(t);
    }
    return G_SOURCE_REMOVE;
}

static void test_call(void)
{
    QObject *ret;
    Error *err = NULL;
    QMPPeer t;

    peer_setup(&t);
    peer_connect(&t);
    g_timeout_add(5, answer_later, &t);
    ret = qmp_client_call(t.client, QUERY, GIVE_UP_MS, &error_abort);
    g_assert_cmpint(qdict_get_int(qobject_to(QDict, ret), "a"), ==, 1);
    qobject_unref(ret);

    g_assert_null(qmp_client_call(t.client, QUERY, 10, &err));
    g_assert_cmpstr(error_get_pretty(err), ==,
                    "no answer to 'query-status' within 10 ms");
    error_free(err);
    g_assert_null(qmp_client_call(t.client, "nonsense", 10, NULL));

    /* The connection ends, and closed() frees the client meanwhile. */
    err = NULL;
    t.free_at_closed = true;
    g_timeout_add(5, answer_later, &t);
    g_assert_null(qmp_client_call(t.client, QUERY, GIVE_UP_MS, &err));
    g_assert_cmpstr(error_get_pretty(err), ==, "no answer to 'query-status':"
                    " " EOF_WHY " in the middle of a message");
    error_free(err);
    peer_run_until(&t, "freed\n");
    peer_teardown(&t);
}

/* The answer stands behind the event in the client's buffer, or comes. */
static void test_call_from_event(void)
{
    QMPPeer t;

    peer_setup(&t);
    peer_connect(&t);
    t.call_at_event = true;
    g_timeout_add(5, answer_later, &t);
    peer_say(&t, EVENT("A") EVENT("B"));
    peer_run_until(&t, "called");
    peer_expect(&t, "event A\nevent B\ncalled A\n");

    /* id 3, answered while in the event's callback */
    peer_query(&t, GIVE_UP_MS);
    t.call_at_event = true;
    peer_say(&t, EVENT("C") RE(3, "3") RE(4, "4") EVENT("D"));
    peer_run_until(&t, "event D");
    peer_expect(&t, "event C\nreply 3\nevent D\ncalled C\n");
    peer_teardown(&t);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/colo/qmp-reentry/free", test_free);
    g_test_add_func("/colo/qmp-reentry/send-from-reply",
                    test_send_from_reply);
    g_test_add_func("/colo/qmp-reentry/call", test_call);
    g_test_add_func("/colo/qmp-reentry/call-from-event",
                    test_call_from_event);
    return g_test_run();
}
