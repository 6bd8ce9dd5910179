/*
 * The primary's side of replication, in front of a disk that fails or hangs
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/main-loop.h"
#include "qemu/units.h"
#include "qapi/error.h"
#include "qapi/qmp/qdict.h"
#include "block/block_int.h"
#include "block/replication.h"
#include "sysemu/block-backend.h"
#include "colo-fault.h"

#define SIZE            (8 * MiB)
#define TIMEOUT_MS      400
/* What a slow machine may add to a bound */
#define SLACK_MS        20000

static char *image, *own_image;
static const char *flush_mode;      /* of the next node; NULL: the default */

static BlockBackend *open_idle(int timeout_ms)
{
    QDict *options = qdict_new();

    qdict_put_str(options, "driver", "replication");
    qdict_put_str(options, "node-name", "replication0");
    qdict_put_str(options, "mode", "primary");
    qdict_put_int(options, "timeout", timeout_ms);
    if (flush_mode) {
        qdict_put_str(options, "flush", flush_mode);
    }
    flush_mode = NULL;
    qdict_put_str(options, "file.driver", "colo-fault");
    qdict_put_str(options, "file.node-name", "remote");
    qdict_put_str(options, "file.file.driver", "file");
    qdict_put_str(options, "file.file.filename", image);
    qdict_put_str(options, "file.file.locking", "off");
    return blk_new_open(NULL, NULL, options, BDRV_O_RDWR | BDRV_O_UNMAP,
                        &error_abort);
}

static BlockBackend *open_with_timeout(int timeout_ms)
{
    BlockBackend *blk = open_idle(timeout_ms);

    replication_start_all(REPLICATION_MODE_PRIMARY, &error_abort);
    return blk;
}

static BlockBackend *open_primary(void)
{
    return open_with_timeout(TIMEOUT_MS);
}

static BlockBackend *open_background(void)
{
    flush_mode = "background";
    return open_primary();
}

static BlockStatsSpecificReplication stats(void)
{
    BlockStatsSpecific *s =
        bdrv_get_specific_stats(bdrv_find_node("replication0"));
    BlockStatsSpecificReplication copy = s->u.replication;

    qapi_free_BlockStatsSpecific(s);
    return copy;
}

static int64_t now_ms(void)
{
    return qemu_clock_get_ms(QEMU_CLOCK_REALTIME);
}

static int write_value(BlockBackend *blk, int64_t offset, int64_t bytes,
                       uint8_t value, BdrvRequestFlags flags)
{
    g_autofree uint8_t *buffer = g_malloc(bytes);

    memset(buffer, value, bytes);
    return blk_pwrite(blk, offset, bytes, buffer, flags);
}

static void expect_refusal(const char *part)
{
    Error *err = NULL;

    replication_get_error_all(&err);
    g_assert(err);
    g_assert(strstr(error_get_pretty(err), part));
    error_free(err);
    err = NULL;
    replication_do_checkpoint_all(&err);
    g_assert(err);
    error_free(err);
}

static uint8_t on_disk(int64_t offset)
{
    int fd = open(image, O_RDONLY);
    uint8_t value;

    g_assert_cmpint(pread(fd, &value, 1, offset), ==, 1);
    close(fd);
    return value;
}

static void await(const unsigned *count, unsigned least)
{
    int64_t begin = now_ms();

    while (*count < least) {
        g_assert_cmpint(now_ms() - begin, <, SLACK_MS);
        main_loop_wait(true);
        g_usleep(1000);
    }
}

static void await_broken(void)
{
    int64_t begin = now_ms();

    while (stats().stage != REPLICATION_STAGE_BROKEN) {
        g_assert_cmpint(now_ms() - begin, <, SLACK_MS);
        main_loop_wait(true);
        g_usleep(1000);
    }
}

/* All kinds of requests arrive as what they are, in order */
static void test_forward(void)
{
    BlockBackend *blk;
    const FaultLog *log;

    blk = open_primary();
    log = fault_log("remote");

    g_assert_cmpint(write_value(blk, 0, 4096, 0x11, 0), ==, 0);
    g_assert_cmpint(write_value(blk, 512, 512, 0x22, BDRV_REQ_FUA), ==, 0);
    g_assert_cmpint(blk_pwrite_zeroes(blk, 1 * MiB, 1 * MiB, 0), ==, 0);
    g_assert_cmpint(blk_pdiscard(blk, 2 * MiB, 1 * MiB), ==, 0);
    g_assert_cmpint(blk_flush(blk), ==, 0);
    g_assert_cmpint(write_value(blk, 4096, 512, 0x33, 0), ==, 0);
    replication_do_checkpoint_all(&error_abort);

    g_assert_cmpstr(log->order, ==, "wwzdfw");
    g_assert_cmpint(log->fua, ==, 1);
    g_assert_cmpint(on_disk(0), ==, 0x11);
    g_assert_cmpint(on_disk(512), ==, 0x22);
    g_assert_cmpint(on_disk(4096), ==, 0x33);
    g_assert_cmpint(stats().sent_requests, ==, 6);
    g_assert_cmpint(stats().queued_bytes, ==, 0);
    g_assert_cmpint(stats().epoch, ==, 2);
    blk_unref(blk);
}

/* Flushes are no part of that: one for many, and nobody waits for it */
static void test_background(void)
{
    BlockBackend *blk = open_background();
    const FaultLog *log = fault_log("remote");
    int i;

    g_assert_cmpint(blk_flush(blk), ==, 0);
    for (i = 0; i < 20; i++) {
        g_assert_cmpint(write_value(blk, i * 4096, 4096, 0x11,
                                    i % 2 ? BDRV_REQ_FUA : 0), ==, 0);
        g_assert_cmpint(blk_flush(blk), ==, 0);
    }
    replication_do_checkpoint_all(&error_abort);
    g_assert_cmpstr(log->order, ==, "wwwwwwwwwwwwwwwwwwww");
    await(&log->count[FAULT_FLUSH], 1);
    g_assert_cmpint(log->fua, ==, 0);

    /* Nothing is owed any more when replication ends in peace */
    g_assert_cmpint(blk_flush(blk), ==, 0);
    replication_stop_all(false, &error_abort);
    g_assert_cmpint(log->count[FAULT_FLUSH], ==, 2);
    blk_unref(blk);
}

/* In a drained section nothing is sent; afterwards what is owed is */
static void test_background_drain(void)
{
    BlockBackend *blk = open_background();
    const FaultLog *log = fault_log("remote");
    int64_t begin = now_ms();

    g_assert_cmpint(blk_flush(blk), ==, 0);
    bdrv_drain_all_begin();
    while (now_ms() - begin < 1500) {
        main_loop_wait(true);
        g_usleep(1000);
    }
    g_assert_cmpint(log->count[FAULT_FLUSH], ==, 0);
    bdrv_drain_all_end();
    await(&log->count[FAULT_FLUSH], 1);
    blk_unref(blk);
}

/* The disk there cannot be flushed: the pair is lost, the guest is not told */
static void test_background_fault(const void *opaque)
{
    BlockBackend *blk = open_background();

    fault_set("remote", FAULT_FLUSH, GPOINTER_TO_INT(opaque));
    g_assert_cmpint(blk_flush(blk), ==, 0);
    await_broken();
    expect_refusal(strerror(GPOINTER_TO_INT(opaque)));
    blk_unref(blk);
}

static void await_order(const FaultLog *log, const char *order)
{
    int64_t begin = now_ms();

    while (strcmp(log->order, order)) {
        if (now_ms() - begin > SLACK_MS) {
            g_assert_cmpstr(log->order, ==, order);
        }
        main_loop_wait(true);
        g_usleep(1000);
    }
}

/*
 * A checkpoint waits for the flush under way at most, which holds up no write;
 * it is followed by one for all others.
 */
static void test_defer(void)
{
    BlockBackend *blk = open_with_timeout(600 * 1000);
    const FaultLog *log = fault_log("remote");

    fault_hang("remote", true);
    g_assert_cmpint(blk_flush(blk), ==, 0);
    g_assert_cmpint(write_value(blk, 0, 4096, 0xe1, 0), ==, 0);
    g_assert_cmpint(blk_flush(blk), ==, 0);
    g_assert_cmpint(write_value(blk, 4096, 4096, 0xe2, BDRV_REQ_FUA), ==, 0);
    g_assert_cmpint(blk_flush(blk), ==, 0);
    await_order(log, "f");
    g_assert(!replication_is_short_all());

    fault_overtake("remote");
    replication_defer_flushes_all(true);
    await_order(log, "fww");
    g_assert_cmpint(blk_flush(blk), ==, 0);
    g_assert_cmpint(write_value(blk, 8192, 4096, 0xe3, BDRV_REQ_FUA), ==, 0);
    await_order(log, "fwww");
    g_assert(!replication_is_short_all());

    fault_hang("remote", false);
    replication_do_checkpoint_all(&error_abort);
    g_assert(replication_is_short_all());
    g_assert_cmpstr(log->order, ==, "fwww");
    g_assert_cmpint(log->fua, ==, 0);
    g_assert_cmpint(on_disk(0), ==, 0xe1);
    g_assert_cmpint(on_disk(4096), ==, 0xe2);
    g_assert_cmpint(on_disk(8192), ==, 0xe3);

    replication_defer_flushes_all(false);
    g_assert_cmpint(write_value(blk, 0, 4096, 0xe4, 0), ==, 0);
    replication_do_checkpoint_all(&error_abort);
    g_assert_cmpstr(log->order, ==, "fwwwfw");

    /* Nothing was flushed meanwhile: so is nothing afterwards */
    replication_defer_flushes_all(true);
    replication_defer_flushes_all(false);
    replication_do_checkpoint_all(&error_abort);
    g_assert_cmpstr(log->order, ==, "fwwwfw");
    blk_unref(blk);
}

/* The flush that is owed fails: the next commit is refused. */
static void test_defer_fault(void)
{
    BlockBackend *blk = open_primary();

    fault_set("remote", FAULT_FLUSH, EIO);
    replication_defer_flushes_all(true);
    g_assert_cmpint(blk_flush(blk), ==, 0);
    replication_do_checkpoint_all(&error_abort);
    replication_defer_flushes_all(false);
    await_broken();
    expect_refusal("flush on the secondary's disk");
    blk_unref(blk);
}

/* With less room a writer waits, and goes on with the queue. */
static void test_defer_room(void)
{
    BlockBackend *blk = open_with_timeout(600 * 1000);
    const FaultLog *log = fault_log("remote");
    int i;

    fault_hang("remote", true);
    for (i = 0; i < 8; i++) {
        g_assert_cmpint(write_value(blk, i * MiB, 1 * MiB, 0xe5, 0), ==, 0);
    }
    replication_defer_flushes_all(true);
    g_assert(!replication_is_short_all());
    fault_hang("remote", false);
    for (i = 0; i < 8; i++) {
        g_assert_cmpint(write_value(blk, i * MiB, 1 * MiB, 0xe6, 0), ==, 0);
        g_assert_cmpint(stats().queued_bytes, <=, 1 * MiB);
    }
    replication_defer_flushes_all(false);
    replication_do_checkpoint_all(&error_abort);
    g_assert_cmpint(log->count[FAULT_WRITE], ==, 16);
    for (i = 0; i < 8; i++) {
        g_assert_cmpint(on_disk(i * MiB), ==, 0xe6);
    }
    blk_unref(blk);
}

/* A flush that was promised is made, however it ends */
static void test_defer_end(const void *opaque)
{
    BlockBackend *blk = open_primary();
    const FaultLog *log = fault_log("remote");
    BlockDriverState *remote = bdrv_find_node("remote");
    bool stop = GPOINTER_TO_INT(opaque);

    bdrv_ref(remote);
    g_assert_cmpint(write_value(blk, 0, 4096, 0xe7, 0), ==, 0);
    replication_defer_flushes_all(true);
    g_assert_cmpint(blk_flush(blk), ==, 0);
    replication_do_checkpoint_all(&error_abort);
    g_assert_cmpstr(log->order, ==, "w");
    if (stop) {
        replication_stop_all(false, &error_abort);
        g_assert_cmpstr(log->order, ==, "wf");
    }
    blk_unref(blk);
    g_assert_cmpstr(log->order, ==, "wf");
    bdrv_unref(remote);
}

static unsigned asked;

static void ask(void)
{
    asked++;
}

/* An epoch that becomes large asks for its end, once */
static void test_large_epoch(void)
{
    BlockBackend *blk = open_primary();
    int i;

    asked = 0;
    replication_set_asked(ask);
    for (i = 0; i < 150; i++) {
        g_assert_cmpint(write_value(blk, i % 8 * MiB, 1 * MiB, i, 0), ==, 0);
        g_assert_cmpint(asked, ==, i >= 126);   /* 128 MiB, 16 KiB each */
    }
    replication_do_checkpoint_all(&error_abort);
    for (i = 0; i < 126; i++) {
        g_assert_cmpint(write_value(blk, i % 8 * MiB, 1 * MiB, i, 0), ==, 0);
    }
    g_assert_cmpint(asked, ==, 1);
    g_assert_cmpint(write_value(blk, 0, 1 * MiB, 1, 0), ==, 0);
    g_assert_cmpint(asked, ==, 2);
    replication_set_asked(NULL);
    blk_unref(blk);
}

/*
 * What is small is held back for what may come: a flush becomes a part of the
 * write, without that it goes soon; and a checkpoint doesn't wait for either.
 */
static void test_held(void)
{
    BlockBackend *blk = open_with_timeout(600 * 1000);
    const FaultLog *log = fault_log("remote");

    g_assert_cmpint(blk_flush(blk), ==, 0);
    replication_do_checkpoint_all(&error_abort);
    g_assert_cmpint(write_value(blk, 0, 4096, 0xa1, 0), ==, 0);
    g_assert_cmpstr(log->order, ==, "f");
    g_assert_cmpint(blk_flush(blk), ==, 0);
    await_order(log, "fw");
    g_assert_cmpint(log->fua, ==, 1);
    replication_get_error_all(&error_abort);

    g_assert_cmpint(write_value(blk, 4096, 4096, 0xa2, 0), ==, 0);
    g_assert_cmpint(stats().queued_bytes, ==, 4096);
    await_order(log, "fww");
    g_assert_cmpint(write_value(blk, 8192, 4096, 0xa3, 0), ==, 0);
    g_assert_cmpint(blk_flush(blk), ==, 0);
    await_order(log, "fwwwf");
    g_assert_cmpint(log->fua, ==, 1);

    g_assert_cmpint(write_value(blk, 0, 4096, 0xa4, 0), ==, 0);
    replication_defer_flushes_all(true);
    g_assert_cmpstr(log->order, ==, "fwwwfw");
    g_assert_cmpint(blk_flush(blk), ==, 0);
    replication_do_checkpoint_all(&error_abort);
    replication_defer_flushes_all(false);
    replication_do_checkpoint_all(&error_abort);
    g_assert_cmpstr(log->order, ==, "fwwwfwf");
    g_assert_cmpint(on_disk(0), ==, 0xa4);
    g_assert_cmpint(on_disk(4096), ==, 0xa2);
    blk_unref(blk);
}

/* Writes of one place arrive in their order, whatever the queue does */
static void test_order(void)
{
    BlockBackend *blk = open_primary();
    int i;

    fault_hang("remote", true);
    for (i = 1; i <= 100; i++) {
        g_assert_cmpint(write_value(blk, 8192, 512, i, 0), ==, 0);
    }
    fault_hang("remote", false);
    replication_get_error_all(&error_abort);
    g_assert_cmpint(on_disk(8192), ==, 100);
    blk_unref(blk);
}

/* Each kind of request that fails: the guest's does not, the commit does */
static void test_fault(const void *opaque)
{
    FaultOp op = GPOINTER_TO_INT(opaque) / 1000;
    int error = GPOINTER_TO_INT(opaque) % 1000;
    BlockBackend *blk;
    int ret = -1;

    blk = open_primary();
    fault_set("remote", op, error);
    switch (op) {
    case FAULT_WRITE:
        ret = write_value(blk, 0, 4096, 0x44, 0);
        break;
    case FAULT_ZEROES:
        ret = blk_pwrite_zeroes(blk, 0, 65536, 0);
        break;
    case FAULT_DISCARD:
        ret = blk_pdiscard(blk, 0, 65536);
        break;
    default:
        g_assert_cmpint(write_value(blk, 0, 4096, 0x44, 0), ==, 0);
        ret = blk_flush(blk);
        break;
    }
    g_assert_cmpint(ret, ==, 0);
    expect_refusal(strerror(error));
    g_assert_cmpint(stats().stage, ==, REPLICATION_STAGE_BROKEN);
    g_assert_cmpint(stats().dropped_requests, ==, 1);

    /* It counts as no copy any more, even if the disk recovers */
    fault_set("remote", op, 0);
    g_assert_cmpint(write_value(blk, 0, 4096, 0x55, 0), ==, -EIO);
    expect_refusal(strerror(error));
    replication_stop_all(true, &error_abort);
    blk_unref(blk);
}

static void test_silent_drain(void)
{
    BlockBackend *blk = open_primary();
    int64_t begin;

    fault_hang("remote", true);
    begin = now_ms();
    g_assert_cmpint(write_value(blk, 0, 4096, 0x66, 0), ==, 0);
    g_assert_cmpint(now_ms() - begin, <, TIMEOUT_MS + SLACK_MS);
    bdrv_drain_all();
    g_assert_cmpint(now_ms() - begin, >=, TIMEOUT_MS);
    g_assert_cmpint(now_ms() - begin, <, TIMEOUT_MS + SLACK_MS);
    expect_refusal("no answer");
    blk_unref(blk);
}

/* The queue is full: a write waits, but not for ever */
static void test_silent_full(void)
{
    BlockBackend *blk = open_primary();
    int64_t begin = now_ms();
    int i, failed = 0;

    fault_hang("remote", true);
    for (i = 0; i < 40; i++) {
        failed += write_value(blk, i % 8 * MiB, 1 * MiB, 0x77, 0) < 0;
    }
    g_assert_cmpint(failed, ==, 24);
    g_assert_cmpint(now_ms() - begin, <, TIMEOUT_MS + SLACK_MS);
    g_assert_cmpint(stats().queued_bytes_peak, ==, 16 * MiB);
    expect_refusal("no answer");
    blk_unref(blk);
}

/*
 * The time-out is long: all the same, neither a drain nor the removal of the
 * node waits long for a secondary that is silent, with QMP waiting as well.
 */
static void test_silent_hurry(void)
{
    BlockBackend *blk = open_with_timeout(600 * 1000);
    int64_t begin = now_ms();
    int i;

    fault_hang("remote", true);
    for (i = 0; i < 30; i++) {
        g_assert_cmpint(write_value(blk, i * 4096, 4096, 0x67, 0), ==, 0);
    }
    bdrv_drain_all();
    g_assert_cmpint(now_ms() - begin, >=, 700);
    g_assert_cmpint(now_ms() - begin, <, 700 + SLACK_MS);
    expect_refusal("in a drained section");
    g_assert_cmpint(stats().queued_bytes, ==, 0);
    blk_unref(blk);
}

/* Attached and not started: nothing is left out */
static void test_early(void)
{
    BlockBackend *blk = open_idle(TIMEOUT_MS);

    g_assert_cmpint(write_value(blk, 0, 4096, 0xd1, 0), ==, -EIO);
    g_assert_cmpint(blk_flush(blk), ==, 0);
    replication_start_all(REPLICATION_MODE_PRIMARY, &error_abort);
    g_assert_cmpint(on_disk(0), ==, 0xd1);
    g_assert_cmpint(stats().sent_requests, ==, 2);
    blk_unref(blk);
}

/* ... or it does not start */
static void test_early_fault(void)
{
    BlockBackend *blk = open_idle(TIMEOUT_MS);
    Error *err = NULL;

    fault_set("remote", FAULT_WRITE, EIO);
    g_assert_cmpint(write_value(blk, 0, 4096, 0xd2, 0), ==, -EIO);
    replication_start_all(REPLICATION_MODE_PRIMARY, &err);
    g_assert(err);
    g_assert(strstr(error_get_pretty(err), "lacks data"));
    error_free(err);
    g_assert_cmpint(stats().stage, ==, REPLICATION_STAGE_BROKEN);
    replication_stop_all(true, &error_abort);
    blk_unref(blk);
}

static void test_silent_close(void)
{
    BlockBackend *blk = open_primary();
    int64_t begin = now_ms();

    fault_hang("remote", true);
    g_assert_cmpint(write_value(blk, 0, 4096, 0x88, 0), ==, 0);
    blk_unref(blk);
    g_assert_null(bdrv_find_node("replication0"));
    g_assert_cmpint(now_ms() - begin, <, TIMEOUT_MS + SLACK_MS);
}

/* All was answered but the last flush; after the failover nobody asks for it */
static void test_silent_idle(void)
{
    BlockBackend *blk = open_primary();

    g_assert_cmpint(write_value(blk, 0, 4096, 0x9a, 0), ==, 0);
    replication_do_checkpoint_all(&error_abort);
    fault_hang("remote", true);
    replication_stop_all(true, &error_abort);
    blk_unref(blk);
    g_assert_null(bdrv_find_node("replication0"));
}

/* A failover gives the peer up at once, without waiting for the time-out */
static void test_silent_failover(void)
{
    BlockBackend *blk = open_primary();

    fault_hang("remote", true);
    g_assert_cmpint(write_value(blk, 0, 4096, 0x99, 0), ==, 0);
    replication_stop_all(true, &error_abort);
    bdrv_drain_all();
    g_assert_cmpint(stats().stage, ==, REPLICATION_STAGE_DONE);
    g_assert_cmpint(write_value(blk, 0, 4096, 0x99, 0), ==, -EIO);
    g_assert_cmpint(blk_flush(blk), ==, 0);
    blk_unref(blk);
}

/* Slow is not silent: within the time-out nothing is lost */
static void test_slow(void)
{
    BlockBackend *blk = open_primary();
    int64_t begin = now_ms();

    fault_hang("remote", true);
    g_assert_cmpint(write_value(blk, 0, 4096, 0xaa, 0), ==, 0);
    while (now_ms() - begin < TIMEOUT_MS / 4) {
        main_loop_wait(true);
        g_usleep(1000);
    }
    fault_hang("remote", false);
    replication_do_checkpoint_all(&error_abort);
    g_assert_cmpint(on_disk(0), ==, 0xaa);
    blk_unref(blk);
}

/* As a primary has it: its own disk, and the secondary's, which is @image */
static BlockBackend *open_quorum(void)
{
    QDict *options = qdict_new();
    BlockBackend *blk;

    qdict_put_str(options, "driver", "quorum");
    qdict_put_str(options, "read-pattern", "fifo");
    qdict_put_int(options, "vote-threshold", 1);
    qdict_put_str(options, "children.0.driver", "colo-fault");
    qdict_put_str(options, "children.0.node-name", "own");
    qdict_put_str(options, "children.0.file.driver", "file");
    qdict_put_str(options, "children.0.file.filename", own_image);
    qdict_put_str(options, "children.1.driver", "replication");
    qdict_put_str(options, "children.1.mode", "primary");
    qdict_put_str(options, "children.1.file.driver", "file");
    qdict_put_str(options, "children.1.file.filename", image);
    blk = blk_new_open(NULL, NULL, options, BDRV_O_RDWR, &error_abort);
    replication_start_all(REPLICATION_MODE_PRIMARY, &error_abort);
    return blk;
}

/* What the guest is told is what its own disk says, not what is queued */
static void test_own_disk(void)
{
    BlockBackend *blk = open_quorum();

    g_assert_cmpint(write_value(blk, 0, 4096, 0xbb, 0), ==, 0);
    g_assert_cmpint(blk_flush(blk), ==, 0);
    fault_set("own", FAULT_WRITE, EIO);
    g_assert_cmpint(write_value(blk, 0, 4096, 0xbc, 0), ==, -EIO);
    fault_set("own", FAULT_FLUSH, EIO);
    g_assert_cmpint(blk_flush(blk), ==, -EIO);
    blk_unref(blk);
}

typedef struct Overlap {
    BlockBackend *blk;
    uint8_t *buffer;
    int64_t offset, bytes;
    int ret;
} Overlap;

static void coroutine_fn overlap_entry(void *opaque)
{
    Overlap *o = opaque;

    o->ret = blk_co_pwrite(o->blk, o->offset, o->bytes, o->buffer, 0);
}

static void overlap_begin(Overlap *o, BlockBackend *blk, uint8_t value,
                          int64_t offset, int64_t bytes)
{
    *o = (Overlap) { .blk = blk, .offset = offset, .bytes = bytes,
                     .buffer = g_malloc(bytes), .ret = -EINPROGRESS };
    memset(o->buffer, value, bytes);
    qemu_coroutine_enter(qemu_coroutine_create(overlap_entry, o));
}

static void overlap_end(Overlap *o)
{
    int64_t begin = now_ms();

    while (o->ret == -EINPROGRESS) {
        g_assert_cmpint(now_ms() - begin, <, SLACK_MS);
        aio_poll(qemu_get_aio_context(), true);
    }
    g_assert_cmpint(o->ret, ==, 0);
    g_free(o->buffer);
}

static uint8_t own_byte(int64_t offset)
{
    BlockBackend *own = blk_new_with_bs(bdrv_find_node("own"),
                                        BLK_PERM_CONSISTENT_READ, BLK_PERM_ALL,
                                        &error_abort);
    uint8_t value;

    g_assert_cmpint(blk_pread(own, offset, 1, &value, 0), ==, 0);
    blk_unref(own);
    return value;
}

/*
 * A write overtakes one that it overlaps, on the primary's disk: the two disks
 * are equal all the same.
 */
static void test_overlap(void)
{
    BlockBackend *blk = open_quorum();
    Overlap first, second, apart;
    int64_t at;

    fault_hang("own", true);
    overlap_begin(&first, blk, 0xc1, 0, 8192);
    fault_overtake("own");
    overlap_begin(&second, blk, 0xc2, 4096, 8192);
    overlap_begin(&apart, blk, 0xc3, 65536, 4096);
    /* Only what overlaps waits */
    overlap_end(&apart);
    fault_hang("own", false);
    overlap_end(&first);
    overlap_end(&second);
    replication_do_checkpoint_all(&error_abort);
    for (at = 0; at < 3 * 4096; at += 2048) {
        g_assert_cmpint(on_disk(at), ==, own_byte(at));
    }
    g_assert_cmpint(on_disk(65536), ==, own_byte(65536));
    blk_unref(blk);
}

static BlockBackend *try_open(const char *option, const char *value,
                              const char *message)
{
    QDict *options = qdict_new();
    Error *err = NULL;
    BlockBackend *blk;

    qdict_put_str(options, "driver", "replication");
    qdict_put_str(options, "mode", "primary");
    qdict_put_str(options, option, value);
    qdict_put_str(options, "file.driver", "null-co");
    blk = blk_new_open(NULL, NULL, options, BDRV_O_RDWR, &err);
    g_assert_null(blk);
    g_assert(strstr(error_get_pretty(err), message));
    error_free(err);
    return blk;
}

static void test_options(void)
{
    try_open("mode", "tertiary", "primary or secondary");
    try_open("top-id", "disk0", "does not support option top-id");
    try_open("overlay.limit", "1M", "does not support option overlay.limit");
    try_open("timeout", "0", "from 1 to");
    try_open("timeout", "soon", "timeout");
    try_open("flush", "never", "never");
}

static char *new_image(void)
{
    char *name = g_strdup_printf("%s/colo-disk-XXXXXX", g_get_tmp_dir());
    int fd = g_mkstemp(name);

    g_assert(fd >= 0 && ftruncate(fd, SIZE) == 0);
    close(fd);
    return name;
}

int main(int argc, char **argv)
{
    static const char *const names[] = { "read", "write", "zeroes", "discard",
                                         "flush" };
    int op, ret;

    qemu_init_main_loop(&error_fatal);
    bdrv_init();
    fault_init();
    g_test_init(&argc, &argv, NULL);
    image = new_image();
    own_image = new_image();

    g_test_add_func("/colo/disk/primary/forward", test_forward);
    g_test_add_func("/colo/disk/primary/background/forward", test_background);
    g_test_add_func("/colo/disk/primary/background/drain",
                    test_background_drain);
    g_test_add_data_func("/colo/disk/primary/background/EIO",
                         GINT_TO_POINTER(EIO), test_background_fault);
    g_test_add_data_func("/colo/disk/primary/background/ENOSPC",
                         GINT_TO_POINTER(ENOSPC), test_background_fault);
    g_test_add_func("/colo/disk/primary/defer/commit", test_defer);
    g_test_add_func("/colo/disk/primary/defer/EIO", test_defer_fault);
    g_test_add_func("/colo/disk/primary/defer/room", test_defer_room);
    g_test_add_data_func("/colo/disk/primary/defer/closed",
                         GINT_TO_POINTER(false), test_defer_end);
    g_test_add_data_func("/colo/disk/primary/defer/stopped",
                         GINT_TO_POINTER(true), test_defer_end);
    g_test_add_func("/colo/disk/primary/large-epoch", test_large_epoch);
    g_test_add_func("/colo/disk/primary/held", test_held);
    g_test_add_func("/colo/disk/primary/order", test_order);
    for (op = FAULT_WRITE; op < FAULT_OPS; op++) {
        g_autofree char *eio =
            g_strdup_printf("/colo/disk/primary/EIO/%s", names[op]);
        g_autofree char *enospc =
            g_strdup_printf("/colo/disk/primary/ENOSPC/%s", names[op]);

        g_test_add_data_func(eio, GINT_TO_POINTER(op * 1000 + EIO), test_fault);
        g_test_add_data_func(enospc, GINT_TO_POINTER(op * 1000 + ENOSPC),
                             test_fault);
    }
    g_test_add_func("/colo/disk/primary/silent/drain", test_silent_drain);
    g_test_add_func("/colo/disk/primary/silent/full", test_silent_full);
    g_test_add_func("/colo/disk/primary/silent/close", test_silent_close);
    g_test_add_func("/colo/disk/primary/silent/failover", test_silent_failover);
    g_test_add_func("/colo/disk/primary/silent/idle", test_silent_idle);
    g_test_add_func("/colo/disk/primary/silent/hurry", test_silent_hurry);
    g_test_add_func("/colo/disk/primary/early/sent", test_early);
    g_test_add_func("/colo/disk/primary/early/fault", test_early_fault);
    g_test_add_func("/colo/disk/primary/slow", test_slow);
    g_test_add_func("/colo/disk/primary/own-disk", test_own_disk);
    g_test_add_func("/colo/disk/primary/overlap", test_overlap);
    g_test_add_func("/colo/disk/primary/options", test_options);
    ret = g_test_run();
    unlink(image);
    unlink(own_image);
    g_free(image);
    g_free(own_image);
    return ret;
}
