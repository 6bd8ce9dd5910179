/*
 * colo-compare and filter-compare in one QEMU, with this program as P and S
 *
 * Frames are of a made-up EtherType; the last byte of the source address tells
 * flows apart.  To see that a frame is held, none is waited for: one of another
 * flow is sent after it, and must be the first to come out.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include <poll.h>
#include "qemu/bswap.h"
#include "qemu/sockets.h"
#include "qapi/error.h"
#include "qapi/qmp/qdict.h"
#include "libqtest.h"

#define WAIT_MS (60 * 1000)
#define FRAME_LEN 60

/* Nothing waits so long for its like, however slow the machine */
#define NO_TIMEOUT ",compare_timeout=600000"

typedef struct Rig {
    QTestState *qts;
    char *dir;
    int in;             /* what P's guest sends */
    int secondary;
    int out;            /* what leaves */
    int notify;         /* of colo-compare; or -1 */
    int backend[2];
} Rig;

/* Sockets */

static char *path_of(const Rig *rig, const char *name)
{
    return g_strdup_printf("%s/%s", rig->dir, name);
}

static int connect_to(const Rig *rig, const char *name)
{
    g_autofree char *path = path_of(rig, name);
    int fd = unix_connect(path, &error_abort);

    g_assert_cmpint(fd, >=, 0);
    return fd;
}

static void send_all(int fd, const void *data, size_t len)
{
    g_assert_cmpint(qemu_write_full(fd, data, len), ==, len);
}

/* The bytes that have come within the time, up to @len; 0: the end */
static size_t receive(int fd, void *data, size_t len)
{
    size_t got = 0;

    while (got < len) {
        struct pollfd p = { .fd = fd, .events = POLLIN };
        ssize_t n;

        if (poll(&p, 1, WAIT_MS) != 1) {
            g_error("%d ms, and neither a frame nor the end of the connection",
                    WAIT_MS);
        }
        n = read(fd, (char *)data + got, len - got);
        if (n <= 0) {
            return got;
        }
        got += n;
    }
    return got;
}

static void expect_closed(int fd)
{
    char byte;

    g_assert_cmpuint(receive(fd, &byte, 1), ==, 0);
    close(fd);
}

/* Frames */

static void send_frame(int fd, uint8_t flow, uint8_t content)
{
    uint8_t frame[4 + FRAME_LEN] = {
        0, 0, 0, FRAME_LEN, 2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, flow, 0x88, 0xb5,
    };

    memset(frame + 18, content, sizeof(frame) - 18);
    send_all(fd, frame, sizeof(frame));
}

static void send_marker(int fd, uint64_t epoch)
{
    uint8_t marker[16] = { 0x80, 0, 0, 12, 0, 0, 0, 1 };

    stq_be_p(marker + 8, epoch);
    send_all(fd, marker, sizeof(marker));
}

static void expect_frame(int fd, uint8_t flow, uint8_t content)
{
    uint8_t frame[4 + FRAME_LEN];

    g_assert_cmpuint(receive(fd, frame, sizeof(frame)), ==, sizeof(frame));
    g_assert_cmpuint(ldl_be_p(frame), ==, FRAME_LEN);
    g_assert_cmpuint(frame[15], ==, flow);
    g_assert_cmpuint(frame[18], ==, content);
    g_assert_cmpuint(frame[sizeof(frame) - 1], ==, content);
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

static uint64_t statistic(const Rig *rig, const char *name)
{
    QDict *answer = qtest_qmp(rig->qts, "{'execute': 'qom-get', 'arguments': "
                              "{'path': '/objects/c0', 'property': %s}}", name);
    uint64_t value;

    g_assert(qdict_haskey(answer, "return"));
    value = qdict_get_int(answer, "return");
    qobject_unref(answer);
    return value;
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

static void wait_statistic(const Rig *rig, const char *name, uint64_t value)
{
    int64_t end = g_get_monotonic_time() + WAIT_MS * 1000;

    while (statistic(rig, name) != value) {
        if (g_get_monotonic_time() > end) {
            g_error("%d ms, and %s is not %" PRIu64, WAIT_MS, name, value);
        }
        g_usleep(1000);
    }
}

/* Set-ups */

static Rig *rig_new(void)
{
    Rig *rig = g_new0(Rig, 1);

    rig->dir = g_dir_make_tmp("colo-compare-XXXXXX", NULL);
    g_assert(rig->dir);
    rig->in = rig->secondary = rig->out = rig->notify = -1;
    rig->backend[0] = rig->backend[1] = -1;
    return rig;
}

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

/* What f0 reads counts as sent by the guest; c0 is next on its way out */
static Rig *filter_compare(const char *options)
{
    Rig *rig = rig_new();

    g_assert_cmpint(socketpair(PF_UNIX, SOCK_STREAM, 0, rig->backend), ==, 0);
    rig->qts = qtest_initf(
        "-object iothread,id=io -nic socket,id=n0,fd=%d "
        "-chardev socket,id=pri,path=%s/pri,server=on,wait=off "
        "-chardev socket,id=sec,path=%s/sec,server=on,wait=off "
        "-object filter-compare,id=c0,netdev=n0,secondary_in=sec" NO_TIMEOUT "%s "
        "-object filter-redirector,id=f0,netdev=n0,queue=rx,indev=pri",
        rig->backend[1], rig->dir, rig->dir, options);
    rig->out = rig->backend[0];
    rig->backend[0] = -1;
    rig->in = connect_to(rig, "pri");
    rig->secondary = connect_to(rig, "sec");
    return rig;
}

static void close_fd(int fd)
{
    if (fd >= 0) {
        close(fd);
    }
}

static void rig_free(Rig *rig)
{
    static const char *const names[] = { "pri", "sec", "out", "xen" };

    qtest_quit(rig->qts);
    close_fd(rig->in);
    close_fd(rig->secondary);
    close_fd(rig->out);
    close_fd(rig->notify);
    close_fd(rig->backend[1]);
    for (int i = 0; i < ARRAY_SIZE(names); i++) {
        g_autofree char *path = path_of(rig, names[i]);

        unlink(path);
    }
    rmdir(rig->dir);
    g_free(rig->dir);
    g_free(rig);
}

/* Tests */

static void compare_some(Rig *rig)
{
    send_frame(rig->in, 1, 'a');
    send_frame(rig->secondary, 1, 'a');
    expect_frame(rig->out, 1, 'a');
    send_frame(rig->secondary, 1, 'b');
    send_frame(rig->in, 1, 'b');
    expect_frame(rig->out, 1, 'b');
    /* An unequal one is held, and those of its flow behind it */
    send_frame(rig->in, 1, 'c');
    send_frame(rig->secondary, 1, 'x');
    send_frame(rig->in, 1, 'd');
    send_frame(rig->secondary, 1, 'd');
    send_frame(rig->in, 2, 'e');
    send_frame(rig->secondary, 2, 'e');
    expect_frame(rig->out, 2, 'e');
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

static void reconnect_secondary(Rig *rig)
{
    close(rig->secondary);
    rig->secondary = connect_to(rig, "sec");
}

static void secondary_down(Rig *rig)
{
    close(rig->secondary);
    for (int i = 0; i < 20; i++) {
        send_frame(rig->in, 1, i);
    }
    rig->secondary = connect_to(rig, "sec");
    send_frame(rig->in, 2, 'a');
    send_frame(rig->secondary, 2, 'a');
    expect_frame(rig->out, 2, 'a');
    reconnect_secondary(rig);
    send_frame(rig->in, 3, 'b');
    send_frame(rig->secondary, 3, 'b');
    expect_frame(rig->out, 3, 'b');
    g_assert_cmpuint(statistic(rig, "queue-packets"), ==, 20);
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

static const struct {
    const char *name;
    uint8_t bytes[24];
    size_t len;
} hostile[] = {
    { "an empty frame", { 0, 0, 0, 0 }, 4 },
    { "a frame too long by one", { 0, 1, 0x10, 1 }, 4 },
    { "a frame of 2 GiB less one", { 0x7f, 0xff, 0xff, 0xff }, 4 },
    { "a marker of 4 GiB", { 0xff, 0xff, 0xff, 0xff }, 4 },
    { "a marker too short", { 0x80, 0, 0, 4, 0, 0, 0, 1 }, 8 },
    { "a marker of epoch 0", { 0x80, 0, 0, 12, 0, 0, 0, 1 }, 16 },
};

/*
 * The end is there before the nonsense was read: QEMU may notice either first.  After
 * that all is as if nothing had been.
 */
static void hostile_and_gone(Rig *rig, int *fd, const char *name)
{
    enum { TIMES = 200 };

    for (int i = 0; i < TIMES; i++) {
        send_all(*fd, hostile[0].bytes, hostile[0].len);
        close(*fd);
        *fd = connect_to(rig, name);
    }
    send_frame(rig->in, 1, 'z');
    send_frame(rig->secondary, 1, 'z');
    expect_frame(rig->out, 1, 'z');
}

static void hostile_secondary(Rig *rig)
{
    for (int i = 0; i < ARRAY_SIZE(hostile); i++) {
        g_test_message("%s", hostile[i].name);
        send_all(rig->secondary, hostile[i].bytes, hostile[i].len);
        expect_closed(rig->secondary);
        rig->secondary = connect_to(rig, "sec");
        send_frame(rig->in, 1, i);
        send_frame(rig->secondary, 1, i);
        expect_frame(rig->out, 1, i);
    }
    hostile_and_gone(rig, &rig->secondary, "sec");
}

static void test_hostile_secondary(void)
{
    Rig *rig = colo_compare("");

    hostile_secondary(rig);
    rig_free(rig);
}

static void test_hostile_primary(void)
{
    Rig *rig = colo_compare("");

    for (int i = 0; i < ARRAY_SIZE(hostile); i++) {
        send_all(rig->in, hostile[i].bytes, hostile[i].len);
        expect_closed(rig->in);
        rig->in = connect_to(rig, "pri");
        send_frame(rig->in, 1, i);
        send_frame(rig->secondary, 1, i);
        expect_frame(rig->out, 1, i);
    }
    hostile_and_gone(rig, &rig->in, "pri");
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
        QDict *answer = qtest_qmp(rig->qts, command);

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

/*
 * A primary that ends, by command or signal, says nothing more: its secondary
 * goes on, and has not said it.
 */
static void quit(Rig *rig)
{
    send_frame(rig->in, 1, 'a');
    send_frame(rig->secondary, 1, 'a');
    expect_frame(rig->out, 1, 'a');
    send_frame(rig->in, 1, 'b');
    wait_statistic(rig, "queue-packets", 1);
    close_fd(rig->backend[1]);
    rig->backend[1] = -1;
    qtest_qmp_assert_success(rig->qts, "{'execute': 'quit'}");
    expect_closed(rig->out);
    rig->out = -1;
    rig_free(rig);
}

static void test_quit(void)
{
    quit(colo_compare(""));
}

static void test_filter_quit(gconstpointer options)
{
    quit(filter_compare(options));
}

/* filter-compare */

static void test_filter(gconstpointer options)
{
    Rig *rig = filter_compare(options);

    compare_some(rig);
    g_assert_cmpuint(statistic(rig, "queue-packets"), ==, 2);
    g_assert_cmpuint(statistic(rig, "mismatches-data"), ==, 1);
    /* Off: what is held leaves, and what comes passes */
    qtest_qmp_assert_success(rig->qts, "{'execute': 'qom-set', 'arguments': "
                             "{'path': '/objects/c0', 'property': 'status', "
                             "'value': 'off'}}");
    expect_frame(rig->out, 1, 'c');
    expect_frame(rig->out, 1, 'd');
    send_frame(rig->in, 1, 'z');
    expect_frame(rig->out, 1, 'z');
    rig_free(rig);
}

static void test_filter_secondary_down(void)
{
    Rig *rig = filter_compare(",iothread=io");

    secondary_down(rig);
    rig_free(rig);
}

static void test_filter_hostile(void)
{
    Rig *rig = filter_compare(",iothread=io");

    hostile_secondary(rig);
    rig_free(rig);
}

/* Deleted, it lets go of what it holds, and of the netdev */
/* Long before anything would have to be dropped the guest is slowed down. */
static void test_filter_slowed(void)
{
    Rig *rig = filter_compare("");
    QDict *answer;
    int sent = 0;

    while (!statistic(rig, "slowed")) {
        for (int i = 0; i < 1000; i++) {
            send_frame(rig->in, 1, 'a');
        }
        sent += 1000;
        wait_statistic(rig, "primary-packets", sent);
    }
    g_assert_cmpuint(statistic(rig, "queue-bytes"), >, 128 * 1024 * 1024);
    g_assert_cmpuint(statistic(rig, "queue-bytes"), <, 160 * 1024 * 1024);
    g_assert_cmpuint(statistic(rig, "queue-packets"), ==, sent);
    g_assert_cmpuint(statistic(rig, "primary-dropped"), ==, 0);
    answer = qtest_qmp(rig->qts, "{'execute': 'qom-set', 'arguments': {'path': "
                       "'/objects/c0', 'property': 'status', 'value': 'off'}}");
    g_assert(qdict_haskey(answer, "return"));
    qobject_unref(answer);
    g_assert_cmpuint(statistic(rig, "queue-packets"), ==, 0);
    g_assert_cmpuint(statistic(rig, "slowed"), ==, 1);
    rig_free(rig);
}

static void test_filter_del(void)
{
    Rig *rig = filter_compare(",iothread=io");

    send_frame(rig->in, 1, 'a');
    send_frame(rig->in, 2, 'b');
    send_frame(rig->secondary, 2, 'b');
    expect_frame(rig->out, 2, 'b');
    qtest_qmp_assert_success(rig->qts, "{'execute': 'object-del', "
                             "'arguments': {'id': 'c0'}}");
    expect_frame(rig->out, 1, 'a');
    send_frame(rig->in, 1, 'c');
    expect_frame(rig->out, 1, 'c');
    rig_free(rig);
}

static void test_filter_object_add(void)
{
    static const char *const bad[] = {
        "'netdev': 'no', 'secondary_in': 'sec'",
        "'netdev': 'n0', 'secondary_in': 'no'",
        "'netdev': 'n0', 'secondary_in': 'nul'",
        "'netdev': 'n0', 'secondary_in': 'sec', 'queue': 'tx'",
        "'netdev': 'n0', 'secondary_in': 'sec', 'position': 'id=no'",
    };
    Rig *rig = rig_new();

    rig->qts = qtest_initf(
        "-M none -chardev null,id=nul -netdev hubport,id=n0,hubid=0 "
        "-chardev socket,id=sec,path=%s/sec,server=on,wait=off", rig->dir);
    for (int i = 0; i < ARRAY_SIZE(bad); i++) {
        g_autofree char *command = g_strdup_printf(
            "{'execute': 'object-add', 'arguments': {'qom-type': "
            "'filter-compare', 'id': 'c0', %s}}", bad[i]);
        QDict *answer = qtest_qmp(rig->qts, command);

        g_test_message("%s", bad[i]);
        g_assert(qdict_haskey(answer, "error"));
        qobject_unref(answer);
    }
    qtest_qmp_assert_success(rig->qts,
        "{'execute': 'object-add', 'arguments': {'qom-type': "
        "'filter-compare', 'id': 'c0', 'netdev': 'n0', "
        "'secondary_in': 'sec'}}");
    rig_free(rig);
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
    qtest_add_data_func("filter-compare/iothread", ",iothread=io", test_filter);
    qtest_add_data_func("filter-compare/main-loop", "", test_filter);
    qtest_add_func("filter-compare/secondary-down", test_filter_secondary_down);
    qtest_add_func("filter-compare/hostile", test_filter_hostile);
    qtest_add_func("filter-compare/slowed", test_filter_slowed);
    qtest_add_func("filter-compare/del", test_filter_del);
    qtest_add_func("filter-compare/object-add", test_filter_object_add);
    qtest_add_data_func("filter-compare/quit/iothread", ",iothread=io",
                        test_filter_quit);
    qtest_add_data_func("filter-compare/quit/main-loop", "", test_filter_quit);
    return g_test_run();
}
