/*
 * The primary's side of replication, in front of a disk that fails or hangs
 *
 * /colo/disk/loss/PHASE/REQUEST/ERROR: this is what an NBD client gets
 *
 *   early        attached, before replication starts
 *   epoch        both guests run
 *   deferred     a checkpoint is due, and goes by
 *   background   the same, with flush=background
 *   stop         replication ends in peace
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/main-loop.h"
#include "qemu/units.h"
#include "qapi/error.h"
#include "block/block_int.h"
#include "block/replication.h"
#include "sysemu/block-backend.h"
#include "colo-fault.h"
#include "colo-primary-node.h"

typedef enum { EARLY, EPOCH, DEFERRED, BACKGROUND, STOP, PHASES } Phase;

static const char *const phase_names[] = { "early", "epoch", "deferred",
                                           "background", "stop" };

typedef struct Case {
    Phase phase;
    FaultOp op;
    int error;
} Case;

static BlockBackend *open_for(Phase phase)
{
    switch (phase) {
    case EARLY:
        return prim_open_idle(PRIM_TIMEOUT_MS);
    case BACKGROUND:
        return prim_open_background();
    default:
        return prim_open();
    }
}

/* What the guest is told */
static int perform(BlockBackend *blk, FaultOp op)
{
    switch (op) {
    case FAULT_WRITE:
        return prim_write(blk, 0, 4096, 0x44, 0);
    case FAULT_ZEROES:
        return blk_pwrite_zeroes(blk, 0, 65536, 0);
    case FAULT_DISCARD:
        return blk_pdiscard(blk, 0, 65536);
    case FAULT_FLUSH:
        return prim_write(blk, 0, 4096, 0x44, 0) ?: blk_flush(blk);
    default:
        g_assert_not_reached();
    }
}

/* Nothing of the guest fails, nor is it kept waiting, but no commit is made. */
static void run_fault(const void *opaque)
{
    const Case *c = opaque;
    BlockBackend *blk = open_for(c->phase);
    /* Before it is started, it is no copy; a flush is none in any case */
    int answer = c->phase == EARLY && c->op != FAULT_FLUSH ? -EIO : 0;
    int ret;

    fault_set("remote", c->op, c->error);
    if (c->phase == DEFERRED) {
        replication_defer_flushes_all(true);
    }
    ret = perform(blk, c->op);
    if (c->phase == EARLY && c->op == FAULT_FLUSH) {
        answer = -EIO;      /* its write's */
        g_assert_cmpint(blk_flush(blk), ==, 0);
        /* It is sent only then */
        replication_start_all(REPLICATION_MODE_PRIMARY, &error_abort);
    }
    g_assert_cmpint(ret, ==, answer);
    if (c->phase == DEFERRED) {
        replication_defer_flushes_all(false);
    } else if (c->phase == STOP) {
        /* In peace; what could not be written is told on the way */
        replication_stop_all(false, NULL);
    }
    if (c->phase == STOP) {
        g_assert_cmpint(prim_stats().stage, ==, REPLICATION_STAGE_DONE);
    } else {
        prim_await_broken();
        prim_expect_refusal(strerror(c->error));
    }
    g_assert_cmpint(prim_stats().dropped_requests, >=, 1);

    /* It counts as no copy any more, even if the disk recovers */
    fault_set("remote", c->op, 0);
    g_assert_cmpint(prim_write(blk, 0, 4096, 0x55, 0), ==, -EIO);
    if (c->phase == EARLY) {
        Error *err = NULL;

        replication_start_all(REPLICATION_MODE_PRIMARY, &err);
        g_assert(err);
        g_assert(strstr(error_get_pretty(err), "lacks data"));
        error_free(err);
    }
    if (c->phase != STOP) {
        prim_expect_refusal("lacks data");
    }
    replication_stop_all(true, NULL);
    blk_unref(blk);
}

static void test_silent_drain(void)
{
    BlockBackend *blk = prim_open();
    int64_t begin;

    fault_hang("remote", true);
    begin = prim_now_ms();
    g_assert_cmpint(prim_write(blk, 0, 4096, 0x66, 0), ==, 0);
    g_assert_cmpint(prim_now_ms() - begin, <, PRIM_TIMEOUT_MS + PRIM_SLACK_MS);
    bdrv_drain_all();
    g_assert_cmpint(prim_now_ms() - begin, >=, PRIM_TIMEOUT_MS);
    g_assert_cmpint(prim_now_ms() - begin, <, PRIM_TIMEOUT_MS + PRIM_SLACK_MS);
    prim_expect_refusal("no answer");
    blk_unref(blk);
}

/* The queue is full: a write waits, but not for ever */
static void test_silent_full(void)
{
    BlockBackend *blk = prim_open();
    int64_t begin = prim_now_ms();
    int i, failed = 0;

    fault_hang("remote", true);
    for (i = 0; i < 40; i++) {
        failed += prim_write(blk, i % 8 * MiB, 1 * MiB, 0x77, 0) < 0;
    }
    g_assert_cmpint(failed, ==, 24);
    g_assert_cmpint(prim_now_ms() - begin, <, PRIM_TIMEOUT_MS + PRIM_SLACK_MS);
    g_assert_cmpint(prim_stats().queued_bytes_peak, ==, 16 * MiB);
    prim_expect_refusal("no answer");
    blk_unref(blk);
}

/*
 * The time-out is long: all the same, neither a drain nor the removal of the
 * node waits long for a secondary that is silent, with QMP waiting as well.
 */
static void test_silent_hurry(void)
{
    BlockBackend *blk = prim_open_with_timeout(600 * 1000);
    int64_t begin = prim_now_ms();
    int i;

    fault_hang("remote", true);
    for (i = 0; i < 30; i++) {
        g_assert_cmpint(prim_write(blk, i * 4096, 4096, 0x67, 0), ==, 0);
    }
    bdrv_drain_all();
    g_assert_cmpint(prim_now_ms() - begin, >=, 700);
    g_assert_cmpint(prim_now_ms() - begin, <, 700 + PRIM_SLACK_MS);
    prim_expect_refusal("in a drained section");
    g_assert_cmpint(prim_stats().queued_bytes, ==, 0);
    blk_unref(blk);
}

/*
 * Attached and not started: nothing is left out.  Nor does anything wait for the
 * secondary's platter, which takes long: the end of the first copy and the start
 * drain, and that would be the end.
 */
static void test_early(void)
{
    BlockBackend *blk = prim_open_idle(600 * 1000);
    const FaultLog *log = fault_log("remote");

    g_assert_cmpint(prim_write(blk, 0, 4096, 0xd1, 0), ==, -EIO);
    g_assert_cmpint(prim_write(blk, 4096, 4096, 0xd2, BDRV_REQ_FUA), ==, -EIO);
    prim_await_order(log, "ww");
    bdrv_drain_all();
    fault_hang("remote", true);
    g_assert_cmpint(blk_flush(blk), ==, 0);
    bdrv_drain_all();
    /* One that comes when a drained section has begun is no other */
    bdrv_drained_begin(blk_bs(blk));
    g_assert_cmpint(bdrv_flush(blk_bs(blk)), ==, 0);
    bdrv_drained_end(blk_bs(blk));
    replication_start_all(REPLICATION_MODE_PRIMARY, &error_abort);
    g_assert_cmpint(prim_on_disk(0), ==, 0xd1);
    g_assert_cmpint(prim_on_disk(4096), ==, 0xd2);
    prim_await_order(log, "wwf");
    g_assert_cmpint(log->fua, ==, 0);
    fault_hang("remote", false);
    replication_do_checkpoint_all(&error_abort);
    g_assert_cmpint(prim_stats().sent_requests, ==, 3);
    blk_unref(blk);
}

/* @count requests at 400 ms, 16 at a time, in one drained section */
static BlockBackend *drain_busy(int count)
{
    BlockBackend *blk = prim_open_with_timeout(600 * 1000);
    int i;

    fault_delay("remote", 400);
    for (i = 0; i < count; i++) {
        g_assert_cmpint(prim_write(blk, i * 4096, 4096, 0x68, 0), ==, 0);
    }
    bdrv_drain_all();
    return blk;
}

/* A secondary that has much to do and answers is none that is silent */
static void test_busy(void)
{
    int64_t begin = prim_now_ms();
    BlockBackend *blk = drain_busy(4 * 16);

    g_assert_cmpint(prim_now_ms() - begin, >=, 3 * 400);
    replication_do_checkpoint_all(&error_abort);
    g_assert_cmpint(prim_on_disk(63 * 4096), ==, 0x68);
    blk_unref(blk);
}

/* But not for ever, for QMP waits as well */
static void test_busy_long(void)
{
    int64_t begin = prim_now_ms();
    BlockBackend *blk = drain_busy(12 * 16);

    g_assert_cmpint(prim_now_ms() - begin, >=, 3000);
    prim_expect_refusal("more than 3000 ms in a drained section");
    g_assert_cmpint(prim_stats().dropped_requests, >, 0);
    blk_unref(blk);
}

/* Nor if nothing is under way in between */
static void test_busy_pieces(void)
{
    BlockBackend *blk = prim_open_with_timeout(600 * 1000);
    int64_t begin = prim_now_ms();
    int i;

    blk_set_disable_request_queuing(blk, true);
    fault_delay("remote", 400);
    bdrv_drained_begin(blk_bs(blk));
    for (i = 0; i < 30 && prim_stats().stage == REPLICATION_STAGE_RUNNING; i++) {
        g_assert_cmpint(prim_write(blk, i * 4096, 4096, 0x6a, 0), ==, 0);
        while (prim_stats().queued_bytes) {
            aio_poll(qemu_get_aio_context(), true);
        }
    }
    bdrv_drained_end(blk_bs(blk));
    g_assert_cmpint(prim_now_ms() - begin, >=, 3000);
    prim_expect_refusal("more than 3000 ms in a drained section");
    blk_unref(blk);
}

/*
 * The answer comes in the last moment, and in the same drained section there is
 * another request, which gets none: that has an end, too.
 */
static void test_late_then_silent(void)
{
    int tries = 20;

    while (tries--) {
        BlockBackend *blk = prim_open_with_timeout(600 * 1000);
        BlockDriverState *bs = blk_bs(blk);
        bool in_time;

        fault_delay("remote", 740);
        g_assert_cmpint(prim_write(blk, 0, 4096, 0x69, 0), ==, 0);
        bdrv_drained_begin(bs);
        in_time = prim_stats().stage == REPLICATION_STAGE_RUNNING;
        if (in_time) {
            int64_t begin = prim_now_ms();

            fault_hang("remote", true);
            bdrv_flush(bs);
            bdrv_drain(bs);
            g_assert_cmpint(prim_now_ms() - begin, >=, 700);
            g_assert_cmpint(prim_now_ms() - begin, <, 700 + PRIM_SLACK_MS);
            prim_expect_refusal("in a drained section");
        }
        bdrv_drained_end(bs);
        blk_unref(blk);
        if (in_time) {
            return;
        }
    }
    g_test_skip("this machine is too busy to meet a moment of 100 ms");
}

static void test_silent_close(void)
{
    BlockBackend *blk = prim_open();
    int64_t begin = prim_now_ms();

    fault_hang("remote", true);
    g_assert_cmpint(prim_write(blk, 0, 4096, 0x88, 0), ==, 0);
    blk_unref(blk);
    g_assert_null(bdrv_find_node("replication0"));
    g_assert_cmpint(prim_now_ms() - begin, <, PRIM_TIMEOUT_MS + PRIM_SLACK_MS);
}

/* All was answered but the last flush; after the failover nobody asks for it */
static void test_silent_idle(void)
{
    BlockBackend *blk = prim_open();

    g_assert_cmpint(prim_write(blk, 0, 4096, 0x9a, 0), ==, 0);
    replication_do_checkpoint_all(&error_abort);
    fault_hang("remote", true);
    replication_stop_all(true, &error_abort);
    blk_unref(blk);
    g_assert_null(bdrv_find_node("replication0"));
}

/* A failover gives the peer up at once, without waiting for the time-out */
static void test_silent_failover(void)
{
    BlockBackend *blk = prim_open();

    fault_hang("remote", true);
    g_assert_cmpint(prim_write(blk, 0, 4096, 0x99, 0), ==, 0);
    replication_stop_all(true, &error_abort);
    bdrv_drain_all();
    g_assert_cmpint(prim_stats().stage, ==, REPLICATION_STAGE_DONE);
    g_assert_cmpint(prim_write(blk, 0, 4096, 0x99, 0), ==, -EIO);
    g_assert_cmpint(blk_flush(blk), ==, 0);
    blk_unref(blk);
}

/* Slow is not silent: within the time-out nothing is lost */
static void test_slow(void)
{
    BlockBackend *blk = prim_open();
    int64_t begin = prim_now_ms();

    fault_hang("remote", true);
    g_assert_cmpint(prim_write(blk, 0, 4096, 0xaa, 0), ==, 0);
    while (prim_now_ms() - begin < PRIM_TIMEOUT_MS / 4) {
        main_loop_wait(true);
        g_usleep(1000);
    }
    fault_hang("remote", false);
    replication_do_checkpoint_all(&error_abort);
    g_assert_cmpint(prim_on_disk(0), ==, 0xaa);
    blk_unref(blk);
}

static void add_fault(Phase phase, FaultOp op, int error)
{
    static const char *const ops[] = { "read", "write", "zeroes", "discard",
                                       "flush" };
    Case *c = g_new(Case, 1);
    g_autofree char *name =
        g_strdup_printf("/colo/disk/loss/%s/%s/%s", phase_names[phase], ops[op],
                        error == EIO ? "EIO" : "ENOSPC");

    *c = (Case) { .phase = phase, .op = op, .error = error };
    g_test_add_data_func_full(name, c, run_fault, g_free);
}

int main(int argc, char **argv)
{
    int phase, op, ret;

    qemu_init_main_loop(&error_fatal);
    bdrv_init();
    g_test_init(&argc, &argv, NULL);
    prim_init();

    for (phase = 0; phase < PHASES; phase++) {
        for (op = FAULT_WRITE; op < FAULT_OPS; op++) {
            add_fault(phase, op, EIO);
            add_fault(phase, op, ENOSPC);
        }
    }
    g_test_add_func("/colo/disk/loss/silent/drain", test_silent_drain);
    g_test_add_func("/colo/disk/loss/silent/full", test_silent_full);
    g_test_add_func("/colo/disk/loss/silent/close", test_silent_close);
    g_test_add_func("/colo/disk/loss/silent/failover", test_silent_failover);
    g_test_add_func("/colo/disk/loss/silent/idle", test_silent_idle);
    g_test_add_func("/colo/disk/loss/silent/hurry", test_silent_hurry);
    g_test_add_func("/colo/disk/loss/busy/answers", test_busy);
    g_test_add_func("/colo/disk/loss/busy/long", test_busy_long);
    g_test_add_func("/colo/disk/loss/busy/pieces", test_busy_pieces);
    g_test_add_func("/colo/disk/loss/busy/silent", test_late_then_silent);
    g_test_add_func("/colo/disk/loss/early", test_early);
    g_test_add_func("/colo/disk/loss/slow", test_slow);
    ret = g_test_run();
    prim_cleanup();
    return ret;
}
