/*
 * What replication of a disk costs: emptying the overlays, and writing
 *
 *   bench-colo-disk empty DIR           ms per checkpoint of the secondary, with
 *                                       0 and 1000 clusters touched
 *   bench-colo-disk merge DIR [whole]   ms of the first flush after a failover
 *                                       from 1000 scattered or whole clusters
 *   bench-colo-disk during DIR          us per 4 KiB read and write of the guest
 *                                       from the failover on, while the same is
 *                                       merged, and when all is
 *   bench-colo-disk write DIR [SOCKET]  fsync'd 4 KiB writes per second through
 *                                       a quorum; with SOCKET, replicated to the
 *                                       NBD export there
 *
 * It uses only what the stock driver has too, so that the same source, linked
 * with either, gives figures to compare.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/main-loop.h"
#include "qemu/module.h"
#include "qemu/units.h"
#include "qapi/error.h"
#include "qapi/qmp/qdict.h"
#include "block/block_int.h"
#include "block/replication.h"
#include "sysemu/block-backend.h"

#define DISK        (1 * GiB)
#define CLUSTER     65536
#define TOUCHED     1000
#define ROUNDS      21
#define WRITES      2000
#define DURING      300

static char *dir;

static void put(QDict *options, const char *key, const char *format, ...)
{
    va_list ap;
    g_autofree char *value = NULL;

    va_start(ap, format);
    value = g_strdup_vprintf(format, ap);
    va_end(ap);
    qdict_put_str(options, key, value);
}

static void make_raw(const char *name)
{
    g_autofree char *path = g_strdup_printf("%s/%s", dir, name);
    int fd = open(path, O_CREAT | O_RDWR | O_TRUNC, 0600);

    g_assert(fd >= 0 && ftruncate(fd, DISK) == 0);
    close(fd);
}

static void make_qcow2(const char *name)
{
    g_autofree char *path = g_strdup_printf("%s/%s", dir, name);

    bdrv_img_create(path, "qcow2", NULL, NULL, NULL, DISK, BDRV_O_RDWR, true,
                    &error_abort);
}

static int compare(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return (x > y) - (x < y);
}

static void write_at(BlockBackend *blk, int64_t offset, void *buffer)
{
    g_assert_cmpint(blk_pwrite(blk, offset, 4096, buffer, 0), ==, 0);
}

static void measure_empty(BlockBackend *guest, BlockBackend *host, int touched)
{
    int64_t ns[ROUNDS];
    uint8_t buffer[4096];
    int round, i;

    memset(buffer, 0x5a, sizeof(buffer));
    for (round = 0; round < ROUNDS; round++) {
        int64_t begin;

        for (i = 0; i < touched; i++) {
            int64_t offset = (int64_t)(i * 7919LL % (DISK / CLUSTER)) * CLUSTER;

            write_at(i % 2 ? guest : host, offset, buffer);
        }
        begin = get_clock();
        replication_do_checkpoint_all(&error_abort);
        ns[round] = get_clock() - begin;
    }
    qsort(ns, ROUNDS, sizeof(ns[0]), compare);
    printf("empty clusters=%d ms-median=%.3f ms-worst=%.3f\n", touched,
           ns[ROUNDS / 2] / 1e6, ns[ROUNDS - 1] / 1e6);
}

static void open_secondary(BlockBackend **disk, BlockBackend **view)
{
    QDict *options = qdict_new();
    BlockBackend *host, *guest;

    make_raw("parent");
    make_qcow2("active");
    make_qcow2("hidden");
    put(options, "driver", "raw");
    put(options, "node-name", "parent0");
    put(options, "file.driver", "file");
    put(options, "file.filename", "%s/parent", dir);
    put(options, "file.locking", "off");
    host = blk_new_open(NULL, NULL, options, BDRV_O_RDWR, &error_abort);
    monitor_add_blk(host, "host", &error_abort);

    options = qdict_new();
    put(options, "driver", "replication");
    put(options, "mode", "secondary");
    put(options, "top-id", "guest");
    put(options, "file.driver", "qcow2");
    put(options, "file.file.driver", "file");
    put(options, "file.file.filename", "%s/active", dir);
    put(options, "file.backing.driver", "qcow2");
    put(options, "file.backing.file.driver", "file");
    put(options, "file.backing.file.filename", "%s/hidden", dir);
    put(options, "file.backing.backing", "parent0");
    guest = blk_new_open(NULL, NULL, options, BDRV_O_RDWR, &error_abort);
    monitor_add_blk(guest, "guest", &error_abort);
    replication_start_all(REPLICATION_MODE_SECONDARY, &error_abort);
    *disk = host;
    *view = guest;
}

static void bench_empty(void)
{
    BlockBackend *host, *guest;

    open_secondary(&host, &guest);
    measure_empty(guest, host, 0);
    measure_empty(guest, host, TOUCHED);
}

/*
 * Both guests have written the same places, the usual case; then the failover.
 * Returns the survivor's disk.
 */
static BlockBackend *fail_over(bool whole)
{
    BlockBackend *host, *guest;
    g_autofree uint8_t *buffer = g_malloc0(CLUSTER);
    int bytes = whole ? CLUSTER : 4096;
    int i, round;

    open_secondary(&host, &guest);
    /* What is to be held is no zeroes the second time */
    for (round = 0; round < 2; round++) {
        memset(buffer, 0x5a + round, CLUSTER);
        for (i = 0; i < TOUCHED; i++) {
            int64_t at = whole ? i : i * 7919LL % (DISK / CLUSTER);

            g_assert_cmpint(blk_pwrite(host, at * CLUSTER, bytes, buffer, 0),
                            ==, 0);
            g_assert_cmpint(blk_pwrite(guest, at * CLUSTER + (whole ? 0 : 4096),
                                       bytes, buffer, 0), ==, 0);
        }
        if (round == 0) {
            replication_do_checkpoint_all(&error_abort);
            g_assert_cmpint(blk_flush(host), ==, 0);
        }
    }
    replication_stop_all(true, &error_abort);
    return guest;
}

static void bench_merge(bool whole)
{
    BlockBackend *guest = fail_over(whole);
    int64_t begin = get_clock();

    g_assert_cmpint(blk_flush(guest), ==, 0);
    printf("merge whole=%d clusters=%d ms-first-flush=%.1f\n", whole, TOUCHED,
           (get_clock() - begin) / 1e6);
}

/* The worst and the median of reads, and of writes, in places of all kinds */
static void time_requests(BlockBackend *guest, const char *when)
{
    int64_t reads[DURING], writes[DURING];
    uint8_t buffer[4096];
    int i;

    memset(buffer, 0x5c, sizeof(buffer));
    for (i = 0; i < DURING; i++) {
        int64_t at = (int64_t)(i * 7919LL % (2 * TOUCHED)) * CLUSTER;
        int64_t begin = get_clock();

        g_assert_cmpint(blk_pread(guest, at, 4096, buffer, 0), ==, 0);
        reads[i] = get_clock() - begin;
        begin = get_clock();
        write_at(guest, at + 8192, buffer);
        writes[i] = get_clock() - begin;
    }
    qsort(reads, DURING, sizeof(reads[0]), compare);
    qsort(writes, DURING, sizeof(writes[0]), compare);
    printf("%s us-read-median=%.0f us-read-worst=%.0f us-write-median=%.0f "
           "us-write-worst=%.0f\n", when, reads[DURING / 2] / 1e3,
           reads[DURING - 1] / 1e3, writes[DURING / 2] / 1e3,
           writes[DURING - 1] / 1e3);
}

static void bench_during(void)
{
    BlockBackend *guest = fail_over(true);

    time_requests(guest, "merging");
    g_assert_cmpint(blk_flush(guest), ==, 0);
    time_requests(guest, "merged ");
}

static void bench_write(const char *socket)
{
    QDict *options = qdict_new();
    uint8_t buffer[4096];
    BlockBackend *blk;
    int64_t begin, ns;
    int i;

    make_raw("local");
    put(options, "driver", "quorum");
    put(options, "read-pattern", "fifo");
    qdict_put_int(options, "vote-threshold", 1);
    put(options, "children.0.driver", "file");
    put(options, "children.0.filename", "%s/local", dir);
    if (socket) {
        put(options, "children.1.driver", "replication");
        put(options, "children.1.mode", "primary");
        put(options, "children.1.file.driver", "nbd");
        put(options, "children.1.file.server.type", "unix");
        put(options, "children.1.file.server.path", "%s", socket);
    }
    blk = blk_new_open(NULL, NULL, options, BDRV_O_RDWR, &error_abort);
    if (socket) {
        replication_start_all(REPLICATION_MODE_PRIMARY, &error_abort);
    }
    memset(buffer, 0xa5, sizeof(buffer));
    begin = get_clock();
    for (i = 0; i < WRITES; i++) {
        write_at(blk, i * 7919LL % (DISK / 4096) * 4096, buffer);
        g_assert_cmpint(blk_flush(blk), ==, 0);
    }
    ns = get_clock() - begin;
    /* What is queued belongs to the price, once */
    bdrv_drain_all();
    printf("write replicated=%d per-second=%.0f with-drain=%.0f\n", !!socket,
           WRITES * 1e9 / ns, WRITES * 1e9 / (get_clock() - begin));
    blk_unref(blk);
}

int main(int argc, char **argv)
{
    if (argc < 3) {
        fprintf(stderr, "usage: %s empty DIR | merge DIR [whole] |"
                " during DIR | write DIR [SOCKET]\n", argv[0]);
        return 1;
    }
    dir = argv[2];
    signal(SIGPIPE, SIG_IGN);   /* as QEMU does: a lost peer is an error */
    qemu_init_main_loop(&error_fatal);
    module_call_init(MODULE_INIT_QOM);
    bdrv_init();
    if (!strcmp(argv[1], "empty")) {
        bench_empty();
    } else if (!strcmp(argv[1], "merge")) {
        bench_merge(argc > 3);
    } else if (!strcmp(argv[1], "during")) {
        bench_during();
    } else {
        bench_write(argc > 3 ? argv[3] : NULL);
    }
    /* The nodes are left to the end of the process */
    fflush(stdout);
    _exit(0);
}
