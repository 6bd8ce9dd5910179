/*
 * Tests of the stream client: right and wrong records, ends, and gaps
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include <sys/socket.h>
#include "guest-proto.h"
#include "stream.h"
#include "colo-fake-guest.h"

typedef struct Client {
    Stream *stream;
    int broken;                 /* calls */
    bool close_when_broken;
} Client;

static void on_broken(void *opaque, const char *why)
{
    Client *client = opaque;

    client->broken++;
    g_assert_cmpstr(why, ==, stream_error(client->stream));
    if (client->close_when_broken) {
        stream_close(client->stream);
        client->stream = NULL;
    }
}

static gboolean on_patience(gpointer opaque)
{
    g_error("nothing happens any more");
    return G_SOURCE_REMOVE;
}

/* One turn of the main loop, which must have something to do. */
static void iterate(void)
{
    guint patience = g_timeout_add(PATIENCE_MS, on_patience, NULL);

    g_main_context_iteration(NULL, TRUE);
    g_source_remove(patience);
}

static void client_open(Client *client, Guest *guest)
{
    client->stream = stream_open(guest->address, guest->port, FIRST, 1000,
                                 PATIENCE_MS, on_broken, client,
                                 &error_abort);
}

static void client_await(Client *client, uint64_t next)
{
    StreamStats stats;

    for (;;) {
        stream_stats(client->stream, &stats);
        if (stats.next == next) {
            break;
        }
        g_assert_null(stream_error(client->stream));
        iterate();
    }
    g_assert_cmpuint(stats.records, ==, next - FIRST);
}

/* The stream breaks at @next, and says @why. */
static void client_await_broken(Client *client, uint64_t next,
                                const char *why)
{
    StreamStats stats;

    while (!client->broken) {
        iterate();
    }
    if (!strstr(stream_error(client->stream), why)) {
        g_error("'%s' expected in: %s", why, stream_error(client->stream));
    }
    g_test_message("%s", stream_error(client->stream));
    stream_stats(client->stream, &stats);
    g_assert_cmpuint(stats.next, ==, next);
    g_assert_cmpuint(stats.records, ==, next - FIRST);
    /* Once only. */
    g_main_context_iteration(NULL, FALSE);
    g_assert_cmpint(client->broken, ==, 1);
}

/* Records come right, cut anywhere */

static void serve_pieces(Guest *guest, int fd)
{
    const int n = 2000;
    g_autofree char *all = g_malloc(n * GUEST_RECORD_SIZE + 1);
    size_t i, len, size = n * GUEST_RECORD_SIZE;

    for (i = 0; i < n; i++) {
        guest_record_format(all + i * GUEST_RECORD_SIZE, FIRST + i);
    }
    for (i = 0; i < size; i += len) {
        len = g_test_rand_int_range(1, 3 * GUEST_RECORD_SIZE);
        len = MIN(len, size - i);
        send_bytes(fd, all + i, len);
    }
}

static void test_right(const void *address)
{
    Guest guest = { .serve = serve_pieces, .address = address };
    Client client = { };
    uint16_t port = 0;
    int fd = make_socket(address, &port);
    StreamStats stats;

    if (fd < 0) {
        g_test_skip("this host does not have the address");
        return;
    }
    close(fd);
    guest_start(&guest);
    client_open(&client, &guest);
    client_await(&client, FIRST + 2000);
    stream_stats(client.stream, &stats);
    g_assert_cmpint(stats.gap_us, >, 0);
    g_assert_cmpint(stats.gap_at_us, <=, stats.last_us);
    client_await_broken(&client, FIRST + 2000,
                        "the guest closed the connection, instead of record "
                        "2005");
    stream_close(client.stream);
    guest_end(&guest);
}

/* Records come wrong */

/*
 * The guest sends @good records, then @len bytes of @bytes; the stream must
 * find fault with them, while the connection stays open.
 */
static void check_wrong(int good, const void *bytes, size_t len,
                        const char *why)
{
    g_autoptr(GString) text = g_string_new(NULL);
    Guest guest = { .serve = serve_answer };
    Client client = { };
    char record[GUEST_RECORD_SIZE + 1];
    int i;

    for (i = 0; i < good; i++) {
        guest_record_format(record, FIRST + i);
        g_string_append_len(text, record, GUEST_RECORD_SIZE);
    }
    g_string_append_len(text, bytes, len);
    guest.answer = text->str;
    guest.answer_len = text->len;
    guest_start(&guest);
    client_open(&client, &guest);
    client_await_broken(&client, FIRST + good, why);
    stream_close(client.stream);
    guest_end(&guest);
}

static void test_wrong_hash(void)
{
    char record[GUEST_RECORD_SIZE + 1];
    g_autofree char *why = NULL;

    guest_record_format(record, FIRST + 3);
    record[GUEST_RECORD_SIZE - 2] ^= 1;
    why = g_strdup_printf("record %d is wrong: \"%.*s\\n\" came instead of "
                          "\"%.10s", FIRST + 3, GUEST_RECORD_SIZE - 1,
                          record, record);
    check_wrong(3, record, GUEST_RECORD_SIZE, why);
}

static void test_skipped_number(void)
{
    char record[GUEST_RECORD_SIZE + 1];

    guest_record_format(record, FIRST + 4);
    check_wrong(3, record, GUEST_RECORD_SIZE, "record 8 is wrong: "
                "\"0000000009 ");
}

static void test_repeated_number(void)
{
    char record[GUEST_RECORD_SIZE + 1];

    guest_record_format(record, FIRST + 2);
    check_wrong(3, record, GUEST_RECORD_SIZE, "record 8 is wrong: "
                "\"0000000007 ");
}

/* Not even a whole record comes; it is found out all the same. */
static void test_garbage(void)
{
    check_wrong(0, "error no such thing\n", 20, "record 5 is wrong: "
                "\"error no such thing\\n\" came instead of \"0000000005 ");
    check_wrong(2, "\0\x1b[2J\xff", 6,
                "record 7 is wrong: \"\\x00\\x1b[2J\\xff\" came");
    check_wrong(2, "\"\\", 2, "record 7 is wrong: \"\\\"\\\\\" came");
    check_wrong(1, "x", 1, "record 6 is wrong: \"x\" came");
}

static void test_extra_byte(void)
{
    char record[GUEST_RECORD_SIZE + 1];

    guest_record_format(record, FIRST + 1);
    memmove(record + 1, record, GUEST_RECORD_SIZE - 1);
    record[0] = '\n';
    check_wrong(1, record, GUEST_RECORD_SIZE, "record 6 is wrong: \"\\n000");
}

/* A flood, and all of it in one go: one report, no more memory. */
static void test_flood(void)
{
    g_autofree char *flood = g_malloc(64 * 1024);

    memset(flood, '0', 64 * 1024);
    check_wrong(1, flood, 64 * 1024, "record 6 is wrong: \"0000000000");
}

/* The connection ends */

static void serve_reset(Guest *guest, int fd)
{
    struct linger now = { .l_onoff = 1 };

    send_records(fd, FIRST, FIRST + 3);
    guest_wait(guest);
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
}

static void test_cut(void)
{
    Guest guest = { .serve = serve_cut };
    Client client = { };

    guest_start(&guest);
    client_open(&client, &guest);
    client_await_broken(&client, FIRST + 3, "the guest closed the "
                        "connection, instead of record 8, of which came "
                        "\"0000000\"");
    stream_close(client.stream);
    guest_end(&guest);
}

static void test_close(void)
{
    Guest guest = { .serve = serve_and_close };
    Client client = { };

    guest_start(&guest);
    client_open(&client, &guest);
    client_await_broken(&client, FIRST, "instead of record 5");
    stream_close(client.stream);
    guest_end(&guest);
}

static void test_reset(void)
{
    Guest guest = { .serve = serve_reset };
    Client client = { };

    guest_start(&guest);
    client_open(&client, &guest);
    client_await(&client, FIRST + 3);
    guest_go(&guest);
    client_await_broken(&client, FIRST + 3, "the connection broke "
                        "(Connection reset by peer), instead of record 8");
    stream_close(client.stream);
    guest_end(&guest);
}

static void test_close_when_broken(void)
{
    Guest guest = { .serve = serve_and_close };
    Client client = { .close_when_broken = true };

    guest_start(&guest);
    client_open(&client, &guest);
    while (!client.broken) {
        iterate();
    }
    guest_end(&guest);

    guest = (Guest) { .serve = serve_answer, .answer = "x",
                      .answer_len = 1 };
    client.broken = 0;
    guest_start(&guest);
    client_open(&client, &guest);
    while (!client.broken) {
        iterate();
    }
    g_assert_null(client.stream);
    guest_end(&guest);
    stream_close(NULL);
}

static void test_close_while_running(void)
{
    Guest guest = { .serve = serve_reset };
    Client client = { };

    guest_start(&guest);
    client_open(&client, &guest);
    client_await(&client, FIRST + 3);
    stream_close(client.stream);
    g_main_context_iteration(NULL, FALSE);
    g_assert_cmpint(client.broken, ==, 0);
    guest_end(&guest);
}

/* The gap */

static void serve_stall(Guest *guest, int fd)
{
    int i;

    send_records(fd, FIRST, FIRST + 10);
    for (i = 10; i < 12; i++) {
        guest_wait(guest);
        g_usleep(50 * 1000);
        guest->resumed_us = g_get_monotonic_time();
        send_records(fd, FIRST + i, FIRST + i + 1);
    }
    guest_wait(guest);
}

/*
 * The client notes a record after the guest has sent it and before the test
 * sees it counted: so the gap lies between two times that the test knows,
 * however slow the machine is.
 */
static void test_gap(void)
{
    Guest guest = { .serve = serve_stall };
    Client client = { };
    StreamStats before, after;
    int64_t now;

    guest_start(&guest);
    client_open(&client, &guest);
    client_await(&client, FIRST + 10);
    stream_reset_gap(client.stream);
    stream_stats(client.stream, &before);
    g_assert_cmpint(before.gap_us, ==, 0);
    g_assert_cmpint(before.gap_at_us, ==, 0);

    guest_go(&guest);
    client_await(&client, FIRST + 11);
    now = g_get_monotonic_time();
    stream_stats(client.stream, &after);
    g_assert_cmpint(after.gap_us, >=, guest.resumed_us - before.last_us);
    g_assert_cmpint(after.gap_us, >=, 50 * 1000);
    g_assert_cmpint(after.gap_us, <=, now - before.last_us);
    g_assert_cmpint(after.gap_at_us, ==, after.last_us);
    g_assert_cmpint(after.gap_us, ==, after.last_us - before.last_us);

    /* What has been forgotten does not come back; the next is apart. */
    stream_reset_gap(client.stream);
    before = after;
    guest_go(&guest);
    client_await(&client, FIRST + 12);
    stream_stats(client.stream, &after);
    g_assert_cmpint(after.gap_us, ==, after.last_us - before.last_us);

    /* And the one that is not over yet. */
    now = g_get_monotonic_time();
    g_usleep(20 * 1000);
    stream_stats(client.stream, &after);
    g_assert_cmpint(after.current_gap_us, >=, now - after.last_us + 20000);
    g_assert_cmpint(after.current_gap_us, <=,
                    g_get_monotonic_time() - after.last_us);
    stream_close(client.stream);
    guest_end(&guest);
}

/* It is us who let the guest listen: so the main loop must go on. */
static void test_refused_then_listening(void)
{
    Guest guest = { .serve = serve_cut };
    Client client = { };

    guest_bind(&guest);
    g_timeout_add(350, guest_on_listen, &guest);
    client_open(&client, &guest);
    client_await_broken(&client, FIRST + 3, "record 8");
    stream_close(client.stream);
    guest_end(&guest);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *path;
        void (*fn)(void);
    } tests[] = {
        { "/colo/stream/wrong-hash", test_wrong_hash },
        { "/colo/stream/skipped-number", test_skipped_number },
        { "/colo/stream/repeated-number", test_repeated_number },
        { "/colo/stream/garbage", test_garbage },
        { "/colo/stream/extra-byte", test_extra_byte },
        { "/colo/stream/flood", test_flood },
        { "/colo/stream/cut", test_cut },
        { "/colo/stream/close", test_close },
        { "/colo/stream/reset", test_reset },
        { "/colo/stream/close-when-broken", test_close_when_broken },
        { "/colo/stream/close-while-running", test_close_while_running },
        { "/colo/stream/gap", test_gap },
        { "/colo/stream/refused-then-listening",
          test_refused_then_listening },
    };
    size_t i;

    g_test_init(&argc, &argv, NULL);
    g_test_add_data_func("/colo/stream/right/ip4", "127.0.0.1", test_right);
    g_test_add_data_func("/colo/stream/right/ip6", "::1", test_right);
    for (i = 0; i < ARRAY_SIZE(tests); i++) {
        g_test_add_func(tests[i].path, tests[i].fn);
    }
    return g_test_run();
}
