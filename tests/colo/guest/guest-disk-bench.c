/*
 * Daemon of the test guest: disk work to be timed by a client
 *
 * Which blocks, and what is written to them, follows from the arguments, so
 * that two guests do the same.  They are not timed here, for two guests would
 * then answer differently.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include <stdlib.h>
#include <string.h>
#include "guestd.h"

#define SEQUENTIAL_BYTES (256 * 1024)
#define RANDOM_BYTES 4096

static const DiskBenchMode modes[] = {
    { "seq-write", .write = true },
    { "seq-write-sync", .write = true, .sync = true },
    { "rand-write", .write = true, .random = true },
    { "rand-write-sync", .write = true, .random = true, .sync = true },
    { "seq-read" },
    { "rand-read", .random = true },
};

const DiskBenchMode *disk_bench_mode(const char *name)
{
    size_t i;

    for (i = 0; i < ARRAY_SIZE(modes); i++) {
        if (!strcmp(modes[i].name, name)) {
            return &modes[i];
        }
    }
    return NULL;
}

size_t disk_bench_block(const DiskBenchMode *mode)
{
    return mode->random ? RANDOM_BYTES : SEQUENTIAL_BYTES;
}

/* arg[]: start and span in KiB, number of blocks; text: the mode */
void disk_bench_run(Job *job)
{
    const DiskBenchMode *mode = disk_bench_mode(job->text);
    size_t size = disk_bench_block(mode);
    uint64_t start = job->arg[0] * 1024, slots = job->arg[1] * 1024 / size;
    uint8_t *block = disk_alloc(size);
    const char *error = NULL;
    uint64_t i;
    bool ok = true;

    guest_fill(block, size, job->arg[2], 0);
    for (i = 0; ok && i < job->arg[2]; i++) {
        uint64_t slot = (mode->random ? guest_mix(i) : i) % slots;

        guest_put64(block, i); /* no two blocks are the same */
        ok = disk_transfer(mode->write, block, size, start + slot * size,
                           &error) && (!mode->sync || disk_flush(&error));
    }
    free(block);
    if (ok) {
        job_answer(job, "ok");
    } else {
        job_answer(job, "error disk: %s", error);
    }
}
