/*
 * The primary's queue to the secondary's disk: who waits for room there
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

/* With less room a writer waits, and goes on with the queue. */
static void test_defer_room(void)
{
    BlockBackend *blk = prim_open_with_timeout(600 * 1000);
    const FaultLog *log = fault_log("remote");
    int i;

    fault_hang("remote", true);
    for (i = 0; i < 8; i++) {
        g_assert_cmpint(prim_write(blk, i * MiB, 1 * MiB, 0xe5, 0), ==, 0);
    }
    replication_defer_flushes_all(true);
    g_assert(!replication_is_short_all());
    fault_hang("remote", false);
    for (i = 0; i < 8; i++) {
        g_assert_cmpint(prim_write(blk, i * MiB, 1 * MiB, 0xe6, 0), ==, 0);
        g_assert_cmpint(prim_stats().queued_bytes, <=, 1 * MiB);
    }
    replication_defer_flushes_all(false);
    replication_do_checkpoint_all(&error_abort);
    g_assert_cmpint(log->count[FAULT_WRITE], ==, 16);
    for (i = 0; i < 8; i++) {
        g_assert_cmpint(prim_on_disk(i * MiB), ==, 0xe6);
    }
    blk_unref(blk);
}

typedef struct Waiter {
    BlockBackend *blk;
    FaultOp op;
    int64_t offset, bytes;
    int ret;
} Waiter;

static void coroutine_fn waiter_entry(void *opaque)
{
    Waiter *w = opaque;
    g_autofree void *buffer = NULL;

    switch (w->op) {
    case FAULT_FLUSH:
        w->ret = blk_co_flush(w->blk);
        break;
    case FAULT_ZEROES:
        w->ret = blk_co_pwrite_zeroes(w->blk, w->offset, w->bytes, 0);
        break;
    default:
        buffer = g_malloc0(w->bytes);
        w->ret = blk_co_pwrite(w->blk, w->offset, w->bytes, buffer, 0);
        break;
    }
}

static void begin(Waiter *w, BlockBackend *blk, FaultOp op, int64_t offset,
                  int64_t bytes)
{
    *w = (Waiter) { .blk = blk, .op = op, .offset = offset, .bytes = bytes,
                    .ret = -EINPROGRESS };
    qemu_coroutine_enter(qemu_coroutine_create(waiter_entry, w));
}

static void await(const Waiter *w)
{
    int64_t begin = prim_now_ms();

    while (w->ret == -EINPROGRESS) {
        g_assert_cmpint(prim_now_ms() - begin, <, PRIM_SLACK_MS);
        main_loop_wait(true);
        g_usleep(1000);
    }
}

/*
 * Large zeroes go in parts, and no more at once than of data: the secondary, which
 * has to keep what was there, needs time for each.
 */
static void test_large_zeroes(void)
{
    BlockBackend *blk = prim_open_with_timeout(600 * 1000);
    const FaultLog *log = fault_log("remote");
    Waiter w;

    g_assert_cmpint(prim_write(blk, 0, 16 * MiB, 0xe9, 0), ==, 0);
    g_assert_cmpint(prim_write(blk, 16 * MiB, 16 * MiB, 0xe9, 0), ==, 0);
    replication_do_checkpoint_all(&error_abort);
    fault_hang("remote", true);
    begin(&w, blk, FAULT_ZEROES, 512, 28 * MiB);
    prim_await_order(log, "wwzzzz");
    g_assert_cmpint(w.ret, ==, -EINPROGRESS);
    g_assert_cmpint(prim_stats().queued_bytes, <=, 16 * MiB);
    g_assert(!replication_is_short_all());
    fault_hang("remote", false);
    await(&w);
    g_assert_cmpint(w.ret, ==, 0);
    replication_do_checkpoint_all(&error_abort);
    g_assert_cmpstr(log->order, ==, "wwzzzzzzz");
    g_assert_cmpint(prim_on_disk(511), ==, 0xe9);
    g_assert_cmpint(prim_on_disk(512), ==, 0);
    g_assert_cmpint(prim_on_disk(28 * MiB + 511), ==, 0);
    g_assert_cmpint(prim_on_disk(28 * MiB + 512), ==, 0xe9);
    g_assert_cmpint(blk_pdiscard(blk, 0, 8 * MiB), ==, 0);
    replication_do_checkpoint_all(&error_abort);
    g_assert_cmpstr(log->order, ==, "wwzzzzzzzdd");
    blk_unref(blk);
}

/*
 * A flush and a write wait for one large request; a checkpoint that becomes due
 * lets the flush go on, and the write with the end of that request.
 */
static void test_defer_waiters(void)
{
    BlockBackend *blk = prim_open_with_timeout(600 * 1000);
    Waiter flush, write;

    fault_hang("remote", true);
    g_assert_cmpint(prim_write(blk, 0, 17 * MiB, 0xe8, 0), ==, 0);
    begin(&flush, blk, FAULT_FLUSH, 0, 0);
    begin(&write, blk, FAULT_WRITE, 4096, 4096);
    g_assert_cmpint(flush.ret, ==, -EINPROGRESS);
    replication_defer_flushes_all(true);
    fault_hang("remote", false);
    await(&flush);
    await(&write);
    g_assert_cmpint(flush.ret, ==, 0);
    g_assert_cmpint(write.ret, ==, 0);
    replication_do_checkpoint_all(&error_abort);
    blk_unref(blk);
}

/*
 * Who comes first is served first: what is small doesn't pass what is large, however
 * much of it there is.
 */
static void test_fair(void)
{
    BlockBackend *blk = prim_open_with_timeout(600 * 1000);
    const FaultLog *log = fault_log("remote");
    Waiter large, small[4];
    int i;

    fault_hang("remote", true);
    g_assert_cmpint(prim_write(blk, 0, 13 * MiB, 0xea, 0), ==, 0);
    begin(&large, blk, FAULT_ZEROES, 16 * MiB, 4 * MiB);
    for (i = 0; i < ARRAY_SIZE(small); i++) {
        begin(&small[i], blk, FAULT_WRITE, 24 * MiB + i * 4096, 4096);
        g_assert_cmpint(small[i].ret, ==, -EINPROGRESS);
    }
    g_assert_cmpint(large.ret, ==, -EINPROGRESS);
    fault_hang("remote", false);
    await(&large);
    for (i = 0; i < ARRAY_SIZE(small); i++) {
        await(&small[i]);
        g_assert_cmpint(small[i].ret, ==, 0);
    }
    g_assert_cmpint(large.ret, ==, 0);
    replication_do_checkpoint_all(&error_abort);
    g_assert_cmpstr(log->order, ==, "wzwwww");
    blk_unref(blk);
}

/* All who wait are told when the secondary is lost; behind a large one, too */
static void test_refused(void)
{
    BlockBackend *blk = prim_open();
    Waiter w[6];
    int i;

    fault_hang("remote", true);
    g_assert_cmpint(prim_write(blk, 0, 12 * MiB, 0xeb, 0), ==, 0);
    for (i = 0; i < ARRAY_SIZE(w); i++) {
        begin(&w[i], blk, i % 3 == 1 ? FAULT_FLUSH : FAULT_WRITE, 0,
              i % 3 == 1 ? 0 : i ? 4096 : 8 * MiB);
        g_assert_cmpint(w[i].ret, ==, -EINPROGRESS);
    }
    prim_await_broken();
    for (i = 0; i < ARRAY_SIZE(w); i++) {
        await(&w[i]);
        g_assert_cmpint(w[i].ret, ==, -EIO);
    }
    blk_unref(blk);
}

/* Flushes that have become due later pass a large one which still waits */
static void test_defer_flushes(void)
{
    BlockBackend *blk = prim_open_with_timeout(600 * 1000);
    Waiter large, flush[3];
    int i;

    fault_hang("remote", true);
    g_assert_cmpint(prim_write(blk, 0, 12 * MiB, 0xec, 0), ==, 0);
    begin(&large, blk, FAULT_WRITE, 16 * MiB, 8 * MiB);
    for (i = 0; i < ARRAY_SIZE(flush); i++) {
        begin(&flush[i], blk, FAULT_FLUSH, 0, 0);
        g_assert_cmpint(flush[i].ret, ==, -EINPROGRESS);
    }
    replication_defer_flushes_all(true);
    for (i = 0; i < ARRAY_SIZE(flush); i++) {
        await(&flush[i]);
        g_assert_cmpint(flush[i].ret, ==, 0);
    }
    g_assert_cmpint(large.ret, ==, -EINPROGRESS);
    fault_hang("remote", false);
    await(&large);
    g_assert_cmpint(large.ret, ==, 0);
    replication_defer_flushes_all(false);
    replication_do_checkpoint_all(&error_abort);
    blk_unref(blk);
}

int main(int argc, char **argv)
{
    int ret;

    qemu_init_main_loop(&error_fatal);
    bdrv_init();
    g_test_init(&argc, &argv, NULL);
    prim_init();

    g_test_add_func("/colo/disk/room/large-zeroes", test_large_zeroes);
    g_test_add_func("/colo/disk/room/fair", test_fair);
    g_test_add_func("/colo/disk/room/refused", test_refused);
    g_test_add_func("/colo/disk/room/defer/writer", test_defer_room);
    g_test_add_func("/colo/disk/room/defer/waiters", test_defer_waiters);
    g_test_add_func("/colo/disk/room/defer/flushes", test_defer_flushes);
    ret = g_test_run();
    prim_cleanup();
    return ret;
}
