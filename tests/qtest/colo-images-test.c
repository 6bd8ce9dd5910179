/*
 * The images of a COLO pair: too small, failing, not merged yet, and refused
 *
 * What is full here is a real file system, a tmpfs of the test's own, and what
 * the NBD client meets comes from blkdebug in front of it.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include <sched.h>
#include <sys/mount.h>
#include "libqtest.h"
#include "qapi/qmp/qjson.h"
#include "colo-chunks.h"

#define CHUNKS 32           /* 2 MiB; the disk has 8 */
#define SMALL "size=1280k"  /* the metadata fit, the chunks do not */
#define LARGE "size=64m"

/* A file system that becomes full; NULL: none can be mounted here */
static char *small_dir;

/* Mounts are seen by this process and the QEMUs that it starts, nobody else. */
static bool enter_namespace(void)
{
    g_autofree char *map = g_strdup_printf("0 %d 1", (int)getuid());

    if (unshare(CLONE_NEWNS) == 0) {
        return true;
    }
    return unshare(CLONE_NEWNS | CLONE_NEWUSER) == 0 &&
           g_file_set_contents("/proc/self/uid_map", map, -1, NULL);
}

static void mount_small(void)
{
    GError *err = NULL;

    small_dir = g_dir_make_tmp("colo-small-XXXXXX", &err);
    g_assert_no_error(err);
    if (!enter_namespace() ||
        mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
        mount("small", small_dir, "tmpfs", 0, SMALL) < 0) {
        rmdir(small_dir);
        g_free(small_dir);
        small_dir = NULL;
    }
}

static void unmount_small(void)
{
    if (small_dir) {
        umount2(small_dir, MNT_DETACH);
        rmdir(small_dir);
    }
}

static ColoPair *new_small(const char *image)
{
    ColoPair *pair;

    if (!small_dir) {
        g_test_skip("SKIPPED: needs to mount a tmpfs; run it as root, or where "
                    "user namespaces are allowed");
        return NULL;
    }
    pair = colo_pair_new("pc", COLO_DISK, COLO_NO_TIMER);
    pair->small_dir = small_dir;
    pair->faulty = image;
    return pair;
}

static void test_full_parent(void)
{
    ColoPair *pair = new_small("parent");

    if (pair) {
        colo_pair_protect(pair);
        colo_write_chunks(pair, 0x11, 0, CHUNKS);
        colo_lose(pair);
        colo_pair_fail_over_to_primary(pair);
        colo_expect_chunks(pair, 0x11, 0, CHUNKS);
        colo_pair_free(pair);
    }
}

/* What is kept for the secondary finds no room */
static void full_held(ColoPair *pair)
{
    colo_pair_protect(pair);
    colo_write_chunks(pair, 0x11, 0, CHUNKS);
    colo_pair_request_checkpoint(pair);
    colo_write_chunks(pair, 0x22, 0, CHUNKS);
    colo_lose(pair);
    colo_pair_fail_over_to_secondary(pair);
    colo_expect_chunks(pair, 0x11, 0, CHUNKS);
    colo_pair_free(pair);
}

static void test_full_hidden(void)
{
    ColoPair *pair = new_small("hidden");

    if (pair) {
        full_held(pair);
    }
}

static void test_full_spill(void)
{
    ColoPair *pair = new_small("spill");

    if (pair) {
        pair->overlay = "88K";      /* the map, and one cluster */
        full_held(pair);
    }
}

/* The secondary's guest is told; the next commit makes that void */
static void test_full_active(void)
{
    ColoPair *pair = new_small("active");

    if (pair) {
        colo_pair_protect(pair);
        colo_write_chunks(pair, 0x11, 0, CHUNKS);
        colo_diverge(pair, 0x33, 0, CHUNKS);
        colo_pair_request_checkpoint(pair);
        g_assert_cmpuint(colo_side_count(pair->p, "REPLICATION_BROKEN"), ==, 0);
        colo_pair_fail_over_to_secondary(pair);
        colo_expect_chunks(pair, 0x11, 0, CHUNKS);
        colo_pair_free(pair);
    }
}

/* After the failover the disk has no room for the overlays, until it gets some */
static void test_full_merge(void)
{
    ColoPair *pair = new_small("parent");
    unsigned merged;

    if (pair) {
        colo_pair_protect(pair);
        colo_diverge(pair, 0x33, 0, CHUNKS);
        colo_pair_fail_over_to_secondary(pair);
        colo_side_await(pair->p, "REPLICATION_MERGE", 1, COLO_WAIT_MS);
        colo_expect_chunks(pair, 0x33, 0, CHUNKS);
        merged = colo_side_count(pair->p, "REPLICATION_MERGE");
        g_assert_cmpint(mount("small", small_dir, "tmpfs", MS_REMOUNT, LARGE),
                        ==, 0);
        colo_side_await(pair->p, "REPLICATION_MERGE", merged + 1, COLO_WAIT_MS);
        colo_expect_chunks(pair, 0x33, 0, CHUNKS);
        colo_pair_free(pair);
    }
}

/* The primary's NBD client fails, in its writes or in the flush */
static void fault_client(const char *iotype, int error)
{
    ColoPair *pair = colo_pair_new("pc", COLO_DISK, COLO_NO_TIMER);
    g_autofree char *rule =
        g_strdup_printf("file.inject-error.0.event=none,"
                        "file.inject-error.0.iotype=%s,"
                        "file.inject-error.0.errno=%d", iotype, error);

    pair->client = rule;
    colo_pair_protect(pair);
    colo_pair_write(pair, 0x11, 0);
    colo_side_hmp(pair->p, "qemu-io colo-disk0 flush");
    colo_lose(pair);
    colo_pair_write(pair, 0x22, COLO_CHUNK);
    colo_pair_fail_over_to_primary(pair);
    colo_pair_expect(pair, 0x11, 0);
    colo_pair_expect(pair, 0x22, COLO_CHUNK);
    colo_pair_free(pair);
}

static void test_client_write_eio(void)
{
    fault_client("write", EIO);
}

static void test_client_write_enospc(void)
{
    fault_client("write", ENOSPC);
}

static void test_client_flush_eio(void)
{
    fault_client("flush", EIO);
}

/* A second secondary joins, and takes over, from one that has still to merge */
static void test_merging(void)
{
    ColoPair *pair = colo_pair_new("pc", COLO_DISK, COLO_NO_TIMER);

    pair->merge_speed = "16K";      /* 48 s for what there is */
    colo_pair_protect(pair);
    colo_write_chunks(pair, 0x11, 0, 16);
    colo_pair_request_checkpoint(pair);
    colo_diverge(pair, 0x33, 0, 8);
    colo_write_chunks(pair, 0x22, 4, 12);
    /* Without a "stop", which flushes, hence merges all */
    colo_side_kill(pair->p);
    pair->p = pair->s;
    pair->s = NULL;
    colo_side_ok(pair->p, "{'execute': 'nbd-server-stop'}");
    colo_side_ok(pair->p, "{'execute': 'x-colo-lost-heartbeat'}");
    colo_side_await(pair->p, "COLO_EXIT", 1, COLO_WAIT_MS);
    colo_side_until(pair->p, "query-status", "status", "running");
    colo_pair_expect(pair, 0x33, 0);
    colo_pair_expect(pair, 0x11, 8 * COLO_CHUNK);
    g_assert_cmpuint(colo_side_count(pair->p, "REPLICATION_MERGE"), ==, 0);
    colo_pair_write(pair, 0x44, 7 * COLO_CHUNK);
    colo_pair_rejoin(pair);
    colo_pair_write(pair, 0x55, 15 * COLO_CHUNK);
    colo_pair_request_checkpoint(pair);
    colo_pair_fail_over_to_secondary(pair);
    colo_expect_chunks(pair, 0x33, 0, 7);
    colo_expect_chunks(pair, 0x44, 7, 8);
    colo_expect_chunks(pair, 0x11, 8, 15);
    colo_expect_chunks(pair, 0x55, 15, 16);
    colo_pair_free(pair);
}

static void refused(ColoSide *side, const char *part, const char *fmt, ...)
    G_GNUC_PRINTF(3, 4);

static void refused(ColoSide *side, const char *part, const char *fmt, ...)
{
    g_autoptr(GString) text = NULL;
    QDict *dict;
    va_list ap;

    va_start(ap, fmt);
    dict = colo_side_vtry(side, COLO_ANSWER_MS, fmt, ap);
    va_end(ap);
    text = dict ? qobject_to_json(QOBJECT(dict)) : g_string_new("no answer");
    if (!dict || !qdict_haskey(dict, "error") || !strstr(text->str, part)) {
        colo_fail("%s: an error with '%s' expected, not %s", fmt, part,
                  text->str);
    }
    qobject_unref(dict);
}

static void test_refused_use(void)
{
    ColoPair *pair = colo_pair_start(COLO_DISK, COLO_NO_TIMER);

    refused(pair->p, "replication0",
            "{'execute': 'x-blockdev-change', 'arguments': "
            "{'parent': 'colo-disk0', 'node': 'replication0'}}");
    refused(pair->p, "resize", "{'execute': 'block_resize', 'arguments': "
            "{'device': 'colo-disk0', 'size': 16777216}}");
    refused(pair->s, "resize", "{'execute': 'block_resize', 'arguments': "
            "{'device': 'parent0', 'size': 16777216}}");
    colo_pair_write(pair, 0x11, 0);
    colo_pair_request_checkpoint(pair);
    colo_pair_fail_over_to_secondary(pair);
    colo_pair_expect(pair, 0x11, 0);
    colo_pair_free(pair);
}

/* The other disk is larger: no replication, and a hint */
static void test_refused_size(void)
{
    ColoPair *pair = colo_pair_new("pc", COLO_DISK, COLO_NO_TIMER);
    int64_t give_up = g_get_monotonic_time() + COLO_WAIT_MS * 1000LL;
    g_autofree char *text = NULL;

    pair->excess = COLO_CHUNK;
    colo_pair_add_secondary(pair, "");
    colo_pair_connect_disk(pair);
    colo_pair_migrate(pair);
    do {
        g_free(text);
        text = colo_side_ask(pair->p, "reason", "{'execute': 'query-colo'}");
        if (g_get_monotonic_time() > give_up) {
            colo_fail("query-colo does not tell why: '%s'", text);
        }
        g_usleep(20 * 1000);
    } while (!strstr(text, "qemu-img resize"));
    colo_pair_write(pair, 0x11, 0);
    colo_pair_expect(pair, 0x11, 0);
    colo_pair_free(pair);
}

int main(int argc, char **argv)
{
    static const ColoTestCase cases[] = {
        { "full/parent", test_full_parent },
        { "full/hidden", test_full_hidden },
        { "full/spill", test_full_spill },
        { "full/active", test_full_active },
        { "full/merge", test_full_merge },
        { "client/write/EIO", test_client_write_eio },
        { "client/write/ENOSPC", test_client_write_enospc },
        { "client/flush/EIO", test_client_flush_eio },
        { "merging", test_merging },
        { "refused/use", test_refused_use },
        { "refused/size", test_refused_size },
    };
    int ret;

    g_test_init(&argc, &argv, NULL);
    mount_small();
    colo_add_cases("colo-images", cases, ARRAY_SIZE(cases));
    ret = g_test_run();
    unmount_small();
    return ret;
}
