/*
 * The primary's side of replication: what goes to the secondary, and when
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
#include "colo-primary-node.h"

/* All kinds of requests arrive as what they are, in order */
static void test_forward(void)
{
    BlockBackend *blk;
    const FaultLog *log;

    blk = prim_open();
    log = fault_log("remote");

    g_assert_cmpint(prim_write(blk, 0, 4096, 0x11, 0), ==, 0);
    g_assert_cmpint(prim_write(blk, 512, 512, 0x22, BDRV_REQ_FUA), ==, 0);
    g_assert_cmpint(blk_pwrite_zeroes(blk, 1 * MiB, 1 * MiB, 0), ==, 0);
    g_assert_cmpint(blk_pdiscard(blk, 2 * MiB, 1 * MiB), ==, 0);
    g_assert_cmpint(blk_flush(blk), ==, 0);
    g_assert_cmpint(prim_write(blk, 4096, 512, 0x33, 0), ==, 0);
    replication_do_checkpoint_all(&error_abort);

    g_assert_cmpstr(log->order, ==, "wwzdfw");
    g_assert_cmpint(log->fua, ==, 1);
    g_assert_cmpint(prim_on_disk(0), ==, 0x11);
    g_assert_cmpint(prim_on_disk(512), ==, 0x22);
    g_assert_cmpint(prim_on_disk(4096), ==, 0x33);
    g_assert_cmpint(prim_stats().sent_requests, ==, 6);
    g_assert_cmpint(prim_stats().queued_bytes, ==, 0);
    g_assert_cmpint(prim_stats().epoch, ==, 2);
    blk_unref(blk);
}

/* Flushes are no part of that: one for many, and nobody waits for it */
static void test_background(void)
{
    BlockBackend *blk = prim_open_background();
    const FaultLog *log = fault_log("remote");
    int i;

    g_assert_cmpint(blk_flush(blk), ==, 0);
    for (i = 0; i < 20; i++) {
        g_assert_cmpint(prim_write(blk, i * 4096, 4096, 0x11,
                                    i % 2 ? BDRV_REQ_FUA : 0), ==, 0);
        g_assert_cmpint(blk_flush(blk), ==, 0);
    }
    replication_do_checkpoint_all(&error_abort);
    g_assert_cmpstr(log->order, ==, "wwwwwwwwwwwwwwwwwwww");
    prim_await(&log->count[FAULT_FLUSH], 1);
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
    BlockBackend *blk = prim_open_background();
    const FaultLog *log = fault_log("remote");
    int64_t begin = prim_now_ms();

    g_assert_cmpint(blk_flush(blk), ==, 0);
    bdrv_drain_all_begin();
    while (prim_now_ms() - begin < 1500) {
        main_loop_wait(true);
        g_usleep(1000);
    }
    g_assert_cmpint(log->count[FAULT_FLUSH], ==, 0);
    bdrv_drain_all_end();
    prim_await(&log->count[FAULT_FLUSH], 1);
    blk_unref(blk);
}

/*
 * A checkpoint waits for the flush under way at most, which holds up no write;
 * it is followed by one for all others.
 */
static void test_defer(void)
{
    BlockBackend *blk = prim_open_with_timeout(600 * 1000);
    const FaultLog *log = fault_log("remote");

    fault_hang("remote", true);
    g_assert_cmpint(blk_flush(blk), ==, 0);
    g_assert_cmpint(prim_write(blk, 0, 4096, 0xe1, 0), ==, 0);
    g_assert_cmpint(blk_flush(blk), ==, 0);
    g_assert_cmpint(prim_write(blk, 4096, 4096, 0xe2, BDRV_REQ_FUA), ==, 0);
    g_assert_cmpint(blk_flush(blk), ==, 0);
    prim_await_order(log, "f");
    g_assert(!replication_is_short_all());

    fault_overtake("remote");
    replication_defer_flushes_all(true);
    prim_await_order(log, "fww");
    g_assert_cmpint(blk_flush(blk), ==, 0);
    g_assert_cmpint(prim_write(blk, 8192, 4096, 0xe3, BDRV_REQ_FUA), ==, 0);
    prim_await_order(log, "fwww");
    g_assert(!replication_is_short_all());

    fault_hang("remote", false);
    replication_do_checkpoint_all(&error_abort);
    g_assert(replication_is_short_all());
    g_assert_cmpstr(log->order, ==, "fwww");
    g_assert_cmpint(log->fua, ==, 0);
    g_assert_cmpint(prim_on_disk(0), ==, 0xe1);
    g_assert_cmpint(prim_on_disk(4096), ==, 0xe2);
    g_assert_cmpint(prim_on_disk(8192), ==, 0xe3);

    replication_defer_flushes_all(false);
    g_assert_cmpint(prim_write(blk, 0, 4096, 0xe4, 0), ==, 0);
    replication_do_checkpoint_all(&error_abort);
    g_assert_cmpstr(log->order, ==, "fwwwfw");

    /* Nothing was flushed meanwhile: so is nothing afterwards */
    replication_defer_flushes_all(true);
    replication_defer_flushes_all(false);
    replication_do_checkpoint_all(&error_abort);
    g_assert_cmpstr(log->order, ==, "fwwwfw");
    blk_unref(blk);
}

/* A flush that was promised is made, however it ends */
static void test_defer_end(const void *opaque)
{
    BlockBackend *blk = prim_open();
    const FaultLog *log = fault_log("remote");
    BlockDriverState *remote = bdrv_find_node("remote");
    bool stop = GPOINTER_TO_INT(opaque);

    bdrv_ref(remote);
    g_assert_cmpint(prim_write(blk, 0, 4096, 0xe7, 0), ==, 0);
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

/* What is owed when replication starts isn't sent before the secondary has started */
static void test_defer_start(void)
{
    BlockBackend *blk = prim_open_idle(PRIM_TIMEOUT_MS);
    const FaultLog *log = fault_log("remote");

    g_assert_cmpint(prim_write(blk, 0, 4096, 0xe8, 0), ==, -EIO);
    g_assert_cmpint(blk_flush(blk), ==, 0);
    replication_defer_flushes_all(true);
    replication_start_all(REPLICATION_MODE_PRIMARY, &error_abort);
    replication_get_error_all(&error_abort);
    g_assert_cmpstr(log->order, ==, "w");
    replication_defer_flushes_all(false);
    replication_get_error_all(&error_abort);
    g_assert_cmpstr(log->order, ==, "wf");
    blk_unref(blk);
}

static unsigned asked;

static void ask(void)
{
    asked++;
}

/* An epoch that becomes large asks for its end, once */
static void test_large_epoch(void)
{
    BlockBackend *blk = prim_open();
    int i;

    asked = 0;
    replication_set_asked(ask);
    for (i = 0; i < 150; i++) {
        g_assert_cmpint(prim_write(blk, i % 8 * MiB, 1 * MiB, i, 0), ==, 0);
        g_assert_cmpint(asked, ==, i >= 126);   /* 128 MiB, 16 KiB each */
    }
    replication_do_checkpoint_all(&error_abort);
    for (i = 0; i < 126; i++) {
        g_assert_cmpint(prim_write(blk, i % 8 * MiB, 1 * MiB, i, 0), ==, 0);
    }
    g_assert_cmpint(asked, ==, 1);
    g_assert_cmpint(prim_write(blk, 0, 1 * MiB, 1, 0), ==, 0);
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
    BlockBackend *blk = prim_open_with_timeout(600 * 1000);
    const FaultLog *log = fault_log("remote");

    g_assert_cmpint(blk_flush(blk), ==, 0);
    replication_do_checkpoint_all(&error_abort);
    g_assert_cmpint(prim_write(blk, 0, 4096, 0xa1, 0), ==, 0);
    g_assert_cmpstr(log->order, ==, "f");
    g_assert_cmpint(blk_flush(blk), ==, 0);
    prim_await_order(log, "fw");
    g_assert_cmpint(log->fua, ==, 1);
    replication_get_error_all(&error_abort);

    g_assert_cmpint(prim_write(blk, 4096, 4096, 0xa2, 0), ==, 0);
    g_assert_cmpint(prim_stats().queued_bytes, ==, 4096);
    prim_await_order(log, "fww");
    g_assert_cmpint(prim_write(blk, 8192, 4096, 0xa3, 0), ==, 0);
    g_assert_cmpint(blk_flush(blk), ==, 0);
    prim_await_order(log, "fwwwf");
    g_assert_cmpint(log->fua, ==, 1);

    g_assert_cmpint(prim_write(blk, 0, 4096, 0xa4, 0), ==, 0);
    replication_defer_flushes_all(true);
    g_assert_cmpstr(log->order, ==, "fwwwfw");
    g_assert_cmpint(blk_flush(blk), ==, 0);
    replication_do_checkpoint_all(&error_abort);
    replication_defer_flushes_all(false);
    replication_do_checkpoint_all(&error_abort);
    g_assert_cmpstr(log->order, ==, "fwwwfwf");
    g_assert_cmpint(prim_on_disk(0), ==, 0xa4);
    g_assert_cmpint(prim_on_disk(4096), ==, 0xa2);
    blk_unref(blk);
}

/* Writes of one place arrive in their order, whatever the queue does */
static void test_order(void)
{
    BlockBackend *blk = prim_open();
    int i;

    fault_hang("remote", true);
    for (i = 1; i <= 100; i++) {
        g_assert_cmpint(prim_write(blk, 8192, 512, i, 0), ==, 0);
    }
    fault_hang("remote", false);
    replication_get_error_all(&error_abort);
    g_assert_cmpint(prim_on_disk(8192), ==, 100);
    blk_unref(blk);
}

static void put_below(QDict *options, const char *prefix, const char *key,
                      const char *value)
{
    g_autofree char *full = g_strconcat(prefix, key, NULL);

    qdict_put_str(options, full, value);
}

/* As a primary has it: its own disk, and the secondary's, which is prim_image */
static BlockBackend *open_quorum(bool filter)
{
    QDict *options = qdict_new();
    const char *replica = filter ? "children.1.file." : "children.1.";
    BlockBackend *blk;

    qdict_put_str(options, "driver", "quorum");
    qdict_put_str(options, "read-pattern", "fifo");
    qdict_put_int(options, "vote-threshold", 1);
    qdict_put_str(options, "children.0.driver", "colo-fault");
    qdict_put_str(options, "children.0.node-name", "own");
    qdict_put_str(options, "children.0.file.driver", "file");
    qdict_put_str(options, "children.0.file.filename", prim_own_image);
    if (filter) {
        qdict_put_str(options, "children.1.driver", "colo-fault");
        qdict_put_str(options, "children.1.node-name", "filter");
    }
    put_below(options, replica, "driver", "replication");
    put_below(options, replica, "mode", "primary");
    put_below(options, replica, "file.driver", "file");
    put_below(options, replica, "file.filename", prim_image);
    blk = blk_new_open(NULL, NULL, options, BDRV_O_RDWR, &error_abort);
    replication_start_all(REPLICATION_MODE_PRIMARY, &error_abort);
    return blk;
}

/* What the guest is told is what its own disk says, not what is queued */
static void test_own_disk(const void *opaque)
{
    BlockBackend *blk = open_quorum(GPOINTER_TO_INT(opaque));

    g_assert_cmpint(prim_write(blk, 0, 4096, 0xbb, 0), ==, 0);
    g_assert_cmpint(blk_flush(blk), ==, 0);
    fault_set("own", FAULT_WRITE, EIO);
    g_assert_cmpint(prim_write(blk, 0, 4096, 0xbc, 0), ==, -EIO);
    fault_set("own", FAULT_FLUSH, EIO);
    g_assert_cmpint(blk_flush(blk), ==, -EIO);
    blk_unref(blk);
}

/* Its own disk has been taken away: what is queued is nowhere yet */
static void test_no_own_disk(void)
{
    BlockBackend *blk = open_quorum(false);
    BlockDriverState *bs = blk_bs(blk);
    BdrvChild *own;

    QLIST_FOREACH(own, &bs->children, next) {
        if (!strcmp(own->bs->node_name, "own")) {
            break;
        }
    }
    bdrv_del_child(bs, own, &error_abort);
    g_assert_cmpint(prim_write(blk, 0, 4096, 0xbd, 0), ==, -EIO);
    g_assert_cmpint(blk_pwrite_zeroes(blk, 0, 65536, 0), ==, -EIO);
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
    int64_t begin = prim_now_ms();

    while (o->ret == -EINPROGRESS) {
        g_assert_cmpint(prim_now_ms() - begin, <, PRIM_SLACK_MS);
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
    BlockBackend *blk = open_quorum(false);
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
        g_assert_cmpint(prim_on_disk(at), ==, own_byte(at));
    }
    g_assert_cmpint(prim_on_disk(65536), ==, own_byte(65536));
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

int main(int argc, char **argv)
{
    int ret;

    qemu_init_main_loop(&error_fatal);
    bdrv_init();
    g_test_init(&argc, &argv, NULL);
    prim_init();

    g_test_add_func("/colo/disk/primary/forward", test_forward);
    g_test_add_func("/colo/disk/primary/background/forward", test_background);
    g_test_add_func("/colo/disk/primary/background/drain",
                    test_background_drain);
    g_test_add_func("/colo/disk/primary/defer/commit", test_defer);
    g_test_add_func("/colo/disk/primary/defer/start", test_defer_start);
    g_test_add_data_func("/colo/disk/primary/defer/closed",
                         GINT_TO_POINTER(false), test_defer_end);
    g_test_add_data_func("/colo/disk/primary/defer/stopped",
                         GINT_TO_POINTER(true), test_defer_end);
    g_test_add_func("/colo/disk/primary/large-epoch", test_large_epoch);
    g_test_add_func("/colo/disk/primary/held", test_held);
    g_test_add_func("/colo/disk/primary/order", test_order);
    g_test_add_data_func("/colo/disk/primary/own-disk/child",
                         GINT_TO_POINTER(false), test_own_disk);
    g_test_add_data_func("/colo/disk/primary/own-disk/filter",
                         GINT_TO_POINTER(true), test_own_disk);
    g_test_add_func("/colo/disk/primary/own-disk/none", test_no_own_disk);
    g_test_add_func("/colo/disk/primary/overlap", test_overlap);
    g_test_add_func("/colo/disk/primary/options", test_options);
    ret = g_test_run();
    prim_cleanup();
    return ret;
}
