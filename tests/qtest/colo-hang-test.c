/*
 * COLO when the other process stands still, and the disk with it
 *
 * Two QEMUs without an operating system, with a replicated disk.  One of them
 * is stopped (SIGSTOP): its connections stay open and say nothing.  The other
 * must answer its monitor within a second whatever it is asked for, say that
 * its peer is lost, and go on alone with a guest of one piece.  The same where
 * the secondary's disk refuses.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "libqtest.h"
#include "qapi/error.h"
#include "qemu/bswap.h"
#include "qemu/sockets.h"
#include "colo-guest.h"
#include "colo-survivor.h"

#define CASE_SECONDS 240

#define FAST_MS 50

/* Short, for a test; a busy machine must not exceed it by itself */
#define PEER_TIMEOUT_MS 4000

/* The second, and what a machine that does other things too may add */
#define ANSWER_MS 2000

/* The longest answer so far */
static int64_t slowest_ms;

static int64_t now_ms(void)
{
    return g_get_monotonic_time() / 1000;
}

/* Run a command; whether it succeeds or not, the answer comes in time. */
static bool answers(ColoSide *side, const char *command)
{
    int64_t begin = now_ms();
    QDict *dict = colo_side_try(side, ANSWER_MS, command, NULL);
    bool ok = dict && qdict_haskey(dict, "return");

    slowest_ms = MAX(slowest_ms, now_ms() - begin);
    if (!dict) {
        colo_fail("no answer within %d ms to %s", ANSWER_MS, command);
    }
    qobject_unref(dict);
    return ok;
}

static void succeeds(ColoSide *side, const char *command)
{
    if (!answers(side, command)) {
        colo_fail("an error from %s", command);
    }
}

static void await_loss(ColoSide *side)
{
    int64_t end = now_ms() + COLO_WAIT_MS;

    while (!colo_side_count(side, "COLO_LOST")) {
        succeeds(side, "{'execute': 'query-colo'}");
        if (now_ms() > end) {
            colo_fail("the peer stands still, and nobody notices");
        }
        g_usleep(10 * 1000);
    }
}

static ColoPair *start_in(const char *iothread, int64_t delay_ms)
{
    ColoPair *pair;

    alarm(CASE_SECONDS);
    slowest_ms = 0;
    pair = colo_pair_plan("pc", COLO_DISK, delay_ms);
    pair->iothread = iothread;
    colo_pair_add_primary(pair);
    pair->nbd_port = colo_pair_free_port();
    colo_pair_add_secondary(pair, "");
    colo_pair_replicate(pair);
    colo_side_ok(pair->p, "{'execute': 'x-colo-set-peer-timeout', "
                 "'arguments': {'timeout': %d}}", PEER_TIMEOUT_MS);
    colo_side_ok(pair->s, "{'execute': 'x-colo-set-peer-timeout', "
                 "'arguments': {'timeout': %d}}", PEER_TIMEOUT_MS);
    return pair;
}

static ColoPair *start(int64_t delay_ms)
{
    return start_in(NULL, delay_ms);
}

static void finish(ColoPair *pair)
{
    colo_guest_check(pair->p, pair->scratch);
    g_test_message("the slowest answer took %" PRId64 " ms", slowest_ms);
    colo_pair_free(pair);
    alarm(0);
}

/* Writes that nobody waits for, as a guest makes them */
static void write_mib(ColoSide *p, int n)
{
    for (int i = 0; i < n; i++) {
        colo_side_hmp(p, "qemu-io colo-disk0 \"aio_write -q -P %d %d 1M\"",
                      i + 1, i % 8 * 1024 * 1024);
    }
}

/* More than sockets hold */
static void write_some(ColoSide *p)
{
    write_mib(p, 8);
}

static void lost_heartbeat(ColoSide *side)
{
    succeeds(side, "{'execute': 'x-colo-lost-heartbeat'}");
    colo_side_until(side, "query-colo-status", "mode", "none");
    colo_side_until(side, "query-status", "status", "running");
}

/* In the documented order: the disk first */
static void primary_goes_on(ColoPair *pair)
{
    succeeds(pair->p, "{'execute': 'x-blockdev-change', 'arguments': "
             "{'parent': 'colo-disk0', 'child': 'children.1'}}");
    succeeds(pair->p, "{'execute': 'human-monitor-command', 'arguments': "
             "{'command-line': 'drive_del replication0'}}");
    lost_heartbeat(pair->p);
    colo_side_kill(pair->s);
    pair->s = NULL;
}

static void secondary_goes_on(ColoPair *pair)
{
    succeeds(pair->s, "{'execute': 'nbd-server-stop'}");
    lost_heartbeat(pair->s);
    colo_side_kill(pair->p);
    pair->p = pair->s;
    pair->s = NULL;
}

/* With requests on their way, each of the steps has to drain */
static void test_primary_disk_first(void)
{
    ColoPair *pair = start(COLO_NO_TIMER);

    colo_pair_request_checkpoint(pair);
    colo_side_signal(pair->s, SIGSTOP);
    write_some(pair->p);
    primary_goes_on(pair);
    g_assert_cmpuint(colo_side_count(pair->p, "REPLICATION_BROKEN"), ==, 1);
    finish(pair);
}

/* More than the queue holds: there are requests that wait for room in it. */
static void run_disk_first_full(const char *iothread)
{
    ColoPair *pair = start_in(iothread, COLO_NO_TIMER);

    colo_pair_request_checkpoint(pair);
    colo_side_signal(pair->s, SIGSTOP);
    write_mib(pair->p, 24);
    primary_goes_on(pair);
    g_assert_cmpuint(colo_side_count(pair->p, "REPLICATION_BROKEN"), ==, 1);
    finish(pair);
}

static void test_disk_first_full(void)
{
    run_disk_first_full(NULL);
}

static void test_disk_first_iothread(void)
{
    run_disk_first_full("p");
}

/* What is refused costs nothing: a secondary that goes on in time is kept. */
static void test_refused(void)
{
    ColoPair *pair = start(COLO_NO_TIMER);

    colo_pair_request_checkpoint(pair);
    colo_side_signal(pair->s, SIGSTOP);
    write_some(pair->p);
    if (answers(pair->p, "{'execute': 'x-blockdev-change', 'arguments': "
                "{'parent': 'replication0', 'child': 'file'}}")) {
        colo_fail("a node without its disk");
    }
    colo_side_signal(pair->s, SIGCONT);
    colo_pair_request_checkpoint(pair);
    g_assert_cmpuint(colo_side_count(pair->p, "REPLICATION_BROKEN"), ==, 0);
    finish(pair);
}

/* x-colo-lost-heartbeat alone is enough, too. */
static void test_primary_heartbeat_first(void)
{
    ColoPair *pair = start(COLO_NO_TIMER);

    colo_pair_request_checkpoint(pair);
    colo_side_signal(pair->s, SIGSTOP);
    write_some(pair->p);
    lost_heartbeat(pair->p);
    succeeds(pair->p, "{'execute': 'stop'}");
    succeeds(pair->p, "{'execute': 'cont'}");
    colo_side_kill(pair->s);
    pair->s = NULL;
    finish(pair);
}

/* "stop" drains and flushes all disks. */
static void test_primary_stop(void)
{
    ColoPair *pair = start(COLO_NO_TIMER);

    colo_pair_request_checkpoint(pair);
    colo_side_signal(pair->s, SIGSTOP);
    write_some(pair->p);
    succeeds(pair->p, "{'execute': 'stop'}");
    succeeds(pair->p, "{'execute': 'cont'}");
    await_loss(pair->p);
    primary_goes_on(pair);
    finish(pair);
}

/* At some moment of the checkpoints that follow each other */
static void test_primary_any_time(const void *opaque)
{
    ColoPair *pair = start(FAST_MS);

    colo_pair_checkpoints(pair, 2);
    g_usleep(GPOINTER_TO_INT(opaque) * 1000);
    colo_side_signal(pair->s, SIGSTOP);
    write_some(pair->p);
    await_loss(pair->p);
    primary_goes_on(pair);
    finish(pair);
}

static void test_secondary_any_time(const void *opaque)
{
    ColoPair *pair = start(FAST_MS);

    colo_pair_checkpoints(pair, 2);
    g_usleep(GPOINTER_TO_INT(opaque) * 1000);
    colo_side_signal(pair->p, SIGSTOP);
    await_loss(pair->s);
    secondary_goes_on(pair);
    finish(pair);
}

static void talk(int fd, const void *say, size_t size, size_t hear)
{
    uint8_t buf[256];

    g_assert(hear <= sizeof(buf));
    g_assert_cmpint(send(fd, say, size, MSG_NOSIGNAL), ==, size);
    for (size_t n = 0; n < hear; ) {
        ssize_t ret = recv(fd, buf, hear - n, 0);

        g_assert_cmpint(ret, >, 0);
        n += ret;
    }
}

/*
 * A client of the secondary's NBD server that stops in the middle of a write:
 * docs/proto.md of NBD, "fixed newstyle", NBD_OPT_EXPORT_NAME.
 */
static int half_a_write(ColoPair *pair)
{
    static const char name[] = "parent0";
    g_autofree char *address = g_strdup_printf("127.0.0.1:%d", pair->nbd_port);
    uint8_t option[16 + 7] = "IHAVEOPT";
    uint8_t request[28 + 1000] = { 0 };
    uint32_t flags = cpu_to_be32(3);        /* fixed, no zeroes */
    int fd = inet_connect(address, &error_abort);

    talk(fd, "", 0, 18);
    talk(fd, &flags, sizeof(flags), 0);
    stl_be_p(option + 8, 1);
    stl_be_p(option + 12, strlen(name));
    memcpy(option + 16, name, strlen(name));
    talk(fd, option, sizeof(option), 10);

    stl_be_p(request, 0x25609513);
    stw_be_p(request + 6, 1);
    stl_be_p(request + 24, 65536);
    talk(fd, request, sizeof(request), 0);
    return fd;
}

static void test_half_write(void)
{
    ColoPair *pair = start(COLO_NO_TIMER);
    unsigned stops = colo_side_count(pair->s, "STOP");
    int64_t end = now_ms() + COLO_WAIT_MS;
    int fd;

    colo_pair_request_checkpoint(pair);
    fd = half_a_write(pair);
    colo_side_ok(pair->p, "{'execute': 'x-colo-checkpoint-now'}");
    while (colo_side_count(pair->s, "STOP") < stops + 2 ||
           colo_side_count(pair->s, "RESUME") <
           colo_side_count(pair->s, "STOP")) {
        succeeds(pair->s, "{'execute': 'query-colo'}");
        succeeds(pair->p, "{'execute': 'query-colo'}");
        if (now_ms() > end) {
            colo_fail("the secondary waits for a client of its disk");
        }
        g_usleep(10 * 1000);
    }
    /* The primary's connection has gone too, which it notices when it writes */
    write_some(pair->p);
    colo_side_await(pair->p, "REPLICATION_BROKEN", 1, COLO_WAIT_MS);
    colo_side_ok(pair->p, "{'execute': 'x-colo-checkpoint-now'}");
    await_loss(pair->p);
    await_loss(pair->s);
    secondary_goes_on(pair);
    close(fd);
    finish(pair);
}

/* The secondary's disk is not what it is said to be: both sides know why. */
static void test_wrong_top_id(void)
{
    ColoPair *pair = colo_pair_new("pc", COLO_DISK, COLO_NO_TIMER);
    g_autofree char *state = NULL;

    alarm(CASE_SECONDS);
    pair->top_id = "no-such-disk";
    colo_pair_add_secondary(pair, "");
    colo_pair_connect_disk(pair);
    colo_pair_migrate(pair);
    await_loss(pair->p);
    await_loss(pair->s);
    colo_survivor_reason(pair->p, "the secondary says: disk replication does not "
                         "start: ");
    colo_survivor_reason(pair->p, "top-id=no-such-disk");
    /* Its guest would find no disk */
    if (answers(pair->s, "{'execute': 'x-colo-lost-heartbeat'}")) {
        colo_fail("a secondary takes over whose disk does not replicate");
    }
    state = colo_side_ask(pair->s, "state", "{'execute': 'query-colo'}");
    g_assert_cmpstr(state, ==, "unfit");
    primary_goes_on(pair);
    finish(pair);
}

/* What the secondary would have to keep finds no room: its last commit stays. */
static void test_overlay_full(void)
{
    ColoPair *pair = colo_pair_new("pc", COLO_DISK, COLO_NO_TIMER);

    alarm(CASE_SECONDS);
    pair->overlay = "152K";     /* the map, and two clusters */
    colo_pair_add_secondary(pair, "");
    colo_pair_replicate(pair);
    for (int i = 0; i < 4; i++) {
        colo_pair_write(pair, 0x11, i * 65536);
        colo_pair_request_checkpoint(pair);
    }
    for (int i = 0; i < 4; i++) {
        colo_pair_write(pair, 0x22, i * 65536);
    }
    colo_side_await(pair->p, "REPLICATION_BROKEN", 1, COLO_WAIT_MS);
    colo_side_ok(pair->p, "{'execute': 'x-colo-checkpoint-now'}");
    await_loss(pair->p);
    await_loss(pair->s);
    /* P was told by the disk's connection, and S by P */
    colo_survivor_reason(pair->s, "the primary says: the secondary's disk is not "
                         "complete: ");
    secondary_goes_on(pair);
    for (int i = 0; i < 4; i++) {
        colo_pair_expect(pair, 0x11, i * 65536);
    }
    finish(pair);
}

static void run_case(const void *opaque)
{
    void (*run)(void) = opaque;

    run();
}

int main(int argc, char **argv)
{
    static const int moments[] = { 0, 13, 29, 47, 61 };

    g_test_init(&argc, &argv, NULL);
    qtest_add_data_func("colo-hang/p/disk-first", test_primary_disk_first,
                        run_case);
    qtest_add_data_func("colo-hang/p/disk-first-full", test_disk_first_full,
                        run_case);
    qtest_add_data_func("colo-hang/p/disk-first-iothread",
                        test_disk_first_iothread, run_case);
    qtest_add_data_func("colo-hang/p/refused", test_refused, run_case);
    qtest_add_data_func("colo-hang/p/heartbeat-first",
                        test_primary_heartbeat_first, run_case);
    qtest_add_data_func("colo-hang/p/stop", test_primary_stop, run_case);
    for (int i = 0; i < ARRAY_SIZE(moments); i++) {
        g_autofree char *p = g_strdup_printf("colo-hang/p/any-time/%d", i);
        g_autofree char *s = g_strdup_printf("colo-hang/s/any-time/%d", i);

        qtest_add_data_func(p, GINT_TO_POINTER(moments[i]),
                            test_primary_any_time);
        qtest_add_data_func(s, GINT_TO_POINTER(moments[i]),
                            test_secondary_any_time);
    }
    qtest_add_data_func("colo-hang/s/half-write", test_half_write, run_case);
    qtest_add_data_func("colo-hang/overlay-full", test_overlay_full, run_case);
    qtest_add_data_func("colo-hang/wrong-top-id", test_wrong_top_id, run_case);
    return g_test_run();
}
