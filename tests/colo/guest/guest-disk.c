/*
 * Daemon of the test guest: reading and writing the disk
 *
 * Always past the page cache: what is read comes from the disk, not from
 * the RAM of the guest.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include "guestd.h"

#define CHUNK (256 * 1024)

static int disk_fd = -1;
static uint64_t disk_bytes;
static uint8_t *chunk;  /* under disk_turn */
/* The commands "disk-write" and "disk-sum" take turns. */
static pthread_mutex_t disk_turn = PTHREAD_MUTEX_INITIALIZER;

void *disk_alloc(size_t len)
{
    void *buf;

    if (posix_memalign(&buf, 4096, len)) {
        fatal("no memory");
    }
    return buf;
}

void disk_init(const char *path)
{
    if (!path) {
        return;
    }
    disk_fd = open(path, O_RDWR | O_DIRECT | O_CLOEXEC);
    if (disk_fd < 0 || ioctl(disk_fd, BLKGETSIZE64, &disk_bytes) < 0) {
        fatal("%s: %s", path, strerror(errno));
    }
    chunk = disk_alloc(CHUNK);
}

uint64_t disk_kib(void)
{
    return disk_bytes / 1024;
}

bool disk_transfer(bool write, void *buf, size_t len, uint64_t offset,
                   const char **error)
{
    uint8_t *p = buf;

    while (len) {
        ssize_t n = write ? pwrite(disk_fd, p, len, offset)
                          : pread(disk_fd, p, len, offset);

        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            *error = n ? strerrordesc_np(errno) : "the end of the disk";
            return false;
        }
        p += n;
        offset += n;
        len -= n;
    }
    return true;
}

bool disk_flush(const char **error)
{
    if (fdatasync(disk_fd) < 0) {
        *error = strerrordesc_np(errno);
        return false;
    }
    return true;
}

/* arg[]: offset and length in KiB, seed */
void disk_write_run(Job *job)
{
    uint64_t start = job->arg[0] * 1024;
    uint64_t offset = start;
    uint64_t end = offset + job->arg[1] * 1024;
    const char *error = NULL;
    bool ok = true;

    pthread_mutex_lock(&disk_turn);
    while (ok && offset < end) {
        size_t len = end - offset < CHUNK ? end - offset : CHUNK;

        guest_fill(chunk, len, job->arg[2], offset - start);
        ok = disk_transfer(true, chunk, len, offset, &error);
        offset += len;
    }
    ok = ok && disk_flush(&error);
    pthread_mutex_unlock(&disk_turn);
    if (ok) {
        job_answer(job, "ok");
    } else {
        job_answer(job, "error disk write: %s", error);
    }
}

/* arg[]: offset and length in KiB */
void disk_sum_run(Job *job)
{
    uint64_t offset = job->arg[0] * 1024;
    uint64_t end = offset + job->arg[1] * 1024;
    uint64_t sum = GUEST_SUM_INIT;
    const char *error = NULL;
    bool ok = true;

    pthread_mutex_lock(&disk_turn);
    while (ok && offset < end) {
        size_t len = end - offset < CHUNK ? end - offset : CHUNK;

        ok = disk_transfer(false, chunk, len, offset, &error);
        if (ok) {
            sum = guest_sum(sum, chunk, len);
        }
        offset += len;
    }
    pthread_mutex_unlock(&disk_turn);
    if (ok) {
        job_answer(job, "ok %016" PRIx64, sum);
    } else {
        job_answer(job, "error disk read: %s", error);
    }
}
