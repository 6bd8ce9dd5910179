/*
 * Runner: the guest's disk
 *
 * The guest is told how many blocks to do, and the client takes the time, for
 * two guests must not answer with two times of their own.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "bench-run.h"

/* The area of the disk, KiB */
#define START_KIB 65536
#define SPAN_KIB 65536
#define FIRST_COUNT 8
#define COUNT_MAX (1 << 20)

typedef struct DiskMode {
    const char *mode;      /* of the guest's command */
    const char *metric;
    unsigned block_kib;
} DiskMode;

static const DiskMode modes[] = {
    { "seq-write", "disk.seq-write", 256 },
    { "seq-write-sync", "disk.seq-write.fsync", 256 },
    { "seq-read", "disk.read", 256 },
    { "rand-write", "disk.rand-write", 4 },
    { "rand-write-sync", "disk.rand-write.fsync", 4 },
    { "rand-read", "disk.rand-read", 4 },
};

/* Doubles the work until it takes long enough to be timed. */
static bool run_mode(BenchRun *run, const DiskMode *mode, Error **errp)
{
    unsigned count = FIRST_COUNT;
    double seconds;

    for (;;) {
        g_autofree char *command = g_strdup_printf("disk-bench %s %d %d %u",
            mode->mode, START_KIB, SPAN_KIB, count);
        int64_t start = bench_now_ns();

        if (!bench_guest_command(run->guest, command, errp) ||
            !bench_guest_check(run->guest, errp)) {
            return false;
        }
        seconds = (bench_now_ns() - start) / 1e9;
        if (seconds >= run->effort->disk_s / 2 || count >= COUNT_MAX) {
            break;
        }
        count *= seconds < run->effort->disk_s / 16 ? 8 : 2;
    }
    bench_run_add(run, mode->metric,
                  count * mode->block_kib * 1024 / seconds / 1e6);
    return true;
}

bool bench_run_disk(BenchRun *run, Error **errp)
{
    for (int i = 0; i < ARRAY_SIZE(modes); i++) {
        if (g_str_equal(modes[i].mode, run->part)) {
            return run_mode(run, &modes[i], errp);
        }
    }
    g_assert_not_reached();
}
