/*
 * colo-compare or filter-compare with the test as P and S: see colo-compare-rig.h
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
#include "colo-compare-rig.h"

#define WAIT_MS (60 * 1000)
#define FRAME_LEN 60

/* Sockets */

static char *path_of(const Rig *rig, const char *name)
{
    return g_strdup_printf("%s/%s", rig->dir, name);
}

int connect_to(const Rig *rig, const char *name)
{
    g_autofree char *path = path_of(rig, name);
    int fd = unix_connect(path, &error_abort);

    g_assert_cmpint(fd, >=, 0);
    return fd;
}

void send_all(int fd, const void *data, size_t len)
{
    g_assert_cmpint(qemu_write_full(fd, data, len), ==, len);
}

size_t receive(int fd, void *data, size_t len)
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

void expect_closed(int fd)
{
    char byte;

    g_assert_cmpuint(receive(fd, &byte, 1), ==, 0);
    close(fd);
}

/* Frames */

void send_frame(int fd, uint8_t flow, uint8_t content)
{
    uint8_t frame[4 + FRAME_LEN] = {
        0, 0, 0, FRAME_LEN, 2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, flow, 0x88, 0xb5,
    };

    memset(frame + 18, content, sizeof(frame) - 18);
    send_all(fd, frame, sizeof(frame));
}

void send_marker(int fd, uint64_t epoch)
{
    uint8_t marker[16] = { 0x80, 0, 0, 12, 0, 0, 0, 1 };

    stq_be_p(marker + 8, epoch);
    send_all(fd, marker, sizeof(marker));
}

void expect_frame(int fd, uint8_t flow, uint8_t content)
{
    uint8_t frame[4 + FRAME_LEN];

    g_assert_cmpuint(receive(fd, frame, sizeof(frame)), ==, sizeof(frame));
    g_assert_cmpuint(ldl_be_p(frame), ==, FRAME_LEN);
    g_assert_cmpuint(frame[15], ==, flow);
    g_assert_cmpuint(frame[18], ==, content);
    g_assert_cmpuint(frame[sizeof(frame) - 1], ==, content);
}

uint64_t statistic(const Rig *rig, const char *name)
{
    QDict *answer = qtest_qmp(rig->qts, "{'execute': 'qom-get', 'arguments': "
                              "{'path': '/objects/c0', 'property': %s}}", name);
    uint64_t value;

    g_assert(qdict_haskey(answer, "return"));
    value = qdict_get_int(answer, "return");
    qobject_unref(answer);
    return value;
}

void wait_statistic(const Rig *rig, const char *name, uint64_t value)
{
    int64_t end = g_get_monotonic_time() + WAIT_MS * 1000;

    while (statistic(rig, name) != value) {
        if (g_get_monotonic_time() > end) {
            g_error("%d ms, and %s is not %" PRIu64, WAIT_MS, name, value);
        }
        g_usleep(1000);
    }
}

/* Beginning and end */

Rig *rig_new(void)
{
    Rig *rig = g_new0(Rig, 1);

    rig->dir = g_dir_make_tmp("colo-compare-XXXXXX", NULL);
    g_assert(rig->dir);
    rig->in = rig->secondary = rig->out = rig->notify = -1;
    rig->backend[0] = rig->backend[1] = -1;
    return rig;
}

static void close_fd(int fd)
{
    if (fd >= 0) {
        close(fd);
    }
}

void rig_free(Rig *rig)
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

/* What both are put through */

void compare_some(Rig *rig)
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

static void reconnect_secondary(Rig *rig)
{
    close(rig->secondary);
    rig->secondary = connect_to(rig, "sec");
}

void secondary_down(Rig *rig)
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

void hostile_peer(Rig *rig, int *fd, const char *name)
{
    for (int i = 0; i < ARRAY_SIZE(hostile); i++) {
        g_test_message("%s", hostile[i].name);
        send_all(*fd, hostile[i].bytes, hostile[i].len);
        expect_closed(*fd);
        *fd = connect_to(rig, name);
        send_frame(rig->in, 1, i);
        send_frame(rig->secondary, 1, i);
        expect_frame(rig->out, 1, i);
    }
    hostile_and_gone(rig, fd, name);
}

void quit_primary(Rig *rig)
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
