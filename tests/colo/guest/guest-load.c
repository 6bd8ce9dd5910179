/*
 * guestd: keeping the guest's RAM and disk busy
 *
 * The loads run in a thread each, started at the first use; what they are to
 * do is changed under the lock.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <linux/fs.h>
#include <sys/mman.h>
#include <unistd.h>
#include "guest-proto.h"
#include "guestd.h"

#define KIB 1024ULL
#define MIB (1024 * KIB)
#define PAGE 4096
#define BLOCK 4096
#define CHUNK (256 * KIB)
#define BATCH_PAGES 64
#define MAGIC 0x626c6f636b636f6cULL

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;

static struct {
    unsigned mibps;
    uint64_t size;         /* of memory, bytes */
    uint8_t *memory;
    bool started;
} ram;

static struct {
    unsigned kibps;
    uint64_t start, blocks;
    uint64_t number;       /* of the next block, from 1 */
    bool started, busy;
} load;

/* RAM */

static void *ram_run(void *arg)
{
    uint64_t page = 0, round = 1;
    int64_t next = 0;

    for (;;) {
        unsigned mibps;

        pthread_mutex_lock(&lock);
        while (!ram.mibps) {
            pthread_cond_wait(&changed, &lock);
        }
        mibps = ram.mibps;
        for (int i = 0; i < BATCH_PAGES; i++) {
            page = page + 1 < ram.size / PAGE ? page + 1 : 0;
            round += !page;
            memset(ram.memory + page * PAGE, guest_mix(page + round), PAGE);
        }
        pthread_mutex_unlock(&lock);
        pace(&next, BATCH_PAGES * PAGE * 1000000000LL / (mibps * MIB));
    }
    return NULL;
}

const char *load_set(unsigned mibps, unsigned mib)
{
    const char *error = NULL;
    void *memory = NULL;

    if (mibps && !mib) {
        return "no memory to write to";
    }
    if (mibps) {
        memory = mmap(NULL, mib * MIB, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (memory == MAP_FAILED) {
            return "not so much memory";
        }
    }
    pthread_mutex_lock(&lock);
    if (ram.memory) {
        munmap(ram.memory, ram.size);
    }
    ram.mibps = mibps;
    ram.memory = memory;
    ram.size = mibps ? mib * MIB : 0;
    if (mibps && !ram.started) {
        ram.started = true;
        start_thread(ram_run, NULL);
    }
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
    return error;
}

/* Disk */

/* A descriptor of the disk, never through the page cache. */
static int disk_fd(void)
{
    static int fd = -1;

    pthread_mutex_lock(&lock);
    if (fd < 0) {
        static const char *const names[] = { "/dev/vda", "/dev/sda" };

        for (int i = 0; fd < 0 && i < 2; i++) {
            fd = open(names[i], O_RDWR | O_DIRECT | O_CLOEXEC);
        }
    }
    pthread_mutex_unlock(&lock);
    return fd;
}

static const char *disk_check(uint64_t offset, uint64_t length)
{
    uint64_t size;

    if (disk_fd() < 0) {
        return "there is no disk";
    }
    if (ioctl(disk_fd(), BLKGETSIZE64, &size)) {
        return "the disk does not tell its size";
    }
    if (offset % 4 || length % 4 || !length) {
        return "offset and length must be multiples of 4 KiB";
    }
    if (offset > size / KIB || length > size / KIB - offset) {
        return "beyond the end of the disk";
    }
    return NULL;
}

static const char *disk_io(bool write, void *buffer, size_t size,
                           uint64_t offset)
{
    ssize_t n = write ? pwrite(disk_fd(), buffer, size, offset)
                      : pread(disk_fd(), buffer, size, offset);

    if (n == (ssize_t)size) {
        return NULL;
    }
    return write ? "the disk cannot be written" : "the disk cannot be read";
}

const char *disk_write(uint64_t offset, uint64_t length, uint64_t seed)
{
    const char *error = disk_check(offset, length);
    void *buffer = error ? NULL : aligned_alloc(PAGE, CHUNK);
    uint64_t done = 0;

    while (buffer && !error && done < length * KIB) {
        size_t n = length * KIB - done < CHUNK ? length * KIB - done : CHUNK;

        guest_fill(buffer, n, seed, done);
        error = disk_io(true, buffer, n, offset * KIB + done);
        done += n;
    }
    free(buffer);
    if (!error && fsync(disk_fd())) {
        error = "the disk cannot be synced";
    }
    return error;
}

const char *disk_sum(uint64_t offset, uint64_t length, uint64_t *sum)
{
    const char *error = disk_check(offset, length);
    void *buffer = error ? NULL : aligned_alloc(PAGE, CHUNK);
    uint64_t done = 0;

    *sum = GUEST_SUM_INIT;
    while (buffer && !error && done < length * KIB) {
        size_t n = length * KIB - done < CHUNK ? length * KIB - done : CHUNK;

        error = disk_io(false, buffer, n, offset * KIB + done);
        *sum = guest_sum(*sum, buffer, n);
        done += n;
    }
    free(buffer);
    return error;
}

static void block_fill(uint64_t *block, uint64_t number)
{
    block[0] = MAGIC;
    block[1] = number;
    guest_fill(block + 2, BLOCK - 16, number, 0);
}

static void *disk_run(void *arg)
{
    uint64_t *block = aligned_alloc(PAGE, BLOCK);
    int64_t next = 0;

    for (;;) {
        uint64_t number, offset;
        unsigned kibps;
        const char *error;

        pthread_mutex_lock(&lock);
        load.busy = false;
        pthread_cond_broadcast(&changed);
        while (!load.kibps) {
            pthread_cond_wait(&changed, &lock);
        }
        load.busy = true;
        kibps = load.kibps;
        number = load.number++;
        offset = load.start + number % load.blocks * BLOCK;
        pthread_mutex_unlock(&lock);

        block_fill(block, number);
        error = disk_io(true, block, BLOCK, offset);
        if (error || fsync(disk_fd())) {
            fatal("disk load: %s", error ? error : strerror(errno));
        }
        pace(&next, BLOCK * 1000000000LL / (kibps * KIB));
    }
    return NULL;
}

const char *disk_load_set(unsigned kibps, uint64_t span, uint64_t start)
{
    const char *error = kibps ? disk_check(start, span) : NULL;

    if (error) {
        return error;
    }
    pthread_mutex_lock(&lock);
    /* The block being written belongs to the load before. */
    load.kibps = 0;
    while (load.busy) {
        pthread_cond_wait(&changed, &lock);
    }
    if (kibps) {
        load.start = start * KIB;
        load.blocks = span * KIB / BLOCK;
        load.number = 1;
        load.kibps = kibps;
        if (!load.started) {
            load.started = true;
            start_thread(disk_run, NULL);
        }
    }
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
    return NULL;
}

const char *disk_verify(uint64_t start, uint64_t span, uint64_t *blocks,
                        uint64_t *highest)
{
    const char *error = disk_check(start, span);
    uint64_t count = span * KIB / BLOCK;
    uint64_t *block = error ? NULL : aligned_alloc(PAGE, BLOCK);
    uint64_t *want = error ? NULL : aligned_alloc(PAGE, BLOCK);

    *blocks = *highest = 0;
    for (uint64_t i = 0; block && want && !error && i < count; i++) {
        error = disk_io(false, block, BLOCK, start * KIB + i * BLOCK);
        if (error || block[0] != MAGIC) {
            continue; /* never written */
        }
        block_fill(want, block[1]);
        if (block[1] % count != i || memcmp(block, want, BLOCK)) {
            error = "a block is damaged";
        }
        *blocks += 1;
        *highest = block[1] > *highest ? block[1] : *highest;
    }
    /* Numbers are given out in turn, so that no block may be missing. */
    if (!error && *blocks < (*highest < count ? *highest : count)) {
        error = "a block is missing";
    }
    free(block);
    free(want);
    return error;
}
