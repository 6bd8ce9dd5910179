/*
 * filter-mirror and filter-redirector with hostile, slow and missing peers
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qapi/qmp/qdict.h"
#include "qemu/bswap.h"
#include "qemu/sockets.h"
#include "qemu/units.h"
#include "colo-net-rig.h"

/* What QMP may take to answer */
#define QMP_MS 1000

/* The wire, the mirror, an inserted and a taken frame */
static void test_ways(void)
{
    Net net;
    int mirror, in, sink, guest, out;

    net_start(&net);
    mirror = net_connect(&net, "mirror");
    in = net_connect(&net, "in");
    sink = net_connect(&net, "sink");
    guest = net_connect(&net, "guest");
    out = net_connect(&net, "out");

    send_frame(net.wire, "from the wire");
    expect_frame(mirror, "from the wire");
    expect_frame(sink, "from the wire");
    send_frame(in, "from a peer");
    expect_frame(sink, "from a peer");
    send_frame(guest, "from the guest");
    expect_frame(out, "from the guest");
    expect_nothing(mirror);
    expect_nothing(net.wire);

    g_assert_cmpuint(stat_get(&net, "f-mirror", "out-frames"), ==, 1);
    g_assert_cmpuint(stat_get(&net, "f-mirror", "out-bytes"), ==,
                     4 + frame_size("from the wire"));
    g_assert_cmpuint(stat_get(&net, "f-sink", "out-frames"), ==, 2);
    g_assert_cmpuint(stat_get(&net, "f-in", "in-frames"), ==, 1);
    g_assert_cmpuint(stat_get(&net, "f-in", "in-bytes"), ==,
                     4 + frame_size("from a peer"));
    close(mirror);
    close(in);
    close(sink);
    close(guest);
    close(out);
    net_end(&net);
}

static const struct {
    const char *name;
    size_t size;
    const char *bytes;
} nonsense[] = {
    { "empty-frame", 4, "\0\0\0\0" },
    { "oversize", 4, "\x00\x01\x10\x01" },
    { "2 GiB", 4, "\x7f\xff\xff\xff" },
    { "long-marker", 4, "\x80\x00\x10\x00" },
    { "epoch-0", 16, "\x80\x00\x00\x0c\0\0\0\1\0\0\0\0\0\0\0\0" },
};

static void test_nonsense(void)
{
    Net net;
    QDict *event, *data;
    int sink;

    net_start(&net);
    sink = net_connect(&net, "sink");
    for (int i = 0; i < ARRAY_SIZE(nonsense); i++) {
        int in = net_connect(&net, "in");

        send_frame(in, nonsense[i].name);
        expect_frame(sink, nonsense[i].name);
        send_bytes(in, nonsense[i].bytes, nonsense[i].size);
        expect_closed(in);
        stat_wait(&net, "f-in", "in-errors", i + 1);
        expect_nothing(sink);
    }
    /* An event for the first one; the others came too soon for theirs */
    event = qtest_qmp_eventwait_ref(net.qts, "COLO_NET_ERROR");
    data = qdict_get_qdict(event, "data");
    g_assert_cmpstr(qdict_get_str(data, "id"), ==, "f-in");
    g_assert_nonnull(strstr(qdict_get_str(data, "reason"), "a frame of 0 bytes"));
    qobject_unref(event);
    g_assert_null(qtest_qmp_event_ref(net.qts, "COLO_NET_ERROR"));
    close(sink);
    net_end(&net);
}

/*
 * The peer is gone before its nonsense was read.  QEMU may notice the one first or
 * the other; where it is the end, the chardev is closing already.
 */
static void test_nonsense_and_end(gconstpointer chardev)
{
    enum { TIMES = 200 };
    Net net;
    g_autofree char *filter = g_strdup_printf("f-%s", (const char *)chardev);
    g_autofree char *path = NULL;

    net_start(&net);
    path = g_build_filename(net.dir, chardev, NULL);
    for (int i = 0; i < TIMES; i++) {
        int fd = unix_connect(path, &error_abort);

        send_bytes(fd, nonsense[0].bytes, nonsense[0].size);
        close(fd);
        stat_wait(&net, filter, "in-connections", i + 1);
    }
    stat_wait(&net, filter, "in-errors", TIMES);
    net_end(&net);
}

static void test_reconnect(void)
{
    Net net;
    int in, sink;

    net_start(&net);
    sink = net_connect(&net, "sink");

    /* Cut short in the length, and in the frame */
    in = net_connect(&net, "in");
    send_bytes(in, "\0\0", 2);
    close(in);
    in = net_connect(&net, "in");
    send_bytes(in, "\0\0\0\x14half", 8);
    close(in);
    in = net_connect(&net, "in");
    send_frame(in, "whole");
    expect_frame(sink, "whole");
    close(in);

    /* What was sent before the end counts, though the end is there at once */
    for (int i = 0; i < 20; i++) {
        in = net_connect(&net, "in");
        for (int j = 0; j < 300; j++) {
            send_frame(in, "before the end");
        }
        close(in);
        for (int j = 0; j < 300; j++) {
            expect_frame(sink, "before the end");
        }
    }
    g_assert_cmpuint(stat_get(&net, "f-in", "in-errors"), ==, 0);
    close(sink);
    net_end(&net);
}

/* What a redirector takes never gets any further, peer or no peer */
static void test_no_leak(void)
{
    Net net;
    int guest, out;

    net_start(&net);
    guest = net_connect(&net, "guest");
    send_frame(guest, "there never was a peer");
    stat_wait(&net, "f-out", "out-dropped", 1);
    expect_nothing(net.wire);

    out = net_connect(&net, "out");
    send_frame(guest, "one");
    expect_frame(out, "one");
    close(out);
    /* QEMU may learn of it before, while, or after it writes */
    for (int i = 0; i < 100; i++) {
        send_frame(guest, "the peer is gone");
    }
    stat_wait(&net, "f-guest", "in-frames", 102);
    out = net_connect(&net, "out");
    send_frame(guest, "two");
    expect_frame(out, "two");
    expect_nothing(net.wire);
    close(out);
    close(guest);
    net_end(&net);
}

/*
 * More than the queue holds, to peers that do not read: QMP answers all the
 * time, what is over is dropped and counted, and what was queued comes whole.
 */
static void test_not_reading(void)
{
    enum { SIZE = 60000, COUNT = 1000 };
    g_autofree char *data = g_malloc(SIZE);
    Net net;
    int mirror, sink;
    int64_t slowest = 0;
    uint64_t dropped, max, frames = 0;
    uint32_t last = 0;

    net_start(&net);
    mirror = net_connect(&net, "mirror");
    memset(data, 'x', SIZE);
    for (uint32_t i = 0; i < COUNT; i++) {
        uint32_t len = cpu_to_be32(SIZE);

        send_bytes(net.wire, &len, sizeof(len));
        stl_be_p(data, i);
        send_bytes(net.wire, data, SIZE);
        if (i % 10 == 0) {
            int64_t begin = g_get_monotonic_time();

            stat_get(&net, "f-mirror", "out-queue");
            slowest = MAX(slowest, g_get_monotonic_time() - begin);
        }
    }
    g_test_message("slowest answer of QMP: %.1f ms", slowest / 1000.0);
    g_assert_cmpint(slowest, <, QMP_MS * 1000);

    /* Each was dropped at the sink, and what did not fit at the mirror */
    stat_wait(&net, "f-sink", "out-dropped", COUNT);
    dropped = stat_get(&net, "f-mirror", "out-dropped");
    max = stat_get(&net, "f-mirror", "out-queue-max");
    g_assert_cmpuint(dropped, >, COUNT / 2);
    g_assert_cmpuint(max, >, 15 * MiB);
    g_assert_cmpuint(max, <=, 16 * MiB);
    g_assert_cmpuint(stat_get(&net, "f-mirror", "out-queue"), <=, max);

    for (uint64_t i = 0; i < COUNT - dropped; i++) {
        uint32_t len, number;

        receive_bytes(mirror, &len, sizeof(len), "a queued frame");
        g_assert_cmpuint(be32_to_cpu(len), ==, SIZE);
        receive_bytes(mirror, data, SIZE, "the rest of a queued frame");
        number = ldl_be_p(data);
        g_assert_cmpuint(number, ==, i ? last + 1 : 0);
        last = number;
        frames++;
    }
    g_assert_cmpuint(frames, >, 200);
    expect_nothing(mirror);
    stat_wait(&net, "f-mirror", "out-queue", 0);

    /* It works again */
    sink = net_connect(&net, "sink");
    send_frame(net.wire, "again");
    expect_frame(mirror, "again");
    expect_frame(sink, "again");
    close(sink);
    close(mirror);
    net_end(&net);
}

/* A stopped peer is deleted along with its queue; the next gets whole frames */
static void test_delete_while_full(void)
{
    enum { SIZE = 60000, COUNT = 100 };
    g_autofree char *data = g_malloc0(SIZE);
    Net net;
    int mirror;

    net_start(&net);
    mirror = net_connect(&net, "mirror");
    for (uint32_t i = 0; i < COUNT; i++) {
        uint32_t len = cpu_to_be32(SIZE);

        send_bytes(net.wire, &len, sizeof(len));
        send_bytes(net.wire, data, SIZE);
    }
    stat_wait(&net, "f-sink", "out-dropped", COUNT);
    g_assert_cmpuint(stat_get(&net, "f-mirror", "out-queue"), >, 0);
    qtest_qmp_assert_success(net.qts, "{'execute': 'object-del', 'arguments': "
                             "{'id': 'f-mirror'}}");
    qtest_qmp_assert_success(net.qts, "{'execute': 'object-add', 'arguments': "
                             "{'qom-type': 'filter-mirror', 'id': 'f-mirror', "
                             "'netdev': 'wire', 'queue': 'tx', "
                             "'position': 'head', 'outdev': 'mirror'}}");
    close(mirror);
    mirror = net_connect(&net, "mirror");
    send_frame(net.wire, "afresh");
    expect_frame(mirror, "afresh");
    close(mirror);
    net_end(&net);
}

/* A marker of an epoch that has not begun here: what follows waits */
static void test_marker(void)
{
    static const char marker[] = "\x80\x00\x00\x0c\0\0\0\1\0\0\0\0\0\0\0\5";
    Net net;
    int in, sink;
    uint64_t before;

    net_start(&net);
    sink = net_connect(&net, "sink");
    in = net_connect(&net, "in");
    send_frame(in, "no marker yet");
    expect_frame(sink, "no marker yet");
    before = stat_get(&net, "f-in", "in-bytes");
    send_bytes(in, marker, 16);
    stat_wait(&net, "f-in", "in-bytes", before + 16);
    send_frame(in, "of an epoch to come");
    /* Other frames pass all the same */
    send_frame(net.wire, "from the wire");
    expect_frame(sink, "from the wire");
    g_assert_cmpuint(stat_get(&net, "f-in", "in-frames"), ==, 1);
    close(in);

    /* Anew, the stream has to say first which epoch it is in */
    in = net_connect(&net, "in");
    send_frame(in, "of some epoch");
    stat_wait(&net, "f-in", "in-dropped", 1);
    send_frame(net.wire, "from the wire");
    expect_frame(sink, "from the wire");
    expect_nothing(sink);
    close(in);
    close(sink);
    net_end(&net);
}

static void expect_refused(Net *net, const char *properties, const char *text)
{
    g_autofree char *command = g_strdup_printf(
        "{'execute': 'object-add', 'arguments': {'id': 'x', %s}}", properties);
    QDict *answer = qtest_qmp(net->qts, command, NULL);
    const char *desc;

    g_assert(qdict_haskey(answer, "error"));
    desc = qdict_get_str(qdict_get_qdict(answer, "error"), "desc");
    if (!strstr(desc, text)) {
        g_error("%s does not say: %s", desc, text);
    }
    qobject_unref(answer);
}

static void test_refused(void)
{
    Net net;

    net_start(&net);
    expect_refused(&net, "'qom-type': 'filter-mirror', 'netdev': 'wire'",
                   "'outdev' is missing");
    expect_refused(&net, "'qom-type': 'filter-mirror', 'netdev': 'wire', "
                   "'outdev': 'nowhere'", "'nowhere' not found");
    expect_refused(&net, "'qom-type': 'filter-mirror', 'netdev': 'wire', "
                   "'outdev': 'sink'", "in use");
    expect_refused(&net, "'qom-type': 'filter-redirector', 'netdev': 'wire'",
                   "needs 'indev' or 'outdev'");
    expect_refused(&net, "'qom-type': 'filter-redirector', 'netdev': 'wire', "
                   "'indev': 'in', 'outdev': 'in'", "two chardevs");
    expect_refused(&net, "'qom-type': 'filter-redirector', 'netdev': 'wire', "
                   "'indev': 'nowhere'", "'nowhere' not found");
    net_end(&net);
}

/* COLO does not begin on a chain whose parts speak differently. */
static void test_unequal(void)
{
    Net net;
    QDict *answer;
    const char *desc;

    net_start(&net);
    qtest_qmp_assert_success(net.qts, "{'execute': 'object-del', 'arguments': "
                             "{'id': 'f-out'}}");
    qtest_qmp_assert_success(net.qts, "{'execute': 'object-add', 'arguments': "
                             "{'qom-type': 'filter-redirector', 'id': 'f-out', "
                             "'netdev': 'wire', 'queue': 'rx', 'outdev': 'out', "
                             "'vnet_hdr_support': true}}");
    qtest_qmp_assert_success(net.qts,
        "{'execute': 'migrate-set-capabilities', 'arguments': {'capabilities': "
        "[{'capability': 'x-colo', 'state': true}]}}");
    answer = qtest_qmp(net.qts, "{'execute': 'migrate', 'arguments': "
                       "{'uri': 'tcp:127.0.0.1:1'}}");
    g_assert(qdict_haskey(answer, "error"));
    desc = qdict_get_str(qdict_get_qdict(answer, "error"), "desc");
    g_assert_nonnull(strstr(desc, "only one has vnet_hdr_support"));
    g_assert_nonnull(strstr(desc, "give vnet_hdr_support=on to all"));
    qobject_unref(answer);
    net_end(&net);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    qtest_add_func("/colo-net/ways", test_ways);
    qtest_add_func("/colo-net/nonsense", test_nonsense);
    qtest_add_data_func("/colo-net/nonsense-and-end/guest", "in",
                        test_nonsense_and_end);
    qtest_add_data_func("/colo-net/nonsense-and-end/netdev", "guest",
                        test_nonsense_and_end);
    qtest_add_func("/colo-net/reconnect", test_reconnect);
    qtest_add_func("/colo-net/no-leak", test_no_leak);
    qtest_add_func("/colo-net/not-reading", test_not_reading);
    qtest_add_func("/colo-net/delete-while-full", test_delete_while_full);
    qtest_add_func("/colo-net/marker", test_marker);
    qtest_add_func("/colo-net/refused", test_refused);
    qtest_add_func("/colo-net/unequal", test_unequal);
    return g_test_run();
}
