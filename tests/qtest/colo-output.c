/*
 * What the guests of a pair send: see colo-output.h
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include <poll.h>
#include "qapi/error.h"
#include "qemu/bswap.h"
#include "qemu/sockets.h"
#include "colo-output.h"

#define FRAME_LEN 60
#define POLL_US (10 * 1000)

static int add_socket(ColoPair *pair, const char *id)
{
    g_autofree char *path = g_build_filename(pair->dir, id, NULL);
    int fd;

    colo_side_ok(pair->p, "{'execute': 'chardev-add', 'arguments': {'id': %s, "
                 "'backend': {'type': 'socket', 'data': {'addr': {'type': "
                 "'unix', 'data': {'path': %s}}, 'server': true, 'wait': false}"
                 "}}}", id, path);
    fd = unix_connect(path, &error_abort);
    g_assert_cmpint(fd, >=, 0);
    return fd;
}

ColoOutput *colo_output_new(ColoPair *pair, unsigned again_ms)
{
    ColoOutput *o = g_new0(ColoOutput, 1);

    o->pair = pair;
    o->primary = add_socket(pair, "pri");
    o->secondary = add_socket(pair, "sec");
    o->out = add_socket(pair, "out");
    /* Nothing is to wait so long for its like, however slow the machine */
    colo_side_ok(pair->p, "{'execute': 'object-add', 'arguments': {"
                 "'qom-type': 'colo-compare', 'id': 'comp0', 'primary_in': "
                 "'pri', 'secondary_in': 'sec', 'outdev': 'out', 'iothread': "
                 "'io0', 'compare_timeout': 600000, 'max_queue_size': %d, "
                 "'expired_scan_cycle': %u}}", COLO_OUTPUT_QUEUE, again_ms);
    return o;
}

void colo_output_free(ColoOutput *o)
{
    close(o->primary);
    close(o->secondary);
    close(o->out);
    g_free(o);
}

void colo_output_send(int fd, uint8_t content)
{
    uint8_t frame[4 + FRAME_LEN] = {
        0, 0, 0, FRAME_LEN, 2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 1, 0x88, 0xb5,
    };

    memset(frame + 18, content, sizeof(frame) - 18);
    g_assert_cmpint(qemu_write_full(fd, frame, sizeof(frame)), ==, sizeof(frame));
}

/* What comes next, and not late; 0: the end */
static ssize_t read_out(ColoOutput *o, uint8_t *data, size_t size,
                        const char *missing)
{
    struct pollfd p = { .fd = o->out, .events = POLLIN };
    ssize_t n;

    if (poll(&p, 1, COLO_WAIT_MS) != 1) {
        colo_fail("%s does not come out of the comparison", missing);
    }
    n = read(o->out, data, size);
    return n < 0 && errno == ECONNRESET ? 0 : n;
}

void colo_output_expect(ColoOutput *o, uint8_t content)
{
    g_autofree char *missing = g_strdup_printf("frame %u of P's guest", content);
    uint8_t frame[4 + FRAME_LEN];
    size_t got = 0;

    while (got < sizeof(frame)) {
        ssize_t n = read_out(o, frame + got, sizeof(frame) - got, missing);

        if (n <= 0) {
            colo_fail("the output has ended, without %s", missing);
        }
        got += n;
    }
    g_assert_cmpuint(frame[18], ==, content);
    g_assert_cmpuint(frame[sizeof(frame) - 1], ==, content);
}

int64_t colo_output_held(ColoOutput *o)
{
    QDict *answer = colo_side_try(o->pair->p, COLO_ANSWER_MS,
                                  "{'execute': 'qom-get', 'arguments': "
                                  "{'path': '/objects/comp0', 'property': "
                                  "'queue-packets'}}");
    int64_t held;

    g_assert(answer && qdict_haskey(answer, "return"));
    held = qdict_get_int(answer, "return");
    qobject_unref(answer);
    return held;
}

void colo_output_await_held(ColoOutput *o, int64_t count)
{
    int64_t end = g_get_monotonic_time() + COLO_WAIT_MS * 1000LL;

    while (colo_output_held(o) != count) {
        if (g_get_monotonic_time() > end) {
            colo_fail("%" PRId64 " frames are held, not %" PRId64,
                      colo_output_held(o), count);
        }
        g_usleep(POLL_US);
    }
}

void colo_output_expect_end(ColoOutput *o)
{
    uint8_t frame[4 + FRAME_LEN];
    ssize_t n = read_out(o, frame, sizeof(frame), "the end");

    if (n) {
        colo_fail("P's guest has sent what it may not: %zd bytes, of 0x%02x", n,
                  frame[MIN(n - 1, 18)]);
    }
}
