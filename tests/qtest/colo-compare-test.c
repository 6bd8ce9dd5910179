/*
 * colo-compare, with this program as P, S and what runs Xen's COLO
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "qemu/sockets.h"
#include "qapi/error.h"
#include "qapi/qmp/qdict.h"
#include "qapi/qmp/qjson.h"
#include "colo-compare-rig.h"

static Rig *colo_compare(const char *options)
{
    Rig *rig = rig_new();

    rig->qts = qtest_initf(
        "-M none -object iothread,id=io "
        "-chardev socket,id=pri,path=%s/pri,server=on,wait=off "
        "-chardev socket,id=sec,path=%s/sec,server=on,wait=off "
        "-chardev socket,id=out,path=%s/out,server=on,wait=off "
        "-chardev socket,id=xen,path=%s/xen,server=on,wait=off "
        "-object colo-compare,id=c0,primary_in=pri,secondary_in=sec,outdev=out,"
        "notify_dev=xen,iothread=io" NO_TIMEOUT "%s",
        rig->dir, rig->dir, rig->dir, rig->dir, options);
    rig->notify = connect_to(rig, "xen");
    rig->out = connect_to(rig, "out");
    rig->in = connect_to(rig, "pri");
    rig->secondary = connect_to(rig, "sec");
    return rig;
}

static void send_text(int fd, const char *text)
{
    uint8_t len[4];

    stl_be_p(len, strlen(text));
    send_all(fd, len, sizeof(len));
    send_all(fd, text, strlen(text));
}

static void expect_text(int fd, const char *text)
{
    char frame[64] = "";
    uint8_t len[4];

    g_assert_cmpuint(receive(fd, len, sizeof(len)), ==, sizeof(len));
    g_assert_cmpuint(ldl_be_p(len), ==, strlen(text));
    g_assert_cmpuint(receive(fd, frame, strlen(text)), ==, strlen(text));
    g_assert_cmpstr(frame, ==, text);
}

/*
 * Leave, and wait until QEMU has let go of the connection.  query-chardev would tell,
 * too, but reads what the compare thread frees.
 */
static void leave_out(Rig *rig)
{
    shutdown(rig->out, SHUT_WR);
    expect_closed(rig->out);
    rig->out = -1;
}

static void test_colo_compare(void)
{
    Rig *rig = colo_compare("");

    compare_some(rig);
    expect_text(rig->notify, "DO_CHECKPOINT");
    send_text(rig->notify, "COLO_CHECKPOINT");
    expect_frame(rig->out, 1, 'c');
    expect_frame(rig->out, 1, 'd');
    g_assert_cmpuint(statistic(rig, "matches"), ==, 3);
    g_assert_cmpuint(statistic(rig, "mismatches-data"), ==, 1);
    g_assert_cmpuint(statistic(rig, "released-by-checkpoint"), ==, 2);
    g_assert_cmpuint(statistic(rig, "queue-packets"), ==, 0);
    g_assert_cmpuint(statistic(rig, "queue-packets-max"), >=, 2);
    rig_free(rig);
}

static void test_xen(void)
{
    Rig *rig = colo_compare("");

    send_text(rig->notify, "COLO_USERSPACE_PROXY_INIT");
    expect_text(rig->notify, "COLO_COMPARE_GET_XEN_INIT");
    send_text(rig->notify, "WHAT_IS_THIS");
    send_text(rig->notify, "COLO_USERSPACE_PROXY_INIT");
    expect_text(rig->notify, "COLO_COMPARE_GET_XEN_INIT");
    rig_free(rig);
}

static void test_timeout(void)
{
    Rig *rig = colo_compare(",compare_timeout=50,expired_scan_cycle=10");

    send_frame(rig->in, 1, 'a');
    expect_text(rig->notify, "DO_CHECKPOINT");
    g_assert_cmpuint(statistic(rig, "mismatches-timeout"), ==, 1);
    rig_free(rig);
}

static void test_full(void)
{
    Rig *rig = colo_compare(",max_queue_size=3");

    for (int i = 0; i < 10; i++) {
        send_frame(rig->in, 1, i);
    }
    expect_text(rig->notify, "DO_CHECKPOINT");
    /* All ten have been read when this one is out */
    send_frame(rig->in, 2, 'a');
    send_frame(rig->secondary, 2, 'a');
    expect_frame(rig->out, 2, 'a');
    send_text(rig->notify, "COLO_CHECKPOINT");
    for (int i = 0; i < 10; i++) {
        expect_frame(rig->out, 1, i);
    }
    rig_free(rig);
}

static void test_secondary_down(void)
{
    Rig *rig = colo_compare("");

    secondary_down(rig);
    rig_free(rig);
}

/* Released while nobody reads outdev: it comes when somebody does */
static void test_out_down(void)
{
    Rig *rig = colo_compare("");

    leave_out(rig);
    send_frame(rig->in, 1, 'a');
    send_frame(rig->secondary, 1, 'a');
    wait_statistic(rig, "matches", 1);
    rig->out = connect_to(rig, "out");
    send_frame(rig->in, 1, 'b');
    send_frame(rig->secondary, 1, 'b');
    expect_frame(rig->out, 1, 'a');
    expect_frame(rig->out, 1, 'b');
    rig_free(rig);
}

/*
 * A reader that stops holds up nothing but the primary's stream, and nothing is
 * lost: more is sent than all queues on the way take together.
 */
enum { STALLED_FRAMES = 250000, STALLED_BLOCK = 500 };

static void *send_many(void *opaque)
{
    Rig *rig = opaque;

    for (uint32_t i = 0; i < STALLED_FRAMES; i += STALLED_BLOCK) {
        for (uint32_t k = i; k < i + STALLED_BLOCK; k++) {
            send_frame(rig->secondary, 1, k);
        }
        for (uint32_t k = i; k < i + STALLED_BLOCK; k++) {
            send_frame(rig->in, 1, k);
        }
    }
    return NULL;
}

static void test_out_stalled(void)
{
    Rig *rig = colo_compare(",max_queue_size=1000000");
    GThread *sender = g_thread_new("sender", send_many, rig);
    uint64_t packets = 0, before;

    /* Until nothing moves any more; were it too early, less would be tested */
    do {
        before = packets;
        g_usleep(500 * 1000);
        packets = statistic(rig, "primary-packets");
    } while (packets != before || !packets);
    g_assert_cmpuint(packets, <, STALLED_FRAMES);
    for (uint32_t i = 0; i < STALLED_FRAMES; i++) {
        expect_frame(rig->out, 1, i);
    }
    g_thread_join(sender);
    g_assert_cmpuint(statistic(rig, "matches"), ==, STALLED_FRAMES);
    g_assert_cmpuint(statistic(rig, "secondary-dropped"), ==, 0);
    rig_free(rig);
}

static void test_hostile_secondary(void)
{
    Rig *rig = colo_compare("");

    hostile_peer(rig, &rig->secondary, "sec");
    rig_free(rig);
}

static void test_hostile_primary(void)
{
    Rig *rig = colo_compare("");

    hostile_peer(rig, &rig->in, "pri");
    rig_free(rig);
}

/* What a well-formed frame may hold: lengths and offsets that lie */
static void test_hostile_packets(void)
{
    enum { PACKETS = 3000 };
    Rig *rig = colo_compare("");
    GRand *random = g_rand_new_with_seed(1);

    for (int i = 0; i < PACKETS; i++) {
        uint8_t frame[4 + 100] = {
            0, 0, 0, 0, 2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0,
            0x45, 0, 0, 60, 0, 0, 0, 0, 64, 6,
        };
        uint32_t len = g_rand_int_range(random, 1, 101);

        for (int k = 0; k < 6; k++) {
            frame[g_rand_int_range(random, 16, sizeof(frame))] =
                g_rand_int_range(random, 0, 256);
        }
        stl_be_p(frame, len);
        send_all(rig->in, frame, 4 + len);
        if (i % 2) {
            frame[g_rand_int_range(random, 16, sizeof(frame))] ^= 1;
        }
        send_all(rig->secondary, frame, 4 + len);
    }
    g_rand_free(random);
    wait_statistic(rig, "primary-packets", PACKETS);
    wait_statistic(rig, "secondary-packets", PACKETS);
    rig_free(rig);
}

static void test_epochs(void)
{
    Rig *rig = colo_compare("");

    /* Epoch 1 has not begun here: what is sent in it has to wait */
    send_marker(rig->secondary, 1);
    send_frame(rig->secondary, 1, 'a');
    send_frame(rig->in, 1, 'a');
    wait_statistic(rig, "secondary-new-epoch", 1);
    g_assert_cmpuint(statistic(rig, "matches"), ==, 0);
    rig_free(rig);
}

/* Failing to make one must not end QEMU, nor leave anything taken */
static void test_object_add(void)
{
    static const char *const bad[] = {
        "'primary_in': 'no', 'secondary_in': 'sec', 'outdev': 'out'",
        "'primary_in': 'pri', 'secondary_in': 'no', 'outdev': 'out'",
        "'primary_in': 'pri', 'secondary_in': 'sec', 'outdev': 'no'",
        "'primary_in': 'pri', 'secondary_in': 'pri', 'outdev': 'out'",
        "'primary_in': 'pri', 'secondary_in': 'sec', 'outdev': 'sec'",
        "'primary_in': 'nul', 'secondary_in': 'sec', 'outdev': 'out'",
        "'primary_in': 'pri', 'secondary_in': 'sec', 'outdev': 'out', "
        "'notify_dev': 'no'",
        "'primary_in': 'pri', 'secondary_in': 'sec', 'outdev': 'out', "
        "'compare_timeout': 0",
        "'primary_in': 'pri', 'secondary_in': 'sec', 'outdev': 'taken'",
    };
    Rig *rig = rig_new();

    rig->qts = qtest_initf(
        "-M none -object iothread,id=io -chardev null,id=nul "
        "-chardev socket,id=pri,path=%s/pri,server=on,wait=off "
        "-chardev socket,id=sec,path=%s/sec,server=on,wait=off "
        "-chardev socket,id=out,path=%s/out,server=on,wait=off "
        "-chardev socket,id=taken,path=%s/xen,server=on,wait=off "
        "-mon taken", rig->dir, rig->dir, rig->dir, rig->dir);
    for (int i = 0; i < ARRAY_SIZE(bad); i++) {
        g_autofree char *command = g_strdup_printf(
            "{'execute': 'object-add', 'arguments': {'qom-type': "
            "'colo-compare', 'id': 'c0', 'iothread': 'io', %s}}", bad[i]);
        QDict *answer = qtest_qmp(rig->qts, "%p",
                                  qobject_from_json(command, &error_abort));

        g_test_message("%s", bad[i]);
        g_assert(qdict_haskey(answer, "error"));
        qobject_unref(answer);
    }
    for (int i = 0; i < 3; i++) {
        qtest_qmp_assert_success(rig->qts,
            "{'execute': 'object-add', 'arguments': {'qom-type': "
            "'colo-compare', 'id': 'c0', 'iothread': 'io', "
            "'primary_in': 'pri', 'secondary_in': 'sec', 'outdev': 'out'}}");
        rig->in = connect_to(rig, "pri");
        send_frame(rig->in, 1, 'a');
        qtest_qmp_assert_success(rig->qts,
            "{'execute': 'object-del', 'arguments': {'id': 'c0'}}");
        close(rig->in);
    }
    rig->in = -1;
    rig_free(rig);
}

static void test_quit(void)
{
    quit_primary(colo_compare(""));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    qtest_add_func("colo-compare/compare", test_colo_compare);
    qtest_add_func("colo-compare/xen", test_xen);
    qtest_add_func("colo-compare/timeout", test_timeout);
    qtest_add_func("colo-compare/full", test_full);
    qtest_add_func("colo-compare/secondary-down", test_secondary_down);
    qtest_add_func("colo-compare/out-down", test_out_down);
    qtest_add_func("colo-compare/out-stalled", test_out_stalled);
    qtest_add_func("colo-compare/hostile-secondary", test_hostile_secondary);
    qtest_add_func("colo-compare/hostile-primary", test_hostile_primary);
    qtest_add_func("colo-compare/hostile-packets", test_hostile_packets);
    qtest_add_func("colo-compare/epochs", test_epochs);
    qtest_add_func("colo-compare/object-add", test_object_add);
    qtest_add_func("colo-compare/quit", test_quit);
    return g_test_run();
}
