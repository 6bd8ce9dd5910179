/*
 * COLO: the thread that gives a cache its memory ahead of need
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 * Copyright (c) 2026 the qemu-colo developers
 *
 * It writes to each page of a chunk, but nothing: by an atomic OR of 0, so that
 * it does no harm to what arrives there meanwhile.  madvise() could do the same,
 * on newer kernels, but would keep others from mapping memory for as long.
 */
#include "qemu/osdep.h"
#include "qemu/atomic.h"
#include "qemu/bitmap.h"
#include "qemu/lockable.h"
#include "qemu/thread.h"
#include "colo-ram-ahead.h"
#include "colo-ram-int.h"
#include "colo-ram-reserve.h"

/* A huge page of most hosts */
#define CHUNK_BYTES (2 * 1024 * 1024)

/* In reserve: so many chunks to each side, and so many and so much of all at most */
#define RESERVE_REACH 16
#define RESERVE_MAX 64
#define RESERVE_SHARE 2

struct ColoAhead {
    uint8_t *mem;
    size_t size;
    QemuThread thread;
    unsigned long *seen;        /* chunks used: of who calls colo_ahead_use() */

    QemuMutex lock;             /* of all that follows */
    QemuCond wake;              /* a chunk is used for the first time, or quit */
    ColoReserve reserve;
    bool quit;                  /* atomic where read without the lock */
};

static size_t chunk_size(const ColoAhead *a, size_t chunk)
{
    return MIN(CHUNK_BYTES, a->size - chunk * CHUNK_BYTES);
}

static void ahead_find_used(ColoAhead *a)
{
    size_t chunk;

    for (chunk = 0; chunk < a->reserve.chunks && !qatomic_read(&a->quit);
         chunk++) {
        if (colo_ram_is_used(a->mem + chunk * CHUNK_BYTES,
                             chunk_size(a, chunk))) {
            QEMU_LOCK_GUARD(&a->lock);
            colo_reserve_use(&a->reserve, chunk);
        }
    }
}

static void ahead_touch(ColoAhead *a, size_t chunk)
{
    size_t page = qemu_real_host_page_size(), size = chunk_size(a, chunk);
    size_t at;

    for (at = 0; at < size && !qatomic_read(&a->quit); at += page) {
        qatomic_or((uint64_t *)(a->mem + chunk * CHUNK_BYTES + at), 0);
    }
}

static void *ahead_thread(void *opaque)
{
    ColoAhead *a = opaque;
    size_t chunk;

    ahead_find_used(a);
    qemu_mutex_lock(&a->lock);
    while (!a->quit) {
        chunk = colo_reserve_next(&a->reserve);
        if (chunk == a->reserve.chunks) {
            qemu_cond_wait(&a->wake, &a->lock);
            continue;
        }
        qemu_mutex_unlock(&a->lock);
        ahead_touch(a, chunk);
        qemu_mutex_lock(&a->lock);
    }
    qemu_mutex_unlock(&a->lock);
    return NULL;
}

ColoAhead *colo_ahead_new(void *mem, size_t size)
{
    size_t chunks = DIV_ROUND_UP(size, CHUNK_BYTES);
    size_t max = MIN(chunks / RESERVE_SHARE, RESERVE_MAX);
    ColoAhead *a;

    if (!max) {
        return NULL;
    }
    a = g_new0(ColoAhead, 1);
    a->mem = mem;
    a->size = size;
    a->seen = bitmap_new(chunks);
    colo_reserve_init(&a->reserve, chunks, RESERVE_REACH, max);
    qemu_mutex_init(&a->lock);
    qemu_cond_init(&a->wake);
    qemu_thread_create(&a->thread, "COLO ahead", ahead_thread, a,
                       QEMU_THREAD_JOINABLE);
    return a;
}

void colo_ahead_free(ColoAhead *a)
{
    if (!a) {
        return;
    }
    WITH_QEMU_LOCK_GUARD(&a->lock) {
        qatomic_set(&a->quit, true);
        qemu_cond_signal(&a->wake);
    }
    qemu_thread_join(&a->thread);
    qemu_cond_destroy(&a->wake);
    qemu_mutex_destroy(&a->lock);
    colo_reserve_destroy(&a->reserve);
    g_free(a->seen);
    g_free(a);
}

void colo_ahead_use(ColoAhead *a, size_t offset)
{
    size_t chunk = offset / CHUNK_BYTES;

    if (!a || test_and_set_bit(chunk, a->seen)) {
        return;
    }
    QEMU_LOCK_GUARD(&a->lock);
    if (colo_reserve_use(&a->reserve, chunk)) {
        qemu_cond_signal(&a->wake);
    }
}
