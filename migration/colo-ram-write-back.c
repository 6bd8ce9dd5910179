/*
 * COLO: the secondary makes its guest's memory equal to the cache
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 * Copyright (c) 2026 the qemu-colo developers
 */
#include "qemu/osdep.h"
#include "qemu/bitmap.h"
#include "qemu/main-loop.h"
#include "qemu/rcu.h"
#include "qapi/error.h"
#include "cpu.h"
#include "exec/memory.h"
#include "exec/ram_addr.h"
#include "trace.h"
#include "colo-ram.h"
#include "colo-ram-cache.h"
#include "colo-ram-code.h"
#include "colo-ram-int.h"
#include "colo-ram-runs.h"

/* Words of a bitmap that one thread takes at a time: 8 MiB of RAM */
#define CHUNK_WORDS 32

/* Waking other threads for less costs more than it gains */
#define SHARE_PAGES 512

/* A reset of S can change the size of a block. */
static bool cache_restore_length(ColoCacheBlock *b, Error **errp)
{
    if (b->rb->used_length == b->length) {
        return true;
    }
    return qemu_ram_resize(b->rb, b->length, errp) == 0;
}

/* Take what S has written out of the dirty log; BQL held. */
static bool cache_take_diverged(Error **errp)
{
    guint i;

    memory_global_dirty_log_sync();
    RCU_READ_LOCK_GUARD();
    for (i = 0; i < colo_ram_cache.blocks->len; i++) {
        ColoCacheBlock *b = colo_ram_cache_block(i);

        if (!cache_restore_length(b, errp)) {
            return false;
        }
        colo_ram_cache.diverged +=
            cpu_physical_memory_sync_dirty_bitmap(b->rb, 0, b->length);
    }
    return true;
}

typedef struct WriteBack {
    size_t next;                /* chunk that nobody has taken, atomic */
} WriteBack;

typedef struct WriteBackBlock {
    RAMBlock *rb;
    bool vga;                   /* a display looks at it */
} WriteBackBlock;

static size_t block_words(ColoCacheBlock *b)
{
    return BITS_TO_LONGS(b->length >> TARGET_PAGE_BITS);
}

static void write_back_mixed(RAMBlock *rb, ram_addr_t offset, ram_addr_t size)
{
    ram_addr_t end = offset + size;

    for (; offset < end; offset += TARGET_PAGE_SIZE) {
        if (colo_code_is_from(rb->offset + offset, TARGET_PAGE_SIZE)) {
            colo_code_write_back(rb, offset);
        } else {
            memcpy(rb->host + offset, rb->colo_cache + offset,
                   TARGET_PAGE_SIZE);
        }
    }
}

/* ColoRunFunc: these pages may differ.  Any thread, guest stopped. */
static void write_back_run(void *opaque, size_t first, size_t pages)
{
    WriteBackBlock *b = opaque;
    RAMBlock *rb = b->rb;
    ram_addr_t offset = (ram_addr_t)first << TARGET_PAGE_BITS;
    ram_addr_t size = (ram_addr_t)pages << TARGET_PAGE_BITS;

    if (colo_code_is_from(rb->offset + offset, size)) {
        write_back_mixed(rb, offset, size);
    } else {
        memcpy(rb->host + offset, rb->colo_cache + offset, size);
    }
    if (b->vga) {
        cpu_physical_memory_set_dirty_range(rb->offset + offset, size,
                                            1 << DIRTY_MEMORY_VGA);
    }
}

static void write_back_words(ColoCacheBlock *b, size_t begin, size_t end)
{
    uint8_t mask = memory_region_get_dirty_log_mask(b->rb->mr);
    WriteBackBlock block = {
        .rb = b->rb, .vga = mask & (1 << DIRTY_MEMORY_VGA),
    };

    colo_runs_take(b->rb->bmap, begin, end, write_back_run, &block);
}

/* Runs in several threads at a time, which share the words among them. */
static void write_back_share(void *opaque)
{
    WriteBack *wb = opaque;
    size_t base = 0, chunk = qatomic_fetch_inc(&wb->next);
    guint i;

    for (i = 0; i < colo_ram_cache.blocks->len; i++) {
        ColoCacheBlock *b = colo_ram_cache_block(i);
        size_t words = block_words(b);
        size_t chunks = DIV_ROUND_UP(words, CHUNK_WORDS);

        while (chunk < base + chunks) {
            size_t begin = (chunk - base) * CHUNK_WORDS;

            write_back_words(b, begin, MIN(begin + CHUNK_WORDS, words));
            chunk = qatomic_fetch_inc(&wb->next);
        }
        base += chunks;
    }
}

static void write_back_all(void)
{
    ColoRamCache *c = &colo_ram_cache;
    WriteBack wb = { 0 };
    uint64_t pages = c->received + c->diverged;
    int64_t start = g_get_monotonic_time();

    if (!pages) {
        return;
    }
    WITH_RCU_READ_LOCK_GUARD() {
        if (pages >= SHARE_PAGES) {
            colo_workers_run(c->workers, write_back_share, &wb);
        } else {
            write_back_share(&wb);
        }
    }
    trace_colo_ram_write_back(c->received, c->diverged,
                              g_get_monotonic_time() - start);
    colo_ram_count(pages_received, c->received);
    colo_ram_count(pages_diverged, c->diverged);
    c->received = c->diverged = 0;
}

bool colo_ram_write_back(Error **errp)
{
    ColoRamCache *c = &colo_ram_cache;
    int64_t start = g_get_monotonic_time(), locked, unlocked;
    bool ok;

    colo_code_set_current(false);
    qemu_mutex_lock_iothread();
    locked = g_get_monotonic_time();
    ok = cache_take_diverged(errp);
    unlocked = g_get_monotonic_time();
    qemu_mutex_unlock_iothread();
    if (ok) {
        write_back_all();
    }
    c->us = g_get_monotonic_time() - start;
    c->bql_us = unlocked - locked;
    return ok;
}

bool colo_ram_write_back_end(Error **errp)
{
    ColoRamCache *c = &colo_ram_cache;
    int64_t start = g_get_monotonic_time(), us;

    if (!cache_take_diverged(errp)) {
        return false;
    }
    write_back_all();
    us = g_get_monotonic_time() - start;
    qatomic_set_i64(&colo_ram_counters.write_back_us, c->us + us);
    qatomic_set_i64(&colo_ram_counters.write_back_bql_us, c->bql_us + us);
    c->us = c->bql_us = 0;
    colo_code_set_current(true);
    colo_ram_checkpoint_done();
    return true;
}
