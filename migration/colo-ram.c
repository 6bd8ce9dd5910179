/*
 * COLO: the secondary's cache of the primary's memory
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 * Copyright (c) 2026 the qemu-colo developers
 *
 * See colo-ram-cache.h.
 */
#include "qemu/osdep.h"
#include "qemu/bitmap.h"
#include "qemu/error-report.h"
#include "qemu/madvise.h"
#include "qemu/rcu.h"
#include "qapi/error.h"
#include "cpu.h"
#include "exec/memory.h"
#include "exec/ram_addr.h"
#include "hw/boards.h"
#include "migration/colo.h"
#include "migration.h"
#include "ram.h"
#include "colo-ram.h"
#include "colo-ram-cache.h"
#include "colo-ram-int.h"

ColoRamCache colo_ram_cache;

ColoRamStats colo_ram_counters;

/* A mapping that nobody uses any more */
typedef struct Leftover {
    void *ptr;
    size_t size;
} Leftover;

/*
 * Giving back gigabytes takes a good part of a second, and a failover waits
 * for the thread that does it.  Not this one.
 */
static void *leftovers_thread(void *opaque)
{
    GArray *leftovers = opaque;
    guint i;

    for (i = 0; i < leftovers->len; i++) {
        Leftover *l = &g_array_index(leftovers, Leftover, i);

        /* Other than unmapping, this lets page faults through meanwhile. */
        qemu_madvise(l->ptr, l->size, QEMU_MADV_DONTNEED);
        qemu_anon_ram_free(l->ptr, l->size);
    }
    g_array_unref(leftovers);
    return NULL;
}

static void leftovers_free(GArray *leftovers)
{
    QemuThread thread;

    qemu_thread_create(&thread, "COLO free", leftovers_thread, leftovers,
                       QEMU_THREAD_DETACHED);
}

static void cache_free_block(RAMBlock *rb, GArray *leftovers)
{
    if (rb->colo_cache) {
        Leftover l = { .ptr = rb->colo_cache, .size = rb->max_length };

        g_array_append_val(leftovers, l);
        rb->colo_cache = NULL;
        g_free(rb->bmap);
        rb->bmap = NULL;
    }
}

/* All of max_length, since P's sizes are yet to come; untouched it's free. */
static bool cache_alloc_block(RAMBlock *rb)
{
    if (rb->bmap) {
        error_report("COLO: '%s' is being migrated to elsewhere", rb->idstr);
        return false;
    }
    rb->colo_cache = qemu_anon_ram_alloc(rb->max_length, NULL, false,
                                         rb->used_length < rb->max_length);
    if (!rb->colo_cache) {
        error_report("COLO: no memory for a second copy of '%s', 0x"
                     RAM_ADDR_FMT " bytes: the secondary needs its guest's RAM "
                     "twice", rb->idstr, rb->max_length);
        return false;
    }
    /*
     * A page fault for each 4 KiB that arrives for the first time would cost
     * more than the page does.  It's no more memory than P has: what P's guest
     * has used is of huge pages, too.
     */
    qemu_madvise(rb->colo_cache, rb->max_length, QEMU_MADV_HUGEPAGE);
    qemu_madvise(rb->colo_cache, rb->max_length, QEMU_MADV_DONTFORK);
    if (!machine_dump_guest_core(current_machine)) {
        qemu_madvise(rb->colo_cache, rb->max_length, QEMU_MADV_DONTDUMP);
    }
    rb->bmap = bitmap_new(rb->max_length >> TARGET_PAGE_BITS);
    return true;
}

static void cache_free_all(void)
{
    GArray *leftovers = g_array_new(false, false, sizeof(Leftover));
    RAMBlock *rb;
    guint i;

    /* Those that COLO has held, which may have been unplugged */
    for (i = 0; colo_ram_cache.blocks && i < colo_ram_cache.blocks->len; i++) {
        ColoCacheBlock *b = colo_ram_cache_block(i);

        colo_ahead_free(b->ahead);
        cache_free_block(b->rb, leftovers);
        memory_region_unref(b->rb->mr);
    }
    WITH_RCU_READ_LOCK_GUARD() {
        RAMBLOCK_FOREACH_NOT_IGNORED(rb) {
            cache_free_block(rb, leftovers);
        }
    }
    leftovers_free(leftovers);
}

/* What the log has from before COLO is of no interest. */
static void cache_start_log(void)
{
    RAMBlock *rb;

    memory_global_dirty_log_start(GLOBAL_DIRTY_MIGRATION);
    memory_global_dirty_log_sync();
    RCU_READ_LOCK_GUARD();
    RAMBLOCK_FOREACH_NOT_IGNORED(rb) {
        cpu_physical_memory_sync_dirty_bitmap(rb, 0, rb->used_length);
        bitmap_zero(rb->bmap, rb->max_length >> TARGET_PAGE_BITS);
    }
}

/*
 * The log starts here and not with COLO, because loading devices for the
 * first time can write to RAM, too, and S then differs from the cache.
 */
int colo_ram_cache_init(void)
{
    bool ok = true;
    RAMBlock *rb;

    if (colo_ram_cache.allocated) {
        error_report("COLO: the primary has announced itself already");
        return -EEXIST;
    }
    WITH_QEMU_LOCK_GUARD(&ram_list.mutex) {
        RAMBLOCK_FOREACH_NOT_IGNORED(rb) {
            ok = ok && cache_alloc_block(rb);
        }
        if (ok) {
            cache_start_log();
        }
    }
    if (!ok) {
        cache_free_all();
        return -ENOMEM;
    }
    colo_ram_cache.allocated = true;
    colo_ram_cache.received = colo_ram_cache.diverged = 0;
    memset(&colo_ram_counters, 0, sizeof(colo_ram_counters));
    return 0;
}

void colo_ram_cache_release(void)
{
    if (!colo_ram_cache.allocated) {
        return;
    }
    memory_global_dirty_log_stop(GLOBAL_DIRTY_MIGRATION);
    cache_free_all();
    colo_workers_free(colo_ram_cache.workers);
    if (colo_ram_cache.blocks) {
        g_array_unref(colo_ram_cache.blocks);
    }
    memset(&colo_ram_cache, 0, sizeof(colo_ram_cache));
    /* This QEMU is as any other: RAM may be discarded again. */
    migration_incoming_disable_colo();
}

bool colo_ram_incoming_start(Error **errp)
{
    RAMBlock *rb;

    if (!colo_ram_cache.allocated) {
        error_setg(errp, "The primary has not announced COLO");
        return false;
    }
    colo_ram_cache.blocks = g_array_new(false, true, sizeof(ColoCacheBlock));
    WITH_RCU_READ_LOCK_GUARD() {
        RAMBLOCK_FOREACH_NOT_IGNORED(rb) {
            ColoCacheBlock b = { .rb = rb, .length = rb->used_length };

            /* One that was plugged since then has none, and P hasn't it. */
            if (rb->colo_cache) {
                memory_region_ref(rb->mr);
                b.ahead = colo_ahead_new(rb->colo_cache, rb->used_length);
                g_array_append_val(colo_ram_cache.blocks, b);
            }
        }
    }
    colo_ram_cache.workers = colo_workers_new(colo_workers_advised());
    qatomic_set(&colo_ram_cache.cache_only, true);
    return true;
}

void *colo_ram_mirror(RAMBlock *rb, ram_addr_t offset)
{
    if (!rb || !rb->colo_cache || offset >= rb->used_length) {
        return NULL;
    }
    return rb->colo_cache + offset;
}

void colo_ram_mirror_copy(void *copy, const void *page, size_t size)
{
    if (!colo_ram_is_zero(page, size) || !colo_ram_is_zero(copy, size)) {
        memcpy(copy, page, size);
    }
}

void colo_ram_get_stats(ColoRamStats *stats)
{
    ColoRamStats *c = &colo_ram_counters;

    *stats = (ColoRamStats) {
        .checkpoints = qatomic_read_u64(&c->checkpoints),
        .pages_background = qatomic_read_u64(&c->pages_background),
        .pages_pause = qatomic_read_u64(&c->pages_pause),
        .bytes_background = qatomic_read_u64(&c->bytes_background),
        .bytes_pause = qatomic_read_u64(&c->bytes_pause),
        .syncs = qatomic_read_u64(&c->syncs),
        .sync_us = qatomic_read_i64(&c->sync_us),
        .pages_received = qatomic_read_u64(&c->pages_received),
        .pages_diverged = qatomic_read_u64(&c->pages_diverged),
        .write_back_us = qatomic_read_i64(&c->write_back_us),
        .write_back_bql_us = qatomic_read_i64(&c->write_back_bql_us),
    };
}
