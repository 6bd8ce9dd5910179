/*
 * The secondary's side of replication, on disks that fail
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

/* Not a multiple of a cluster: the last one is short */
#define SIZE            (4 * MiB + 7 * 512)
#define CLUSTER         65536
#define WAIT_MS         20000

/* How the secondary keeps its overlays; each test runs with all */
typedef enum Kind { IMAGES, MEMORY, SPILL, KINDS } Kind;

static const char *const kind_names[] = { "images", "memory", "spill" };
static char *dir;
static BlockBackend *guest, *host;

static char *path(const char *name)
{
    return g_strdup_printf("%s/%s", dir, name);
}

static void put_fault(QDict *options, const char *prefix, const char *node,
                      const char *format)
{
    g_autofree char *file = g_strdup_printf("%s/%s", dir, node);
    const struct { const char *key, *value; } pairs[] = {
        { "driver", format },
        { "file.driver", "colo-fault" },
        { "file.node-name", node },
        { "file.file.driver", "file" },
        { "file.file.filename", file },
        { "file.file.locking", "off" },
    };
    int i;

    for (i = 0; i < ARRAY_SIZE(pairs); i++) {
        g_autofree char *key = g_strconcat(prefix, pairs[i].key, NULL);

        qdict_put_str(options, key, pairs[i].value);
    }
}

static void open_parent(void)
{
    QDict *options = qdict_new();

    put_fault(options, "", "parent", "raw");
    qdict_put_str(options, "node-name", "parent0");
    host = blk_new_open(NULL, NULL, options, BDRV_O_RDWR | BDRV_O_UNMAP,
                        &error_abort);
}

static QDict *secondary_options(Kind kind, const char *id)
{
    QDict *options = qdict_new();

    qdict_put_str(options, "driver", "replication");
    qdict_put_str(options, "mode", "secondary");
    qdict_put_str(options, "node-name", id);
    qdict_put_str(options, "top-id", id);
    if (kind == IMAGES) {
        put_fault(options, "file.", "active", "qcow2");
        put_fault(options, "file.backing.", "hidden", "qcow2");
        qdict_put_str(options, "file.backing.backing", "parent0");
    } else {
        qdict_put_str(options, "file", "parent0");
        qdict_put_str(options, "overlay.limit", kind == SPILL ? "96K" : "16M");
    }
    if (kind == SPILL) {
        qdict_put_str(options, "overlay.directory", dir);
    }
    return options;
}

static void make_images(int64_t overlay_size)
{
    static const char *const names[] = { "active", "hidden" };
    g_autofree char *parent = path("parent");
    int fd = open(parent, O_CREAT | O_RDWR | O_TRUNC, 0600);
    int i;

    g_assert(fd >= 0 && ftruncate(fd, SIZE) == 0);
    close(fd);
    for (i = 0; i < ARRAY_SIZE(names); i++) {
        g_autofree char *name = path(names[i]);

        bdrv_img_create(name, "qcow2", NULL, NULL, NULL, overlay_size,
                        BDRV_O_RDWR, true, &error_abort);
    }
}

static void open_idle(Kind kind, int64_t overlay_size)
{
    make_images(overlay_size);
    open_parent();
    guest = blk_new_open(NULL, NULL, secondary_options(kind, "childs0"),
                         BDRV_O_RDWR | BDRV_O_UNMAP, &error_abort);
}

static void open_pair(Kind kind)
{
    open_idle(kind, SIZE);
    replication_start_all(REPLICATION_MODE_SECONDARY, &error_abort);
}

static void close_pair(void)
{
    int64_t end = qemu_clock_get_ms(QEMU_CLOCK_REALTIME) + WAIT_MS;

    /* The images are released in the main loop, which holds the node until then */
    while (bdrv_find_node("childs0")->refcnt > 1) {
        g_assert_cmpint(qemu_clock_get_ms(QEMU_CLOCK_REALTIME), <, end);
        main_loop_wait(true);
    }
    blk_unref(host);
    blk_unref(guest);
    g_assert_null(bdrv_find_node("childs0"));
    g_assert_null(bdrv_find_node("parent0"));
}

static int put(BlockBackend *blk, int64_t offset, int64_t bytes, uint8_t value)
{
    g_autofree uint8_t *buffer = g_malloc(bytes);

    memset(buffer, value, bytes);
    return blk_pwrite(blk, offset, bytes, buffer, 0);
}

static void sees(BlockBackend *blk, int64_t offset, int64_t bytes,
                 uint8_t value)
{
    g_autofree uint8_t *buffer = g_malloc(bytes);
    int64_t i;

    g_assert_cmpint(blk_pread(blk, offset, bytes, buffer, 0), ==, 0);
    for (i = 0; i < bytes; i++) {
        if (buffer[i] != value) {
            g_error("at %" PRId64 ": 0x%02x, not 0x%02x", offset + i,
                    buffer[i], value);
        }
    }
}

static void on_disk(int64_t offset, int64_t bytes, uint8_t value)
{
    g_autofree char *name = path("parent");
    g_autofree uint8_t *buffer = g_malloc(bytes);
    int fd = open(name, O_RDONLY);
    int64_t i;

    g_assert_cmpint(pread(fd, buffer, bytes, offset), ==, bytes);
    close(fd);
    for (i = 0; i < bytes; i++) {
        g_assert_cmpint(buffer[i], ==, value);
    }
}

static BlockStatsSpecificReplication stats(void)
{
    BlockStatsSpecific *s = bdrv_get_specific_stats(bdrv_find_node("childs0"));
    BlockStatsSpecificReplication copy = s->u.replication;

    qapi_free_BlockStatsSpecific(s);
    return copy;
}

static void wait_stage(ReplicationStage stage)
{
    int64_t end = qemu_clock_get_ms(QEMU_CLOCK_REALTIME) + WAIT_MS;

    while (stats().stage != stage) {
        g_assert_cmpint(qemu_clock_get_ms(QEMU_CLOCK_REALTIME), <, end);
        main_loop_wait(true);
        g_usleep(100);
    }
}

/* What the guest sees through an epoch, a commit, another, and the failover */
static void test_view(const void *opaque)
{
    open_pair(GPOINTER_TO_INT(opaque));
    g_assert_cmpint(put(host, 0, 4 * CLUSTER, 0x11), ==, 0);
    sees(guest, 0, 4 * CLUSTER, 0);
    replication_do_checkpoint_all(&error_abort);
    sees(guest, 0, 4 * CLUSTER, 0x11);

    g_assert_cmpint(put(guest, 512, 1024, 0x22), ==, 0);
    g_assert_cmpint(put(host, 0, 2 * CLUSTER, 0x33), ==, 0);
    sees(guest, 0, 512, 0x11);
    sees(guest, 512, 1024, 0x22);
    sees(guest, 1536, 3 * CLUSTER, 0x11);
    sees(host, 0, 2 * CLUSTER, 0x33);
    /* what the guest has written itself need not be kept */
    g_assert_cmpint(stats().held_bytes, ==, 2 * CLUSTER - 1024);
    g_assert_cmpint(stats().own_bytes, ==, 1024);

    g_assert_cmpint(put(host, 100 * 512, 512, 0x34), ==, 0);
    g_assert_cmpint(stats().held_bytes, ==, 2 * CLUSTER - 1024);
    replication_stop_all(true, &error_abort);
    sees(guest, 512, 1024, 0x22);
    sees(guest, 1536, 3 * CLUSTER, 0x11);
    wait_stage(REPLICATION_STAGE_DONE);
    on_disk(0, 512, 0x11);
    on_disk(512, 1024, 0x22);
    on_disk(1536, 3 * CLUSTER, 0x11);
    sees(guest, 0, 512, 0x11);
    close_pair();
}

static void test_commit_voids_own(const void *opaque)
{
    open_pair(GPOINTER_TO_INT(opaque));
    g_assert_cmpint(put(guest, 0, SIZE, 0x55), ==, 0);
    sees(guest, 0, SIZE, 0x55);
    replication_do_checkpoint_all(&error_abort);
    sees(guest, 0, SIZE, 0);
    g_assert_cmpint(stats().own_bytes, ==, 0);
    g_assert_cmpint(stats().overlay_bytes_peak, ==, SIZE);
    on_disk(0, SIZE, 0);
    close_pair();
}

/* Zeroes and discards of both sides; the last, short cluster */
static void test_zeroes(const void *opaque)
{
    int64_t tail = SIZE - 1024;

    open_pair(GPOINTER_TO_INT(opaque));
    g_assert_cmpint(put(host, 0, SIZE, 0x11), ==, 0);
    replication_do_checkpoint_all(&error_abort);
    g_assert_cmpint(blk_pwrite_zeroes(host, 0, 3 * CLUSTER, 0), ==, 0);
    g_assert_cmpint(blk_pdiscard(host, CLUSTER * 8, CLUSTER), ==, 0);
    g_assert_cmpint(put(host, tail, 1024, 0x99), ==, 0);
    sees(guest, 0, SIZE, 0x11);
    g_assert_cmpint(blk_pwrite_zeroes(guest, 1024, 2 * CLUSTER, 0), ==, 0);
    sees(guest, 0, 1024, 0x11);
    sees(guest, 1024, 2 * CLUSTER, 0);
    g_assert_cmpint(put(guest, tail + 512, 512, 0x77), ==, 0);
    sees(guest, tail, 512, 0x11);
    sees(guest, tail + 512, 512, 0x77);
    replication_stop_all(true, &error_abort);
    wait_stage(REPLICATION_STAGE_DONE);
    on_disk(0, 1024, 0x11);
    on_disk(1024, 2 * CLUSTER, 0);
    on_disk(1024 + 2 * CLUSTER, tail - 1024 - 2 * CLUSTER, 0x11);
    on_disk(tail, 512, 0x11);
    on_disk(tail + 512, 512, 0x77);
    close_pair();
}

/* After the failover nobody else writes there, and a flush is one */
static void test_failover(const void *opaque)
{
    open_pair(GPOINTER_TO_INT(opaque));
    g_assert_cmpint(put(guest, 0, SIZE - 512, 0x22), ==, 0);
    g_assert_cmpint(blk_flush(guest), ==, 0);
    g_assert_cmpint(fault_log("parent")->count[FAULT_FLUSH], ==, 0);
    replication_stop_all(true, &error_abort);
    g_assert_cmpint(put(host, 0, 512, 0x66), ==, -EPERM);
    g_assert_cmpint(put(guest, 512, 512, 0x23), ==, 0);
    g_assert_cmpint(blk_flush(guest), ==, 0);
    g_assert_cmpint(fault_log("parent")->count[FAULT_FLUSH], >, 0);
    on_disk(0, 512, 0x22);
    on_disk(512, 512, 0x23);
    on_disk(1024, SIZE - 1536, 0x22);
    wait_stage(REPLICATION_STAGE_DONE);
    g_assert_cmpint(put(host, 0, 512, 0x66), ==, -EPERM);
    g_assert_cmpint(put(guest, 0, 512, 0x24), ==, 0);
    on_disk(0, 512, 0x24);
    close_pair();
}

/* Closing right after the failover loses nothing */
static void test_close(const void *opaque)
{
    open_pair(GPOINTER_TO_INT(opaque));
    g_assert_cmpint(put(guest, 0, SIZE, 0x42), ==, 0);
    replication_stop_all(true, &error_abort);
    close_pair();
    on_disk(0, SIZE, 0x42);
}

static void test_stop(const void *opaque)
{
    open_pair(GPOINTER_TO_INT(opaque));
    g_assert_cmpint(put(host, 0, CLUSTER, 0x12), ==, 0);
    g_assert_cmpint(put(guest, 0, CLUSTER, 0x42), ==, 0);
    replication_stop_all(false, &error_abort);
    sees(guest, 0, CLUSTER, 0x12);
    close_pair();
    on_disk(0, CLUSTER, 0x12);
}

/*
 * Old content cannot be kept, or the disk takes no write: the primary is told,
 * and what the guest sees is whole, failover included.
 */
static void fail_hold(const char *node, FaultOp op, int error)
{
    open_pair(IMAGES);
    g_assert_cmpint(put(host, 0, SIZE, 0x11), ==, 0);
    replication_do_checkpoint_all(&error_abort);
    g_assert_cmpint(put(guest, 512, 512, 0x22), ==, 0);
    fault_set(node, op, error);
    g_assert_cmpint(put(host, 0, 8 * CLUSTER, 0x33), ==, -error);
    fault_set(node, op, 0);
    sees(guest, 0, 512, 0x11);
    sees(guest, 512, 512, 0x22);
    sees(guest, 1024, SIZE - 1024, 0x11);
    replication_stop_all(true, &error_abort);
    wait_stage(REPLICATION_STAGE_DONE);
    on_disk(0, 512, 0x11);
    on_disk(512, 512, 0x22);
    on_disk(1024, SIZE - 1024, 0x11);
    close_pair();
}

static void test_hold_fault(const void *opaque)
{
    int error = GPOINTER_TO_INT(opaque);

    fail_hold("hidden", FAULT_WRITE, error);
    fail_hold("parent", FAULT_READ, error);
    fail_hold("parent", FAULT_WRITE, error);
}

/* The guest's own write fails: it is told; the next commit makes that void */
static void test_own_fault(const void *opaque)
{
    int error = GPOINTER_TO_INT(opaque);

    open_pair(IMAGES);
    g_assert_cmpint(put(guest, 0, CLUSTER, 0x21), ==, 0);
    fault_set("active", FAULT_WRITE, error);
    g_assert_cmpint(put(guest, 4 * CLUSTER, CLUSTER, 0x22), ==, -error);
    g_assert_cmpint(put(host, 8 * CLUSTER, CLUSTER, 0x33), ==, 0);
    sees(guest, 0, CLUSTER, 0x21);
    replication_do_checkpoint_all(&error_abort);
    fault_set("active", FAULT_WRITE, 0);
    sees(guest, 0, 8 * CLUSTER, 0);
    sees(guest, 8 * CLUSTER, CLUSTER, 0x33);
    g_assert_cmpint(put(guest, 4 * CLUSTER, CLUSTER, 0x23), ==, 0);
    sees(guest, 4 * CLUSTER, CLUSTER, 0x23);
    close_pair();
}

/* Reads that fail say so, and nothing else */
static void test_read_fault(const void *opaque)
{
    int error = GPOINTER_TO_INT(opaque);
    uint8_t buffer[512];

    open_pair(IMAGES);
    g_assert_cmpint(put(guest, 0, 512, 0x21), ==, 0);
    g_assert_cmpint(put(host, CLUSTER, 512, 0x31), ==, 0);
    fault_set("active", FAULT_READ, error);
    g_assert_cmpint(blk_pread(guest, 0, 512, buffer, 0), ==, -error);
    fault_set("active", FAULT_READ, 0);
    sees(guest, 0, 512, 0x21);
    fault_set("parent", FAULT_READ, error);
    g_assert_cmpint(blk_pread(guest, 2 * CLUSTER, 512, buffer, 0), ==, -error);
    sees(guest, 0, 512, 0x21);
    sees(guest, CLUSTER, 512, 0);       /* held, as zeroes */
    fault_set("parent", FAULT_READ, 0);
    close_pair();
}

/* The merge fails at its source or its target, and is tried again */
static void fail_merge(const char *node, FaultOp op, int error)
{
    open_pair(IMAGES);
    g_assert_cmpint(put(host, 0, SIZE, 0x11), ==, 0);
    replication_do_checkpoint_all(&error_abort);
    g_assert_cmpint(put(guest, 0, 2 * CLUSTER, 0x22), ==, 0);
    g_assert_cmpint(put(host, 4 * CLUSTER, 2 * CLUSTER, 0x33), ==, 0);
    fault_set(node, op, error);
    replication_stop_all(true, &error_abort);
    wait_stage(REPLICATION_STAGE_STUCK);
    /* A flush that cannot make it durable says so */
    g_assert_cmpint(blk_flush(guest), ==, -error);
    fault_set(node, op, 0);
    sees(guest, 0, 2 * CLUSTER, 0x22);
    sees(guest, 2 * CLUSTER, 4 * CLUSTER, 0x11);
    wait_stage(REPLICATION_STAGE_DONE);
    on_disk(0, 2 * CLUSTER, 0x22);
    on_disk(2 * CLUSTER, SIZE - 2 * CLUSTER, 0x11);
    g_assert_cmpint(blk_flush(guest), ==, 0);
    close_pair();
}

static void test_merge_fault(const void *opaque)
{
    int error = GPOINTER_TO_INT(opaque);

    fail_merge("active", FAULT_READ, error);
    fail_merge("hidden", FAULT_READ, error);
    fail_merge("parent", FAULT_WRITE, error);
    fail_merge("parent", FAULT_FLUSH, error);
}

typedef struct Flush {
    int ret;
} Flush;

static void coroutine_fn flush_entry(void *opaque)
{
    Flush *f = opaque;

    f->ret = blk_co_flush(guest);
}

/* A guest that has written all of its disk, which would take long to merge */
static void open_slow_merge(Kind kind)
{
    QDict *options;

    make_images(SIZE);
    open_parent();
    options = secondary_options(kind, "childs0");
    qdict_put_str(options, "merge-speed", "64K");
    guest = blk_new_open(NULL, NULL, options, BDRV_O_RDWR, &error_abort);
    replication_start_all(REPLICATION_MODE_SECONDARY, &error_abort);
    g_assert_cmpint(put(guest, 0, SIZE, 0x22), ==, 0);
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
                        begin + WAIT_MS);
        main_loop_wait(true);
    }
    /* In an overlay still, whether on its way down or not */
    sees(guest, 0, 2 * CLUSTER, 0x22);
    sees(guest, 40 * CLUSTER, CLUSTER, 0x22);
    g_assert_cmpint(f.ret, ==, -EINPROGRESS);
    fault_overtake("parent");
    g_assert_cmpint(put(guest, 50 * CLUSTER, CLUSTER, 0x23), ==, 0);
    sees(guest, 50 * CLUSTER, CLUSTER, 0x23);
    g_assert_cmpint(f.ret, ==, -EINPROGRESS);
    fault_hang("parent", false);
    while (f.ret == -EINPROGRESS) {
        g_assert_cmpint(qemu_clock_get_ms(QEMU_CLOCK_REALTIME), <,
                        begin + WAIT_MS);
        main_loop_wait(true);
    }
    g_assert_cmpint(f.ret, ==, 0);
    g_assert_cmpint(stats().stage, ==, REPLICATION_STAGE_DONE);
    on_disk(0, 50 * CLUSTER, 0x22);
    on_disk(50 * CLUSTER, CLUSTER, 0x23);
    on_disk(51 * CLUSTER, SIZE - 51 * CLUSTER, 0x22);
    close_pair();
}

/* A write that is to be durable at once is so only with all that was before */
static void test_merge_fua(const void *opaque)
{
    uint8_t buffer[512];

    open_slow_merge(GPOINTER_TO_INT(opaque));
    replication_stop_all(true, &error_abort);
    memset(buffer, 0x23, sizeof(buffer));
    g_assert_cmpint(blk_pwrite(guest, 0, 512, buffer, 0), ==, 0);
    g_assert_cmpint(stats().stage, ==, REPLICATION_STAGE_MERGING);
    g_assert_cmpint(blk_pwrite(guest, 512, 512, buffer, BDRV_REQ_FUA), ==, 0);
    g_assert_cmpint(stats().stage, ==, REPLICATION_STAGE_DONE);
    on_disk(0, 1024, 0x23);
    on_disk(1024, SIZE - 1024, 0x22);
    close_pair();
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

    open_pair(GPOINTER_TO_INT(opaque));
    g_assert_cmpint(put(guest, 0, 4 * CLUSTER, 0x22), ==, 0);
    fault_hang("parent", true);
    replication_stop_all(true, &error_abort);
    qemu_coroutine_enter(qemu_coroutine_create(flush_entry, &f));
    while (!fault_log("parent")->count[FAULT_WRITE]) {
        g_assert_cmpint(qemu_clock_get_ms(QEMU_CLOCK_REALTIME), <,
                        begin + WAIT_MS);
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
    g_assert_cmpint(put(guest, 0, CLUSTER, 0x23), ==, 0);
    wait_stage(REPLICATION_STAGE_DONE);
    sees(guest, 0, CLUSTER, 0x23);
    sees(guest, CLUSTER, 3 * CLUSTER, 0x22);
    close_pair();
}

/* RAM is at its limit and nothing may be spilled: said, not forgotten */
static void test_limit(void)
{
    open_pair(MEMORY);
    g_assert_cmpint(put(host, 0, SIZE, 0x11), ==, 0);
    close_pair();

    make_images(SIZE);
    open_parent();
    {
        QDict *options = secondary_options(MEMORY, "childs0");

        /* 128 KiB, and the map of 65 clusters */
        qdict_put_str(options, "overlay.limit", "140K");
        guest = blk_new_open(NULL, NULL, options, BDRV_O_RDWR, &error_abort);
    }
    replication_start_all(REPLICATION_MODE_SECONDARY, &error_abort);
    g_assert_cmpint(put(host, 0, SIZE, 0x11), ==, 0);   /* zeroes need none */
    replication_do_checkpoint_all(&error_abort);
    g_assert_cmpint(put(guest, 0, CLUSTER, 0x21), ==, 0);
    g_assert_cmpint(put(guest, CLUSTER, CLUSTER, 0x22), ==, 0);
    g_assert_cmpint(put(guest, 2 * CLUSTER, CLUSTER, 0x23), ==, -ENOSPC);
    g_assert_cmpint(put(host, 8 * CLUSTER, CLUSTER, 0x33), ==, -ENOSPC);
    sees(guest, 0, CLUSTER, 0x21);
    sees(guest, 8 * CLUSTER, CLUSTER, 0x11);
    close_pair();
}

static void refused(int64_t overlay_size, const char *top, const char *message)
{
    Error *err = NULL;
    QDict *options;

    make_images(overlay_size);
    open_parent();
    options = secondary_options(IMAGES, "childs0");
    qdict_put_str(options, "top-id", top);
    guest = blk_new_open(NULL, NULL, options, BDRV_O_RDWR, &error_abort);
    replication_start_all(REPLICATION_MODE_SECONDARY, &err);
    g_assert(err);
    g_test_message("%s", error_get_pretty(err));
    g_assert(strstr(error_get_pretty(err), message));
    error_free(err);
    g_assert_cmpint(stats().stage, ==, REPLICATION_STAGE_IDLE);
    /* What was there works as before */
    g_assert_cmpint(put(host, 0, 512, 0x11), ==, 0);
    close_pair();
}

static void test_refusals(void)
{
    Error *err = NULL;

    refused(SIZE + MiB, "childs0", "qemu-img create");
    refused(SIZE, "nobody", "no such drive");
    refused(SIZE, "parent0", "is not below it");

    open_idle(IMAGES, SIZE);
    replication_start_all(REPLICATION_MODE_PRIMARY, &err);
    g_assert(strstr(error_get_pretty(err), "mode=secondary"));
    error_free(err);
    err = NULL;
    g_assert_cmpint(put(guest, 0, 512, 0x11), ==, -EIO);
    replication_start_all(REPLICATION_MODE_SECONDARY, &error_abort);
    replication_start_all(REPLICATION_MODE_SECONDARY, &err);
    g_assert(strstr(error_get_pretty(err), "running already"));
    error_free(err);
    /* the disk and the images keep their size */
    g_assert_cmpint(blk_set_perm(host, BLK_PERM_WRITE | BLK_PERM_RESIZE,
                                 BLK_PERM_ALL, NULL), <, 0);
    close_pair();
}

/* Two disks: one of them cannot commit, so neither does */
static void test_all_or_none(void)
{
    QDict *options = qdict_new();
    BlockBackend *other;
    Error *err = NULL;

    open_pair(MEMORY);
    qdict_put_str(options, "driver", "replication");
    qdict_put_str(options, "mode", "secondary");
    qdict_put_str(options, "top-id", "other");
    qdict_put_str(options, "overlay.limit", "1M");
    qdict_put_str(options, "file.driver", "null-co");
    other = blk_new_open(NULL, NULL, options, BDRV_O_RDWR, &error_abort);
    g_assert_cmpint(put(guest, 0, 512, 0x21), ==, 0);
    replication_do_checkpoint_all(&err);
    g_assert(err);
    error_free(err);
    sees(guest, 0, 512, 0x21);
    g_assert_cmpint(stats().checkpoints, ==, 0);
    /* the failover of one goes on although the other refuses */
    err = NULL;
    replication_stop_all(true, &err);
    g_assert(err);
    error_free(err);
    wait_stage(REPLICATION_STAGE_DONE);
    on_disk(0, 512, 0x21);
    blk_unref(other);
    close_pair();
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
        { "merged-drained", test_merged_drained },
    }, faults[] = {
        { "hold", test_hold_fault },
        { "own", test_own_fault },
        { "read", test_read_fault },
        { "merge", test_merge_fault },
    };
    static const char *const files[] = { "parent", "active", "hidden" };
    int i, kind, ret;

    qemu_init_main_loop(&error_fatal);
    bdrv_init();
    fault_init();
    g_test_init(&argc, &argv, NULL);
    dir = g_strdup_printf("%s/colo-disk-XXXXXX", g_get_tmp_dir());
    g_assert(g_mkdtemp(dir));

    for (kind = 0; kind < KINDS; kind++) {
        for (i = 0; i < ARRAY_SIZE(views); i++) {
            g_autofree char *name =
                g_strdup_printf("/colo/disk/secondary/%s/%s", kind_names[kind],
                                views[i].name);

            g_test_add_data_func(name, GINT_TO_POINTER(kind), views[i].func);
        }
    }
    for (i = 0; i < ARRAY_SIZE(faults); i++) {
        g_autofree char *eio =
            g_strdup_printf("/colo/disk/secondary/EIO/%s", faults[i].name);
        g_autofree char *enospc =
            g_strdup_printf("/colo/disk/secondary/ENOSPC/%s", faults[i].name);

        g_test_add_data_func(eio, GINT_TO_POINTER(EIO), faults[i].func);
        g_test_add_data_func(enospc, GINT_TO_POINTER(ENOSPC), faults[i].func);
    }
    g_test_add_func("/colo/disk/secondary/limit", test_limit);
    g_test_add_func("/colo/disk/secondary/refusals", test_refusals);
    g_test_add_func("/colo/disk/secondary/all-or-none", test_all_or_none);
    ret = g_test_run();
    for (i = 0; i < ARRAY_SIZE(files); i++) {
        g_autofree char *name = path(files[i]);

        unlink(name);
    }
    rmdir(dir);
    g_free(dir);
    return ret;
}
