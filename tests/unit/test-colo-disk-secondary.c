/*
 * The secondary's side of replication
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
#include "colo-secondary.h"

/* What the guest sees through an epoch, a commit, another, and the failover */
static void test_view(const void *opaque)
{
    sec_open(GPOINTER_TO_INT(opaque));
    g_assert_cmpint(sec_put(sec_host, 0, 4 * SEC_CLUSTER, 0x11), ==, 0);
    sec_sees(sec_guest, 0, 4 * SEC_CLUSTER, 0);
    replication_do_checkpoint_all(&error_abort);
    sec_sees(sec_guest, 0, 4 * SEC_CLUSTER, 0x11);

    g_assert_cmpint(sec_put(sec_guest, 512, 1024, 0x22), ==, 0);
    g_assert_cmpint(sec_put(sec_host, 0, 2 * SEC_CLUSTER, 0x33), ==, 0);
    sec_sees(sec_guest, 0, 512, 0x11);
    sec_sees(sec_guest, 512, 1024, 0x22);
    sec_sees(sec_guest, 1536, 3 * SEC_CLUSTER, 0x11);
    sec_sees(sec_host, 0, 2 * SEC_CLUSTER, 0x33);
    /* what the guest has written itself need not be kept */
    g_assert_cmpint(sec_stats().held_bytes, ==, 2 * SEC_CLUSTER - 1024);
    g_assert_cmpint(sec_stats().own_bytes, ==, 1024);

    g_assert_cmpint(sec_put(sec_host, 100 * 512, 512, 0x34), ==, 0);
    g_assert_cmpint(sec_stats().held_bytes, ==, 2 * SEC_CLUSTER - 1024);
    replication_stop_all(true, &error_abort);
    sec_sees(sec_guest, 512, 1024, 0x22);
    sec_sees(sec_guest, 1536, 3 * SEC_CLUSTER, 0x11);
    sec_wait_stage(REPLICATION_STAGE_DONE);
    sec_on_disk(0, 512, 0x11);
    sec_on_disk(512, 1024, 0x22);
    sec_on_disk(1536, 3 * SEC_CLUSTER, 0x11);
    sec_sees(sec_guest, 0, 512, 0x11);
    sec_close();
}

static void test_commit_voids_own(const void *opaque)
{
    sec_open(GPOINTER_TO_INT(opaque));
    g_assert_cmpint(sec_put(sec_guest, 0, SEC_SIZE, 0x55), ==, 0);
    sec_sees(sec_guest, 0, SEC_SIZE, 0x55);
    replication_do_checkpoint_all(&error_abort);
    sec_sees(sec_guest, 0, SEC_SIZE, 0);
    g_assert_cmpint(sec_stats().own_bytes, ==, 0);
    g_assert_cmpint(sec_stats().overlay_bytes_peak, ==, SEC_SIZE);
    sec_on_disk(0, SEC_SIZE, 0);
    sec_close();
}

/* Zeroes and discards of both sides; the last, short cluster */
static void test_zeroes(const void *opaque)
{
    int64_t tail = SEC_SIZE - 1024;

    sec_open(GPOINTER_TO_INT(opaque));
    g_assert_cmpint(sec_put(sec_host, 0, SEC_SIZE, 0x11), ==, 0);
    replication_do_checkpoint_all(&error_abort);
    g_assert_cmpint(blk_pwrite_zeroes(sec_host, 0, 3 * SEC_CLUSTER, 0), ==, 0);
    g_assert_cmpint(blk_pdiscard(sec_host, SEC_CLUSTER * 8, SEC_CLUSTER), ==, 0);
    g_assert_cmpint(sec_put(sec_host, tail, 1024, 0x99), ==, 0);
    sec_sees(sec_guest, 0, SEC_SIZE, 0x11);
    g_assert_cmpint(blk_pwrite_zeroes(sec_guest, 1024, 2 * SEC_CLUSTER, 0), ==, 0);
    sec_sees(sec_guest, 0, 1024, 0x11);
    sec_sees(sec_guest, 1024, 2 * SEC_CLUSTER, 0);
    g_assert_cmpint(sec_put(sec_guest, tail + 512, 512, 0x77), ==, 0);
    sec_sees(sec_guest, tail, 512, 0x11);
    sec_sees(sec_guest, tail + 512, 512, 0x77);
    replication_stop_all(true, &error_abort);
    sec_wait_stage(REPLICATION_STAGE_DONE);
    sec_on_disk(0, 1024, 0x11);
    sec_on_disk(1024, 2 * SEC_CLUSTER, 0);
    sec_on_disk(1024 + 2 * SEC_CLUSTER, tail - 1024 - 2 * SEC_CLUSTER, 0x11);
    sec_on_disk(tail, 512, 0x11);
    sec_on_disk(tail + 512, 512, 0x77);
    sec_close();
}

/* After the failover nobody else writes there, and a flush is one */
static void test_failover(const void *opaque)
{
    sec_open(GPOINTER_TO_INT(opaque));
    g_assert_cmpint(sec_put(sec_guest, 0, SEC_SIZE - 512, 0x22), ==, 0);
    g_assert_cmpint(blk_flush(sec_guest), ==, 0);
    g_assert_cmpint(fault_log("parent")->count[FAULT_FLUSH], ==, 0);
    replication_stop_all(true, &error_abort);
    g_assert_cmpint(sec_put(sec_host, 0, 512, 0x66), ==, -EPERM);
    g_assert_cmpint(sec_put(sec_guest, 512, 512, 0x23), ==, 0);
    g_assert_cmpint(blk_flush(sec_guest), ==, 0);
    g_assert_cmpint(fault_log("parent")->count[FAULT_FLUSH], >, 0);
    sec_on_disk(0, 512, 0x22);
    sec_on_disk(512, 512, 0x23);
    sec_on_disk(1024, SEC_SIZE - 1536, 0x22);
    sec_wait_stage(REPLICATION_STAGE_DONE);
    g_assert_cmpint(sec_put(sec_host, 0, 512, 0x66), ==, -EPERM);
    g_assert_cmpint(sec_put(sec_guest, 0, 512, 0x24), ==, 0);
    sec_on_disk(0, 512, 0x24);
    sec_close();
}

/* Closing right after the failover loses nothing */
static void test_close(const void *opaque)
{
    sec_open(GPOINTER_TO_INT(opaque));
    g_assert_cmpint(sec_put(sec_guest, 0, SEC_SIZE, 0x42), ==, 0);
    replication_stop_all(true, &error_abort);
    sec_close();
    sec_on_disk(0, SEC_SIZE, 0x42);
}

static void test_stop(const void *opaque)
{
    sec_open(GPOINTER_TO_INT(opaque));
    g_assert_cmpint(sec_put(sec_host, 0, SEC_CLUSTER, 0x12), ==, 0);
    g_assert_cmpint(sec_put(sec_guest, 0, SEC_CLUSTER, 0x42), ==, 0);
    replication_stop_all(false, &error_abort);
    sec_sees(sec_guest, 0, SEC_CLUSTER, 0x12);
    sec_close();
    sec_on_disk(0, SEC_CLUSTER, 0x12);
}

typedef struct Write {
    BlockBackend *blk;
    uint8_t buffer[3 * SEC_CLUSTER];
    int ret;
} Write;

static void coroutine_fn write_entry(void *opaque)
{
    Write *w = opaque;

    w->ret = blk_co_pwrite(w->blk, SEC_CLUSTER / 2, sizeof(w->buffer), w->buffer, 0);
}

/* A write that hangs at @node and goes on a little later */
static void begin_write(Write *w, BlockBackend *blk, const char *node, uint8_t value)
{
    w->blk = blk;
    w->ret = -EINPROGRESS;
    memset(w->buffer, value, sizeof(w->buffer));
    fault_delay(node, 30);
    qemu_coroutine_enter(qemu_coroutine_create(write_entry, w));
    g_assert_cmpint(w->ret, ==, -EINPROGRESS);
}

/*
 * Requests under way when a commit or a failover comes, with nobody but the driver
 * to wait for them: what they have done is complete in the stage that they began in.
 */
static void test_in_flight(const void *opaque)
{
    bool images = GPOINTER_TO_INT(opaque) == SEC_IMAGES;
    g_autofree Write *own = g_new0(Write, 1), *other = g_new0(Write, 1);

    sec_open(GPOINTER_TO_INT(opaque));
    g_assert_cmpint(sec_put(sec_host, 0, SEC_SIZE, 0x11), ==, 0);
    replication_do_checkpoint_all(&error_abort);
    begin_write(other, sec_host, "parent", 0x31);
    if (images) {
        begin_write(own, sec_guest, "active", 0x21);
    }
    replication_do_checkpoint_all(&error_abort);
    g_assert_cmpint(other->ret, ==, 0);
    g_assert_cmpint(own->ret, ==, 0);
    sec_sees(sec_guest, SEC_CLUSTER / 2, 3 * SEC_CLUSTER, 0x31);
    g_assert_cmpint(sec_stats().own_bytes + sec_stats().held_bytes, ==, 0);

    begin_write(other, sec_host, "parent", 0x32);
    if (images) {
        begin_write(own, sec_guest, "active", 0x22);
    } else {
        g_assert_cmpint(sec_put(sec_guest, 0, 512, 0x22), ==, 0);
    }
    replication_stop_all(true, &error_abort);
    g_assert_cmpint(other->ret, ==, 0);
    g_assert_cmpint(own->ret, ==, 0);
    sec_sees(sec_guest, SEC_CLUSTER / 2, 3 * SEC_CLUSTER, images ? 0x22 : 0x31);
    fault_delay("parent", 0);
    g_assert_cmpint(sec_put(sec_guest, 0, 512, 0x23), ==, 0);
    sec_wait_stage(REPLICATION_STAGE_DONE);
    sec_on_disk(0, 512, 0x23);
    sec_on_disk(SEC_CLUSTER / 2, 3 * SEC_CLUSTER, images ? 0x22 : 0x31);
    sec_close();
}

typedef struct Flush {
    int ret;
} Flush;

static void coroutine_fn flush_entry(void *opaque)
{
    Flush *f = opaque;

    f->ret = blk_co_flush(sec_guest);
}

/* A guest that has written all of its disk, which would take long to merge */
static void open_slow_merge(SecKind kind)
{
    QDict *options;

    sec_make_images(SEC_SIZE);
    sec_open_parent();
    options = sec_options(kind, "childs0");
    qdict_put_str(options, "merge-speed", "64K");
    sec_guest = blk_new_open(NULL, NULL, options, BDRV_O_RDWR, &error_abort);
    replication_start_all(REPLICATION_MODE_SECONDARY, &error_abort);
    g_assert_cmpint(sec_put(sec_guest, 0, SEC_SIZE, 0x22), ==, 0);
}

/*
 * The merge is slow, by its limit of speed; a flush is not, and brings down many
 * clusters at a time.  Nothing else of the guest waits for it.
 */
static void test_merge_flush(const void *opaque)
{
    Flush f = { .ret = -EINPROGRESS };
    int64_t begin = qemu_clock_get_ms(QEMU_CLOCK_REALTIME);
    const FaultLog *log;
    unsigned before;

    open_slow_merge(GPOINTER_TO_INT(opaque));
    log = fault_log("parent");
    before = log->count[FAULT_WRITE];
    replication_stop_all(true, &error_abort);
    fault_hang("parent", true);
    qemu_coroutine_enter(qemu_coroutine_create(flush_entry, &f));
    while (log->count[FAULT_WRITE] < before + 16) {
        g_assert_cmpint(qemu_clock_get_ms(QEMU_CLOCK_REALTIME), <,
                        begin + SEC_WAIT_MS);
        main_loop_wait(true);
    }
    /* In an overlay still, whether on its way down or not */
    sec_sees(sec_guest, 0, 2 * SEC_CLUSTER, 0x22);
    sec_sees(sec_guest, 40 * SEC_CLUSTER, SEC_CLUSTER, 0x22);
    g_assert_cmpint(f.ret, ==, -EINPROGRESS);
    fault_overtake("parent");
    g_assert_cmpint(sec_put(sec_guest, 50 * SEC_CLUSTER, SEC_CLUSTER, 0x23), ==, 0);
    sec_sees(sec_guest, 50 * SEC_CLUSTER, SEC_CLUSTER, 0x23);
    g_assert_cmpint(f.ret, ==, -EINPROGRESS);
    fault_hang("parent", false);
    while (f.ret == -EINPROGRESS) {
        g_assert_cmpint(qemu_clock_get_ms(QEMU_CLOCK_REALTIME), <,
                        begin + SEC_WAIT_MS);
        main_loop_wait(true);
    }
    g_assert_cmpint(f.ret, ==, 0);
    g_assert_cmpint(sec_stats().stage, ==, REPLICATION_STAGE_DONE);
    sec_on_disk(0, 50 * SEC_CLUSTER, 0x22);
    sec_on_disk(50 * SEC_CLUSTER, SEC_CLUSTER, 0x23);
    sec_on_disk(51 * SEC_CLUSTER, SEC_SIZE - 51 * SEC_CLUSTER, 0x22);
    sec_close();
}

/* A write that is to be durable at once is so only with all that was before */
static void test_merge_fua(const void *opaque)
{
    uint8_t buffer[512];

    open_slow_merge(GPOINTER_TO_INT(opaque));
    replication_stop_all(true, &error_abort);
    memset(buffer, 0x23, sizeof(buffer));
    g_assert_cmpint(blk_pwrite(sec_guest, 0, 512, buffer, 0), ==, 0);
    g_assert_cmpint(sec_stats().stage, ==, REPLICATION_STAGE_MERGING);
    g_assert_cmpint(blk_pwrite(sec_guest, 512, 512, buffer, BDRV_REQ_FUA), ==, 0);
    g_assert_cmpint(sec_stats().stage, ==, REPLICATION_STAGE_DONE);
    sec_on_disk(0, 1024, 0x23);
    sec_on_disk(1024, SEC_SIZE - 1024, 0x22);
    sec_close();
}

/* Some guests send requests without data, in whatever stage the node is */
static void put_nothing(void)
{
    g_assert_cmpint(sec_put(sec_guest, 0, 0, 0), ==, 0);
    g_assert_cmpint(sec_put(sec_guest, SEC_CLUSTER, 0, 0), ==, 0);
    g_assert_cmpint(sec_put(sec_guest, SEC_SIZE, 0, 0), ==, 0);
    g_assert_cmpint(blk_pwrite_zeroes(sec_guest, 512, 0, 0), ==, 0);
    g_assert_cmpint(blk_pdiscard(sec_guest, 512, 0), ==, 0);
    sec_sees(sec_guest, 512, 0, 0);
}

static void test_no_data(const void *opaque)
{
    uint8_t nothing;

    open_slow_merge(GPOINTER_TO_INT(opaque));
    put_nothing();
    g_assert_cmpint(sec_put(sec_host, 0, 0, 0), ==, 0);
    replication_stop_all(true, &error_abort);
    g_assert_cmpint(sec_stats().stage, ==, REPLICATION_STAGE_MERGING);
    put_nothing();
    fault_set("parent", FAULT_WRITE, EIO);
    g_assert_cmpint(blk_flush(sec_guest), ==, -EIO);
    g_assert_cmpint(sec_stats().stage, ==, REPLICATION_STAGE_STUCK);
    put_nothing();
    fault_set("parent", FAULT_WRITE, 0);
    g_assert_cmpint(blk_pwrite(sec_guest, 0, 0, &nothing, BDRV_REQ_FUA), ==, 0);
    g_assert_cmpint(sec_stats().stage, ==, REPLICATION_STAGE_DONE);
    put_nothing();
    sec_on_disk(0, SEC_SIZE, 0x22);
    sec_close();
}

/*
 * The merge ends while everything is drained, as another disk may have it: the
 * graph changes afterwards only, and the disk goes on.
 */
static void test_merged_drained(const void *opaque)
{
    Flush f = { .ret = -EINPROGRESS };
    int64_t begin = qemu_clock_get_ms(QEMU_CLOCK_REALTIME);
    int i;

    sec_open(GPOINTER_TO_INT(opaque));
    g_assert_cmpint(sec_put(sec_guest, 0, 4 * SEC_CLUSTER, 0x22), ==, 0);
    fault_hang("parent", true);
    replication_stop_all(true, &error_abort);
    qemu_coroutine_enter(qemu_coroutine_create(flush_entry, &f));
    while (!fault_log("parent")->count[FAULT_WRITE]) {
        g_assert_cmpint(qemu_clock_get_ms(QEMU_CLOCK_REALTIME), <,
                        begin + SEC_WAIT_MS);
        main_loop_wait(true);
    }
    fault_hang("parent", false);
    bdrv_drain_all_begin();
    for (i = 0; i < 10; i++) {
        main_loop_wait(true);
    }
    g_assert_cmpint(f.ret, ==, 0);
    bdrv_drain_all_end();
    g_assert_cmpint(bdrv_find_node("childs0")->quiesce_counter, ==, 0);
    g_assert_cmpint(sec_put(sec_guest, 0, SEC_CLUSTER, 0x23), ==, 0);
    sec_wait_stage(REPLICATION_STAGE_DONE);
    sec_sees(sec_guest, 0, SEC_CLUSTER, 0x23);
    sec_sees(sec_guest, SEC_CLUSTER, 3 * SEC_CLUSTER, 0x22);
    sec_close();
}

/* RAM is at its limit and nothing may be spilled: said, not forgotten */
static void test_limit(void)
{
    sec_open(SEC_MEMORY);
    g_assert_cmpint(sec_put(sec_host, 0, SEC_SIZE, 0x11), ==, 0);
    sec_close();

    sec_make_images(SEC_SIZE);
    sec_open_parent();
    {
        QDict *options = sec_options(SEC_MEMORY, "childs0");

        /* 128 KiB, and the map of 65 clusters */
        qdict_put_str(options, "overlay.limit", "145K");
        sec_guest = blk_new_open(NULL, NULL, options, BDRV_O_RDWR, &error_abort);
    }
    replication_start_all(REPLICATION_MODE_SECONDARY, &error_abort);
    g_assert_cmpint(sec_put(sec_host, 0, SEC_SIZE, 0x11), ==, 0);   /* zeroes need none */
    replication_do_checkpoint_all(&error_abort);
    g_assert_cmpint(sec_put(sec_guest, 0, SEC_CLUSTER, 0x21), ==, 0);
    g_assert_cmpint(sec_put(sec_guest, SEC_CLUSTER, SEC_CLUSTER, 0x22), ==, 0);
    g_assert_cmpint(sec_put(sec_guest, 2 * SEC_CLUSTER, SEC_CLUSTER, 0x23), ==, -ENOSPC);
    g_assert_cmpint(sec_put(sec_host, 8 * SEC_CLUSTER, SEC_CLUSTER, 0x33), ==, -ENOSPC);
    sec_sees(sec_guest, 0, SEC_CLUSTER, 0x21);
    sec_sees(sec_guest, 8 * SEC_CLUSTER, SEC_CLUSTER, 0x11);
    sec_close();
}

static void refused(int64_t overlay_size, const char *top, const char *message)
{
    Error *err = NULL;
    QDict *options;

    sec_make_images(overlay_size);
    sec_open_parent();
    options = sec_options(SEC_IMAGES, "childs0");
    qdict_put_str(options, "top-id", top);
    sec_guest = blk_new_open(NULL, NULL, options, BDRV_O_RDWR, &error_abort);
    replication_start_all(REPLICATION_MODE_SECONDARY, &err);
    g_assert(err);
    g_test_message("%s", error_get_pretty(err));
    g_assert(strstr(error_get_pretty(err), message));
    error_free(err);
    g_assert_cmpint(sec_stats().stage, ==, REPLICATION_STAGE_IDLE);
    /* What was there works as before */
    g_assert_cmpint(sec_put(sec_host, 0, 512, 0x11), ==, 0);
    sec_close();
}

static void test_refusals(void)
{
    Error *err = NULL;

    refused(SEC_SIZE + MiB, "childs0", "qemu-img create");
    refused(SEC_SIZE, "nobody", "no such drive");
    refused(SEC_SIZE, "parent0", "is not below it");

    sec_open_idle(SEC_IMAGES, SEC_SIZE);
    replication_start_all(REPLICATION_MODE_PRIMARY, &err);
    g_assert(strstr(error_get_pretty(err), "mode=secondary"));
    error_free(err);
    err = NULL;
    g_assert_cmpint(sec_put(sec_guest, 0, 512, 0x11), ==, -EIO);
    replication_start_all(REPLICATION_MODE_SECONDARY, &error_abort);
    replication_start_all(REPLICATION_MODE_SECONDARY, &err);
    g_assert(strstr(error_get_pretty(err), "running already"));
    error_free(err);
    err = NULL;
    /* the disk and the images keep their size */
    g_assert_cmpint(blk_set_perm(sec_host, BLK_PERM_WRITE | BLK_PERM_RESIZE,
                                 BLK_PERM_ALL, NULL), <, 0);
    /* Once it has ended, there is no other beginning */
    replication_stop_all(false, &error_abort);
    replication_start_all(REPLICATION_MODE_SECONDARY, &err);
    g_assert(err && strstr(error_get_pretty(err), "has ended on this node"));
    error_free(err);
    sec_close();
}

/* Two nodes, one disk */
static void test_refused_shared(void)
{
    Error *err = NULL;
    BlockBackend *other;

    sec_open_idle(SEC_MEMORY, SEC_SIZE);
    other = blk_new_open(NULL, NULL, sec_options(SEC_MEMORY, "childs1"),
                         BDRV_O_RDWR, &error_abort);
    replication_start_all(REPLICATION_MODE_SECONDARY, &err);
    g_assert(err);
    g_assert(strstr(error_get_pretty(err),
                    "'parent0' is that of another replication node"));
    error_free(err);
    g_assert_cmpint(sec_put(sec_host, 0, 512, 0x11), ==, 0);
    sec_on_disk(0, 512, 0x11);
    blk_unref(other);
    sec_close();
}

/*
 * Whoever names the disk by its node gets below the filter: nobody can write there,
 * while replication runs.
 */
static void test_refused_below(const void *opaque)
{
    BlockBackend *blk = blk_new(qemu_get_aio_context(), 0, BLK_PERM_ALL);
    BlockDriverState *bs;
    Error *err = NULL;

    sec_open(GPOINTER_TO_INT(opaque));
    bs = bdrv_find_node("parent0");
    g_assert(bs != blk_bs(sec_host));
    g_assert_cmpint(blk_insert_bs(blk, bs, &error_abort), ==, 0);
    g_assert_cmpint(blk_set_perm(blk, BLK_PERM_CONSISTENT_READ, BLK_PERM_ALL,
                                 &error_abort), ==, 0);
    g_assert_cmpint(blk_set_perm(blk, BLK_PERM_WRITE, BLK_PERM_ALL, &err), <, 0);
    g_test_message("%s", error_get_pretty(err));
    error_free(err);
    /* The filter writes */
    err = NULL;
    g_assert_cmpint(blk_set_perm(blk, BLK_PERM_CONSISTENT_READ,
                                 BLK_PERM_ALL & ~BLK_PERM_WRITE, &err), <, 0);
    error_free(err);
    g_assert_cmpint(sec_put(sec_host, 0, 512, 0x11), ==, 0);
    sec_sees(sec_guest, 0, 512, 0);
    replication_do_checkpoint_all(&error_abort);
    g_assert_cmpint(sec_put(sec_guest, 512, 512, 0x22), ==, 0);
    replication_stop_all(true, &error_abort);
    sec_wait_stage(REPLICATION_STAGE_DONE);
    sec_sees(blk, 0, 512, 0x11);
    sec_sees(blk, 512, 512, 0x22);
    g_assert_cmpint(blk_set_perm(blk, BLK_PERM_WRITE, BLK_PERM_ALL, &error_abort),
                    ==, 0);
    blk_unref(blk);
    sec_close();
}

/* Said when QEMU starts, not when it is needed */
static void test_refused_directory(void)
{
    QDict *options;
    Error *err = NULL;

    sec_make_images(SEC_SIZE);
    sec_open_parent();
    options = sec_options(SEC_SPILL, "childs0");
    qdict_put_str(options, "overlay.directory", "/nowhere/at-all");
    g_assert_null(blk_new_open(NULL, NULL, options, BDRV_O_RDWR, &err));
    g_assert(strstr(error_get_pretty(err), "overlay.directory=/nowhere/at-all"));
    error_free(err);
    blk_unref(sec_host);
}

static void test_refused_limit(void)
{
    static const struct { SecKind kind; const char *limit; bool ok; } cases[] = {
        { SEC_MEMORY, "0", false }, { SEC_MEMORY, "143K", false },
        { SEC_MEMORY, "144K", true }, { SEC_SPILL, "71K", false },
        { SEC_SPILL, "72K", true },
    };
    int i;

    for (i = 0; i < ARRAY_SIZE(cases); i++) {
        QDict *options;
        Error *err = NULL;

        sec_make_images(SEC_SIZE);
        sec_open_parent();
        options = sec_options(cases[i].kind, "childs0");
        qdict_put_str(options, "overlay.limit", cases[i].limit);
        sec_guest = blk_new_open(NULL, NULL, options, BDRV_O_RDWR, &err);
        g_assert(!!sec_guest == cases[i].ok);
        g_assert(!err == cases[i].ok);
        g_assert(!err || strstr(error_get_pretty(err), "overlay.limit"));
        error_free(err);
        blk_unref(sec_guest);
        blk_unref(sec_host);
    }
}

/* Two disks: one of them cannot commit, so neither does */
static void test_all_or_none(void)
{
    QDict *options = qdict_new();
    BlockBackend *other;
    Error *err = NULL;

    sec_open(SEC_MEMORY);
    qdict_put_str(options, "driver", "replication");
    qdict_put_str(options, "mode", "secondary");
    qdict_put_str(options, "top-id", "other");
    qdict_put_str(options, "overlay.limit", "1M");
    qdict_put_str(options, "file.driver", "null-co");
    other = blk_new_open(NULL, NULL, options, BDRV_O_RDWR, &error_abort);
    g_assert_cmpint(sec_put(sec_guest, 0, 512, 0x21), ==, 0);
    replication_do_checkpoint_all(&err);
    g_assert(err);
    error_free(err);
    sec_sees(sec_guest, 0, 512, 0x21);
    g_assert_cmpint(sec_stats().checkpoints, ==, 0);
    /* the failover of one goes on although the other refuses */
    err = NULL;
    replication_stop_all(true, &err);
    g_assert(err);
    error_free(err);
    sec_wait_stage(REPLICATION_STAGE_DONE);
    sec_on_disk(0, 512, 0x21);
    blk_unref(other);
    sec_close();
}

int main(int argc, char **argv)
{
    static const struct { const char *name; GTestDataFunc func; } views[] = {
        { "view", test_view },
        { "commit", test_commit_voids_own },
        { "zeroes", test_zeroes },
        { "failover", test_failover },
        { "close", test_close },
        { "stop", test_stop },
        { "merge-flush", test_merge_flush },
        { "merge-fua", test_merge_fua },
        { "no-data", test_no_data },
        { "in-flight", test_in_flight },
        { "merged-drained", test_merged_drained },
    };
    int i, kind, ret;

    qemu_init_main_loop(&error_fatal);
    bdrv_init();
    g_test_init(&argc, &argv, NULL);
    sec_init();

    for (kind = 0; kind < SEC_KINDS; kind++) {
        for (i = 0; i < ARRAY_SIZE(views); i++) {
            g_autofree char *name =
                g_strdup_printf("/colo/disk/secondary/%s/%s",
                                sec_kind_names[kind], views[i].name);

            g_test_add_data_func(name, GINT_TO_POINTER(kind), views[i].func);
        }
    }
    g_test_add_func("/colo/disk/secondary/limit", test_limit);
    g_test_add_func("/colo/disk/secondary/refusals", test_refusals);
    g_test_add_func("/colo/disk/secondary/refused/shared", test_refused_shared);
    g_test_add_data_func("/colo/disk/secondary/refused/below/images",
                         GINT_TO_POINTER(SEC_IMAGES), test_refused_below);
    g_test_add_data_func("/colo/disk/secondary/refused/below/memory",
                         GINT_TO_POINTER(SEC_MEMORY), test_refused_below);
    g_test_add_func("/colo/disk/secondary/refused/directory",
                    test_refused_directory);
    g_test_add_func("/colo/disk/secondary/refused/limit", test_refused_limit);
    g_test_add_func("/colo/disk/secondary/all-or-none", test_all_or_none);
    ret = g_test_run();
    sec_cleanup();
    return ret;
}
