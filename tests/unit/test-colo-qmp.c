/*
 * The QMP client against a scripted peer: what it delivers, time-outs,
 * limits, and the end of the connection
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include <malloc.h>
#include <sys/socket.h>
#include "qemu/units.h"
#include "colo-qmp-peer.h"

/*
 * What the peer says and what becomes of it.  @queries are sent at the
 * start; their ids are 2, 3, ...  Then the peer closes.
 */
typedef struct Script {
    const char *name;
    int queries;
    const char *says;
    const char *trace;
} Script;

#define LOST_END(why) LOST(why) END(why)

static const Script scripts[] = {
    { "nothing", 0, "", END(EOF_WHY) },
    { "nothing-pending", 2, "", LOST(EOF_WHY) LOST(EOF_WHY) END(EOF_WHY) },
    { "half-greeting", 1, "{\"QMP\": {",
      LOST(EOF_WHY " in the middle of a message")
      END(EOF_WHY " in the middle of a message") },
    { "greeting", 1, HELLO, LOST(EOF_WHY) END(EOF_WHY) },
    { "ready", 1, HELLO CAPS, "ready\n" LOST(EOF_WHY) END(EOF_WHY) },
    { "reply", 1, HELLO CAPS RE(2, "{\"status\": \"running\"}"),
      "ready\nreply {\"status\": \"running\"}\n" END(EOF_WHY) },
    { "null", 1, HELLO CAPS RE(2, "null"), "ready\nreply null\n"
      END(EOF_WHY) },
    { "events", 1, HELLO EVENT("A") CAPS EVENT("B") RE(2, "2") EVENT("C"),
      "event A\nready\nevent B\nreply 2\nevent C\n" END(EOF_WHY) },
    { "order", 3, HELLO CAPS RE(4, "4") RE(2, "2") RE(3, "3"),
      "ready\nreply 4\nreply 2\nreply 3\n" END(EOF_WHY) },
    { "error", 2, HELLO CAPS "{\"id\": 2, \"error\": {\"class\": "
      "\"DeviceNotFound\", \"desc\": \"Device 'x' not found, %s\"}}"
      RE(3, "3"), "ready\nfailed DeviceNotFound: Device 'x' not found, %s\n"
      "reply 3\n" END(EOF_WHY) },
    { "greeting-twice", 1, HELLO HELLO,
      LOST_END("the peer sent a second greeting: {\"QMP\": {\"version\": "
               "{}, \"capabilities\": []}}") },
    { "greeting-late", 0, HELLO CAPS HELLO, "ready\n" END("the peer sent a "
      "second greeting: {\"QMP\": {\"version\": {}, \"capabilities\": []}}")
    },
    { "no-greeting-reply", 0, RE(1, "{}") HELLO, END("the peer sent no "
      "greeting but: {\"return\": {}, \"id\": 1}") },
    { "no-greeting-event", 0, "{\"event\": \"X\", \"timestamp\": "
      "{\"seconds\": 1, \"microseconds\": 500}}", END("the peer sent no "
      "greeting but: {\"timestamp\": {\"seconds\": 1, \"microseconds\": "
      "500}, \"event\": \"X\"}") },
    { "refused", 1, HELLO "{\"id\": 1, \"error\": {\"class\": \"GenericError"
      "\", \"desc\": \"no\"}}",
      LOST_END("the peer refused qmp_capabilities: GenericError: no") },
    { "reply-not-sent", 1, HELLO RE(2, "2"),
      LOST_END("the peer sent a reply to nothing: "
               "{\"return\": 2, \"id\": 2}") },
    { "reply-twice", 1, HELLO CAPS RE(2, "2") RE(2, "2") EVENT("A"),
      "ready\nreply 2\n" END("the peer sent a reply to nothing: {\"return\":"
      " 2, \"id\": 2}") },
    { "reply-unknown", 1, HELLO CAPS RE(99, "2"),
      "ready\n" LOST_END("the peer sent a reply to nothing: "
               "{\"return\": 2, \"id\": 99}") },
    { "reply-negative", 0, HELLO CAPS RE(-1, "2"), "ready\n"
      END("the peer sent a reply to nothing: {\"return\": 2, \"id\": -1}") },
    { "reply-no-id", 0, HELLO CAPS "{\"return\": {}}", "ready\n"
      END("the peer sent a reply to nothing: {\"return\": {}}") },
    { "error-no-id", 0, HELLO CAPS "{\"error\": {\"class\": \"GenericError\""
      ", \"desc\": \"JSON parse error\"}}", "ready\n" END("the peer sent a "
      "reply to nothing: {\"error\": {\"class\": \"GenericError\", \"desc\":"
      " \"JSON parse error\"}}") },
    { "error-no-desc", 1, HELLO CAPS "{\"id\": 2, \"error\": {}}",
      "ready\n" LOST_END("the peer sent what is not QMP: "
                         "{\"id\": 2, \"error\": {}}") },
    { "garbage", 0, HELLO CAPS "Segmentation fault\n",
      "ready\n" END("the peer sent what is not JSON: JSON parse error, "
                    "stray 'S'") },
};

/* With @split < 0, one byte after the other. */
static void play(const Script *s, ssize_t split)
{
    size_t size = strlen(s->says);
    size_t first = split < 0 ? 0 : split;
    QMPPeer t;

    peer_setup(&t);
    for (int i = 0; i < s->queries; i++) {
        peer_query(&t, GIVE_UP_MS);
    }
    if (first) {
        peer_say_bytes(&t, s->says, first);
    }
    for (size_t i = first; i < size && !t.closed; ) {
        size_t step = split < 0 ? 1 : size - i;

        peer_say_bytes(&t, s->says + i, step);
        i += step;
    }
    peer_close(&t);
    peer_run();
    g_assert_true(t.closed);
    peer_expect(&t, s->trace);
    peer_teardown(&t);
}

static void test_script(gconstpointer opaque)
{
    const Script *s = opaque;

    for (ssize_t split = strlen(s->says); split >= -1; split--) {
        play(s, split);
    }
}

static void test_commands(void)
{
    static const char *const wrong[] = {
        "", " ", "stop", "[]", "1", "{'execute': 'stop'", "{} {}",
        "{'execute': %s}",
    };
    QMPPeer t;
    g_autofree char *sent = NULL;

    peer_setup(&t);
    for (int i = 0; i < ARRAY_SIZE(wrong); i++) {
        Error *err = NULL;

        g_assert_false(qmp_client_send(t.client, wrong[i], GIVE_UP_MS,
                                       peer_trace_reply, &t, &err));
        g_assert_nonnull(err);
        error_free(err);
        g_assert_false(qmp_client_send(t.client, wrong[i], GIVE_UP_MS,
                                       peer_trace_reply, &t, NULL));
    }
    qmp_client_send(t.client, "{'execute': 'a', 'id': 'mine'}", GIVE_UP_MS,
                    NULL, NULL, &error_abort);
    /* Nothing is sent before the greeting, then capabilities alone. */
    sent = peer_hear(&t);
    g_assert_cmpstr(sent, ==, "");
    peer_say(&t, HELLO);
    g_free(sent);
    sent = peer_hear(&t);
    g_assert_cmpstr(sent, ==, "{\"execute\": \"qmp_capabilities\", "
                    "\"id\": 1}\n");
    peer_say(&t, CAPS);
    g_free(sent);
    sent = peer_hear(&t);
    g_assert_cmpstr(sent, ==, "{\"execute\": \"a\", \"id\": 2}\n");
    /* A reply that nobody waits for. */
    peer_say(&t, "{\"id\": 2, \"return\": {}}");
    peer_expect(&t, "ready\n");

    peer_close(&t);
    peer_run();
    peer_expect(&t, END(EOF_WHY));
    for (int i = 0; i < 2; i++) {
        Error *err = NULL;

        g_assert_false(qmp_client_send(t.client, QUERY, GIVE_UP_MS,
                                       peer_trace_reply, &t, &err));
        g_assert_cmpstr(error_get_pretty(err), ==, "the monitor is closed: "
                        EOF_WHY);
        error_free(err);
    }
    peer_teardown(&t);
}

static void test_timeout(void)
{
    int64_t begin = g_get_monotonic_time();
    g_autofree char *sent = NULL;
    QMPPeer t;

    peer_setup(&t);
    peer_query(&t, 20);
    peer_run_until(&t, "failed");
    peer_expect(&t, "failed no answer to 'query-status' within 20 ms "
                "(it could not be sent)\n");
    g_assert_cmpint(g_get_monotonic_time() - begin, >=, 20000);

    /* That one is never sent. */
    peer_say(&t, HELLO CAPS);
    peer_expect(&t, "ready\n");
    sent = peer_hear(&t);
    g_assert_cmpstr(sent, ==, "{\"execute\": \"qmp_capabilities\", "
                    "\"id\": 1}\n");
    g_free(sent);
    peer_query(&t, 20);
    peer_query(&t, GIVE_UP_MS);
    peer_run_until(&t, "failed");
    peer_expect(&t, "failed no answer to 'query-status' within 20 ms\n");
    sent = peer_hear(&t);
    g_assert_cmpstr(sent, ==, "{\"execute\": \"query-status\", \"id\": 3}\n"
                    "{\"execute\": \"query-status\", \"id\": 4}\n");
    /* The late reply is dropped, once; the next one is not. */
    peer_say(&t, RE(3, "3") RE(4, "4"));
    peer_expect(&t, "reply 4\n");
    peer_say(&t, RE(3, "3"));
    peer_expect(&t, END("the peer sent a reply to nothing: {\"return\": 3, "
                        "\"id\": 3}"));
    peer_teardown(&t);
}

/* Who was away for longer than the time-out still gets the answer. */
static void test_timeout_late_us(void)
{
    int64_t end;
    QMPPeer t;

    peer_setup(&t);
    peer_connect(&t);
    peer_query(&t, 1);
    g_assert_cmpint(send(t.fd, RE(2, "2"), strlen(RE(2, "2")), 0), >, 0);
    end = g_get_monotonic_time() + 5000;
    while (g_get_monotonic_time() < end) {
        g_usleep(1000);
    }
    peer_run();
    peer_expect(&t, "reply 2\n");
    peer_teardown(&t);
}

/* A peer that neither reads nor answers: bounded, and nothing blocks. */
static void test_not_reading(void)
{
    g_autofree char *pad = g_strnfill(32 * KiB, 'x');
    g_autofree char *big = g_strdup_printf("{'execute': 'big', 'arguments':"
                                           " {'a': '%s'}}", pad);
    Error *err = NULL;
    size_t heard = 0;
    int sent = 0;
    QMPPeer t;

    peer_setup(&t);
    peer_connect(&t);
    while (qmp_client_send(t.client, big, GIVE_UP_MS, peer_trace_reply, &t,
                                &err)) {
        peer_run();
        g_assert_cmpint(++sent, <, 1024);
    }
    g_assert_cmpint(sent, >, 4 * MiB / (33 * KiB));
    g_assert_true(g_str_has_prefix(error_get_pretty(err), "the peer does "
                                   "not take or answer commands: "));
    error_free(err);
    /* It wakes up, and finds all of them. */
    while (heard < sent * strlen(big)) {
        g_autofree char *text = peer_hear(&t);

        g_assert_cmpstr(text, !=, "");
        heard += strlen(text);
    }
    for (int i = 0; i < sent; i++) {
        g_autofree char *reply = g_strdup_printf("{\"return\": {}, \"id\": "
                                                 "%d}", i + 2);

        peer_say(&t, reply);
    }
    g_assert_cmpint(t.replies, ==, sent);
    peer_query(&t, GIVE_UP_MS);
    peer_teardown(&t);
}

/* Also those that have timed out count, as long as no reply came. */
static void test_not_answering(void)
{
    Error *err = NULL;
    QMPPeer t;

    peer_setup(&t);
    peer_connect(&t);
    for (int i = 0; i < 1024; i++) {
        peer_query(&t, 0);
        g_free(peer_hear(&t));
    }
    peer_run();
    g_assert_cmpint(t.replies, ==, 1024);
    g_assert_false(qmp_client_send(t.client, QUERY, GIVE_UP_MS,
                                   peer_trace_reply, &t, &err));
    g_assert_nonnull(strstr(error_get_pretty(err), "1024 commands"));
    error_free(err);
    peer_say(&t, RE(2, "{}"));
    peer_query(&t, GIVE_UP_MS);
    peer_teardown(&t);
    g_assert_cmpint(t.replies, ==, 1025);
}

/* The peer closes with our command unread: its last words still count. */
static void test_last_words(void)
{
    QMPPeer t;

    peer_setup(&t);
    peer_connect(&t);
    peer_query(&t, GIVE_UP_MS);
    g_assert_cmpint(send(t.fd, EVENT("SHUTDOWN"),
                         strlen(EVENT("SHUTDOWN")), 0), >, 0);
    peer_close(&t);
    /* This one finds a broken pipe, without SIGPIPE. */
    peer_query(&t, GIVE_UP_MS);
    peer_run();
    peer_expect(&t, "event SHUTDOWN\n" LOST(EOF_WHY) LOST(EOF_WHY)
                END(EOF_WHY));
    peer_teardown(&t);
}

/* The peer reads no more, but could still write. */
static void test_half_closed(void)
{
    QMPPeer t;

    peer_setup(&t);
    peer_connect(&t);
    g_assert_cmpint(shutdown(t.fd, SHUT_RD), ==, 0);
    peer_query(&t, GIVE_UP_MS);
    peer_run();
    peer_expect(&t, LOST(EOF_WHY) END(EOF_WHY));
    peer_teardown(&t);
}

static void test_hang_up(void)
{
    QMPPeer t;
    int other;

    peer_setup(&t);
    peer_connect(&t);
    peer_query(&t, GIVE_UP_MS);
    other = dup(t.fd);
    g_assert_cmpint(other, >=, 0);
    g_assert_cmpint(send(t.fd, EVENT("A") EVENT("B"),
                         strlen(EVENT("A") EVENT("B")), 0), >, 0);
    peer_close(&t);
    qmp_client_hang_up(t.client);
    peer_run();
    peer_expect(&t, "event A\nevent B\n" LOST(EOF_WHY) END(EOF_WHY));
    qmp_client_hang_up(t.client);
    close(other);
    peer_teardown(&t);
}

static size_t heap_used(void)
{
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
    /* Its successor is not everywhere; for our few MiB this one is right. */
    return mallinfo().uordblks;
#pragma GCC diagnostic pop
}

/* Answers all that was sent, each with an event before it. */
static void peer_answer_all(QMPPeer *t, int *id)
{
    g_autofree char *text = peer_hear(t);

    for (char *p = text; (p = strchr(p, '\n')); p++) {
        g_autofree char *reply =
            g_strdup_printf(EVENT("E") "{\"return\": {\"status\": \"x\"}, "
                            "\"id\": %d}\r\n", ++*id);

        g_assert_cmpint(send(t->fd, reply, strlen(reply), 0), >, 0);
    }
    peer_run();
    g_string_truncate(t->trace, 0);
}

static void test_throughput(void)
{
    int64_t begin = g_get_monotonic_time();
    size_t before = 0;
    int id = 1;
    QMPPeer t;

    peer_setup(&t);
    peer_connect(&t);
    for (int i = 0; i < 10000; i++) {
        peer_query(&t, GIVE_UP_MS);
        if (i % 100 == 99) {
            peer_answer_all(&t, &id);
            g_assert_cmpint(t.replies, ==, i + 1);
        }
        if (i == 999) {
            before = heap_used();
        }
    }
    /* The heap keeps some caches; a dict kept per command were 36 MiB. */
    g_assert_cmpint(heap_used(), <, before + 1 * MiB);
    g_test_message("10000 commands, 10000 events in %" PRId64 " ms",
                   (g_get_monotonic_time() - begin) / 1000);
    peer_teardown(&t);
}

/* Others get their turn while a peer floods us with events. */
static gboolean flood(gpointer opaque)
{
    QMPPeer *t = opaque;
    const char *event = EVENT("E");
    ssize_t n;

    do {
        n = send(t->fd, event + t->flood_at, strlen(event) - t->flood_at,
                 MSG_DONTWAIT);
        t->flood_at = (t->flood_at + MAX(n, 0)) % strlen(event);
    } while (n > 0);
    return G_SOURCE_CONTINUE;
}

static void test_flood(void)
{
    guint source;
    QMPPeer t;

    peer_setup(&t);
    peer_connect(&t);
    peer_query(&t, 20);
    source = g_idle_add_full(G_PRIORITY_DEFAULT, flood, &t, NULL);
    peer_run_until(&t, "failed no answer to 'query-status' within 20 ms\n");
    g_assert_nonnull(strstr(t.trace->str, "event E\n"));
    g_source_remove(source);
    peer_teardown(&t);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    for (int i = 0; i < ARRAY_SIZE(scripts); i++) {
        g_autofree char *path = g_strconcat("/colo/qmp/script/",
                                            scripts[i].name, NULL);

        g_test_add_data_func(path, &scripts[i], test_script);
    }
    g_test_add_func("/colo/qmp/commands", test_commands);
    g_test_add_func("/colo/qmp/timeout", test_timeout);
    g_test_add_func("/colo/qmp/timeout-late-us", test_timeout_late_us);
    g_test_add_func("/colo/qmp/not-reading", test_not_reading);
    g_test_add_func("/colo/qmp/not-answering", test_not_answering);
    g_test_add_func("/colo/qmp/last-words", test_last_words);
    g_test_add_func("/colo/qmp/half-closed", test_half_closed);
    g_test_add_func("/colo/qmp/hang-up", test_hang_up);
    g_test_add_func("/colo/qmp/throughput", test_throughput);
    g_test_add_func("/colo/qmp/flood", test_flood);
    return g_test_run();
}
