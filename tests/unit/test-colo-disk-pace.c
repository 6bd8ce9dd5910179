/*
 * The secondary's disk before replication starts: it is flushed again and again
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/main-loop.h"
#include "qapi/error.h"
#include "block/block_int.h"
#include "block/replication.h"
#include "sysemu/block-backend.h"
#include "colo-fault.h"
#include "colo-secondary.h"

/* Within this an idle disk would have been flushed a few times */
#define WHILE_MS    700

static int64_t now_ms(void)
{
    return qemu_clock_get_ms(QEMU_CLOCK_REALTIME);
}

static unsigned flushes(void)
{
    return fault_log("parent")->count[FAULT_FLUSH];
}

static void await_flushes(unsigned n)
{
    int64_t end = now_ms() + SEC_WAIT_MS;

    while (flushes() < n) {
        g_assert_cmpint(now_ms(), <, end);
        main_loop_wait(true);
        g_usleep(1000);
    }
}

static void await_rest(void)
{
    int64_t end = now_ms() + SEC_WAIT_MS;

    while (!replication_is_short_all()) {
        g_assert_cmpint(now_ms(), <, end);
        main_loop_wait(true);
        g_usleep(1000);
    }
}

static void expect_quiet(unsigned n)
{
    int64_t end = now_ms() + WHILE_MS;

    while (now_ms() < end) {
        main_loop_wait(true);
        g_usleep(1000);
    }
    g_assert_cmpint(flushes(), ==, n);
}

static void host_writes(void)
{
    g_assert_cmpint(sec_put(sec_host, 0, SEC_CLUSTER, 0x11), ==, 0);
}

/* What the primary has written is flushed once; from the start on that is up to it */
static void test_paced(const void *opaque)
{
    sec_open_idle(GPOINTER_TO_INT(opaque), SEC_SIZE);
    expect_quiet(0);
    host_writes();
    await_flushes(1);
    host_writes();
    await_flushes(2);
    expect_quiet(2);
    host_writes();
    replication_start_all(REPLICATION_MODE_SECONDARY, &error_abort);
    host_writes();
    expect_quiet(2);
    g_assert_cmpint(blk_flush(sec_host), ==, 0);
    g_assert_cmpint(flushes(), ==, 3);
    sec_close();
}

/* What a flush has to carry stays the same, however long the primary writes */
static void test_backlog(void)
{
    const FaultLog *log;
    unsigned written = 0, most = 0, at_last = 0, n = 0;
    int64_t end = now_ms() + 3 * WHILE_MS;

    sec_open_idle(SEC_MEMORY, SEC_SIZE);
    log = fault_log("parent");
    while (now_ms() < end) {
        host_writes();
        written++;
        if (flushes() != n) {
            n = flushes();
            most = MAX(most, log->count[FAULT_WRITE] - at_last);
            at_last = log->count[FAULT_WRITE];
        }
        main_loop_wait(true);
        g_usleep(5000);
    }
    most = MAX(most, written - at_last);
    g_test_message("%u writes, %u at most of them without a flush", written, most);
    g_assert_cmpint(most, <, written / 2);
    sec_close();
}

/* The images are stores only, and can be written to. */
static void check_stores(void)
{
    BdrvChild *c;

    QLIST_FOREACH(c, &bdrv_find_node("childs0")->children, next) {
        g_assert_null(bdrv_cow_bs(c->bs));
        g_assert(!bdrv_is_read_only(c->bs));
    }
}

/* Who would start replication can tell when none is under way, and begins none. */
static void test_defer(const void *opaque)
{
    sec_open_idle(GPOINTER_TO_INT(opaque), SEC_SIZE);
    g_assert(replication_is_short_all());
    host_writes();
    fault_hang("parent", true);
    await_flushes(1);
    fault_overtake("parent");
    host_writes();
    replication_defer_flushes_all(true);
    g_assert(!replication_is_short_all());
    fault_hang("parent", false);
    await_rest();
    expect_quiet(1);
    replication_defer_flushes_all(false);
    await_flushes(2);
    await_rest();

    host_writes();
    replication_defer_flushes_all(true);
    replication_start_all(REPLICATION_MODE_SECONDARY, &error_abort);
    replication_defer_flushes_all(false);
    expect_quiet(2);
    sec_close();
}

/* Who doesn't wait for the one under way starts all the same. */
static void test_start(const void *opaque)
{
    sec_open_idle(GPOINTER_TO_INT(opaque), SEC_SIZE);
    host_writes();
    fault_hang("parent", true);
    await_flushes(1);
    fault_overtake("parent");
    replication_start_all(REPLICATION_MODE_SECONDARY, &error_abort);
    check_stores();
    g_assert_cmpint(sec_put(sec_guest, 0, 512, 0x22), ==, 0);
    sec_sees(sec_guest, 512, SEC_CLUSTER - 512, 0x11);
    g_assert(!replication_is_short_all());
    fault_hang("parent", false);
    await_rest();
    replication_do_checkpoint_all(&error_abort);
    sec_sees(sec_guest, 0, SEC_CLUSTER, 0x11);
    sec_close();
}

static void expect_lost(Error *err)
{
    g_assert_nonnull(err);
    g_test_message("%s", error_get_pretty(err));
    g_assert_nonnull(strstr(error_get_pretty(err), "resync to a good disk"));
    g_assert_nonnull(strstr(error_get_pretty(err), strerror(EIO)));
    error_free(err);
}

/* ... and has no commit if that one fails. */
static void test_start_error(const void *opaque)
{
    Error *err = NULL;

    sec_open_idle(GPOINTER_TO_INT(opaque), SEC_SIZE);
    host_writes();
    fault_hang("parent", true);
    await_flushes(1);
    fault_overtake("parent");
    replication_start_all(REPLICATION_MODE_SECONDARY, &error_abort);
    replication_get_error_all(&error_abort);
    fault_set("parent", FAULT_FLUSH, EIO);
    fault_hang("parent", false);
    await_rest();
    fault_set("parent", FAULT_FLUSH, 0);
    replication_get_error_all(&err);
    expect_lost(err);
    err = NULL;
    replication_do_checkpoint_all(&err);
    expect_lost(err);
    sec_close();
}

/* ... and the end of all waits as far as it must: of the node doesn't. */
static void test_close(const void *opaque)
{
    sec_open_idle(GPOINTER_TO_INT(opaque), SEC_SIZE);
    host_writes();
    fault_delay("parent", 300);
    await_flushes(1);
    blk_unref(sec_guest);
    g_assert_null(bdrv_find_node("childs0"));
    blk_unref(sec_host);
    g_assert_null(bdrv_find_node("parent0"));

    sec_open_idle(GPOINTER_TO_INT(opaque), SEC_SIZE);
    host_writes();
    fault_hang("parent", true);
    await_flushes(1);
    fault_overtake("parent");
    blk_unref(sec_guest);
    g_assert_null(bdrv_find_node("childs0"));
    fault_hang("parent", false);
    expect_quiet(1);
    blk_unref(sec_host);
}

static void coroutine_fn write_entry(void *opaque)
{
    g_autofree void *buffer = g_malloc0(SEC_CLUSTER);
    int *ret = opaque;

    *ret = blk_co_pwrite(sec_host, SEC_CLUSTER, SEC_CLUSTER, buffer, 0);
}

/*
 * A flush that takes long holds up no write, where the image has to grow for it
 * either; @opaque: a filter above the image.
 */
static void test_writes_pass(const void *opaque)
{
    int64_t end = now_ms() + SEC_WAIT_MS;
    int ret = -EINPROGRESS;
    unsigned n;

    sec_disk_format = "qcow2";
    sec_disk_filter = opaque;
    sec_open_idle(SEC_MEMORY, SEC_SIZE);
    host_writes();
    fault_hang("parent", true);
    n = flushes();
    await_flushes(n + 1);
    fault_overtake("parent");
    qemu_coroutine_enter(qemu_coroutine_create(write_entry, &ret));
    while (ret == -EINPROGRESS) {
        g_assert_cmpint(now_ms(), <, end);
        main_loop_wait(true);
        g_usleep(1000);
    }
    g_assert_cmpint(ret, ==, 0);
    fault_hang("parent", false);
    sec_close();
    sec_disk_format = "raw";
    sec_disk_filter = NULL;
}

/* Nothing begins in a drained section */
static void test_drained(void)
{
    sec_open_idle(SEC_MEMORY, SEC_SIZE);
    host_writes();
    bdrv_drain_all_begin();
    expect_quiet(0);
    bdrv_drain_all_end();
    await_flushes(1);
    sec_close();
}

/*
 * It has failed once, and nobody hears of it a second time: this disk is no replica,
 * and stays none.
 */
static void test_error(const void *opaque)
{
    sec_open_idle(GPOINTER_TO_INT(opaque), SEC_SIZE);
    host_writes();
    fault_set("parent", FAULT_FLUSH, EIO);
    await_flushes(1);
    await_rest();
    fault_set("parent", FAULT_FLUSH, 0);
    host_writes();
    await_flushes(2);
    g_assert_cmpint(blk_flush(sec_host), ==, 0);
    for (int i = 0; i < 2; i++) {
        Error *err = NULL;

        replication_start_all(REPLICATION_MODE_SECONDARY, &err);
        expect_lost(err);
        g_assert_cmpint(sec_stats().stage, ==, REPLICATION_STAGE_IDLE);
    }
    g_assert_cmpint(sec_put(sec_guest, 0, 512, 0x22), ==, -EIO);
    sec_close();
}

static void coroutine_fn read_entry(void *opaque)
{
    g_autofree void *buffer = g_malloc(512);
    BlockBackend *blk = opaque;

    g_assert_cmpint(blk_co_pread(blk, 0, 512, buffer, 0), ==, 0);
}

/* A start takes its time, and fails: it goes on. */
static void test_again(void)
{
    BlockBackend *hidden;
    Error *err = NULL;
    int64_t begin = now_ms();

    sec_open_idle(SEC_IMAGES, SEC_SIZE);
    hidden = blk_new_with_bs(bdrv_find_node("hidden"), BLK_PERM_CONSISTENT_READ,
                             BLK_PERM_ALL, &error_abort);
    fault_delay("hidden", WHILE_MS);
    fault_set("hidden", FAULT_REOPEN, EIO);
    qemu_coroutine_enter(qemu_coroutine_create(read_entry, hidden));
    replication_start_all(REPLICATION_MODE_SECONDARY, &err);
    error_free_or_abort(&err);
    /* Else the timer has not been missed, and this shows nothing */
    g_assert_cmpint(now_ms() - begin, >=, WHILE_MS);
    g_assert_cmpint(flushes(), ==, 0);
    blk_unref(hidden);
    host_writes();
    await_flushes(1);
    sec_close();
}

static void add(const char *name, void (*run)(const void *))
{
    for (SecKind kind = SEC_IMAGES; kind <= SEC_MEMORY; kind++) {
        g_autofree char *path = g_strdup_printf("/colo/disk/pace/%s/%s", name,
                                                sec_kind_names[kind]);

        g_test_add_data_func(path, GINT_TO_POINTER(kind), run);
    }
}

int main(int argc, char **argv)
{
    int ret;

    qemu_init_main_loop(&error_fatal);
    bdrv_init();
    g_test_init(&argc, &argv, NULL);
    sec_init();

    add("paced", test_paced);
    add("defer", test_defer);
    add("start", test_start);
    add("start-error", test_start_error);
    add("error", test_error);
    add("close", test_close);
    g_test_add_func("/colo/disk/pace/backlog", test_backlog);
    g_test_add_data_func("/colo/disk/pace/writes-pass", NULL, test_writes_pass);
    g_test_add_data_func("/colo/disk/pace/writes-pass/filter", "copy-on-read",
                         test_writes_pass);
    g_test_add_func("/colo/disk/pace/drained", test_drained);
    g_test_add_func("/colo/disk/pace/again", test_again);
    ret = g_test_run();
    sec_cleanup();
    return ret;
}
