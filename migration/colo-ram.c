/*
 * COLO: the secondary's cache of the primary's memory, and its write-back
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 * Copyright (c) 2026 the qemu-colo developers
 *
 * RAMBlock.colo_cache is the cache, and RAMBlock.bmap has a bit for each page
 * in which the guest's RAM may differ from it: received from P, or written by
 * S since the last write-back.  Both belong to the COLO thread (before COLO:
 * to the migration's coroutine); S's vCPUs and devices write to the dirty log
 * of their own, from which bits are taken atomically.
 */
#include "qemu/osdep.h"
#include "qemu/bitmap.h"
#include "qemu/cutils.h"
#include "qemu/error-report.h"
#include "qemu/madvise.h"
#include "qemu/main-loop.h"
#include "qemu/rcu.h"
#include "qapi/error.h"
#include "cpu.h"
#include "exec/exec-all.h"
#include "exec/memory.h"
#include "exec/ram_addr.h"
#include "hw/boards.h"
#include "migration/colo.h"
#include "sysemu/tcg.h"
#include "migration.h"
#include "savevm.h"
#include "ram.h"
#include "trace.h"
#include "colo-ram.h"
#include "colo-ram-ahead.h"
#include "colo-ram-int.h"
#include "colo-ram-runs.h"
#include "colo-ram-workers.h"

/* Words of a bitmap that one thread takes at a time: 8 MiB of RAM */
#define CHUNK_WORDS 32

/* Waking other threads for less costs more than it gains */
#define SHARE_PAGES 512

/* One block of RAM that both sides have */
typedef struct CacheBlock {
    RAMBlock *rb;               /* with a reference on its region */
    ram_addr_t length;          /* on P, for all of COLO */
    ColoAhead *ahead;           /* of the cache */
} CacheBlock;

static struct {
    bool allocated;             /* BQL */
    bool cache_only;            /* atomic; set once, see colo_ram.h */
    GArray *blocks;             /* of CacheBlock, from the start of COLO */
    CacheBlock *last;           /* the one received for last */
    uint64_t received;          /* pages whose bits the COLO thread has set */
    uint64_t diverged;          /* and those that the dirty log added */
    int64_t us, bql_us;         /* write-back under way */
    ColoWorkers *workers;
} cache;

ColoRamStats colo_ram_counters;

/* This thread is loading what may be RAM only. */
static __thread bool loading;

/* This thread has written RAM and dropped the code translated from it. */
static __thread bool code_current;

/* --- the cache ---------------------------------------------------------- */

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
    for (i = 0; cache.blocks && i < cache.blocks->len; i++) {
        CacheBlock *b = &g_array_index(cache.blocks, CacheBlock, i);

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

    if (cache.allocated) {
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
    cache.allocated = true;
    cache.received = cache.diverged = 0;
    memset(&colo_ram_counters, 0, sizeof(colo_ram_counters));
    return 0;
}

void colo_ram_cache_release(void)
{
    if (!cache.allocated) {
        return;
    }
    memory_global_dirty_log_stop(GLOBAL_DIRTY_MIGRATION);
    cache_free_all();
    colo_workers_free(cache.workers);
    if (cache.blocks) {
        g_array_unref(cache.blocks);
    }
    memset(&cache, 0, sizeof(cache));
}

bool colo_ram_incoming_start(Error **errp)
{
    RAMBlock *rb;

    if (!cache.allocated) {
        error_setg(errp, "The primary has not announced COLO");
        return false;
    }
    cache.blocks = g_array_new(false, true, sizeof(CacheBlock));
    WITH_RCU_READ_LOCK_GUARD() {
        RAMBLOCK_FOREACH_NOT_IGNORED(rb) {
            CacheBlock b = { .rb = rb, .length = rb->used_length };

            /* One that was plugged since then has none, and P hasn't it. */
            if (rb->colo_cache) {
                memory_region_ref(rb->mr);
                b.ahead = colo_ahead_new(rb->colo_cache, rb->used_length);
                g_array_append_val(cache.blocks, b);
            }
        }
    }
    cache.workers = colo_workers_new(colo_workers_advised());
    qatomic_set(&cache.cache_only, true);
    return true;
}

/* --- what arrives ------------------------------------------------------- */

bool colo_ram_cache_only(void)
{
    return qatomic_read(&cache.cache_only);
}

static CacheBlock *cache_find_block(RAMBlock *rb)
{
    guint i;

    if (cache.last && cache.last->rb == rb) {
        return cache.last;
    }
    for (i = 0; i < cache.blocks->len; i++) {
        CacheBlock *b = &g_array_index(cache.blocks, CacheBlock, i);

        if (b->rb == rb) {
            cache.last = b;
            return b;
        }
    }
    return NULL;
}

void *colo_ram_receive(RAMBlock *rb, ram_addr_t offset)
{
    CacheBlock *b = cache_find_block(rb);

    if (!b || offset >= b->length) {
        return NULL;
    }
    if (!test_and_set_bit(offset >> TARGET_PAGE_BITS, rb->bmap)) {
        cache.received++;
    }
    colo_ahead_use(b->ahead, offset);
    return rb->colo_cache + offset;
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

int colo_ram_refused_flags(void)
{
    enum { MEM_SIZE = 0x04, HOOK = 0x80 };      /* RAM_SAVE_FLAG_* */

    return loading ? MEM_SIZE | HOOK : 0;
}

uint8_t colo_ram_section(uint8_t type)
{
    if (loading && type != QEMU_VM_SECTION_PART &&
        type != QEMU_VM_SECTION_END && type != QEMU_VM_EOF) {
        return QEMU_VM_SECTION_FOOTER;          /* known, and wrong here */
    }
    return type;
}

bool colo_ram_load(QEMUFile *f, Error **errp)
{
    int ret;

    loading = true;
    ret = qemu_loadvm_state_main(f, migration_incoming_get_current());
    loading = false;
    if (ret < 0) {
        error_setg_errno(errp, -ret, "Can't load the primary's memory");
        return false;
    }
    return true;
}

/* --- write-back --------------------------------------------------------- */

/* A reset of S can change the size of a block. */
static bool cache_restore_length(CacheBlock *b, Error **errp)
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
    for (i = 0; i < cache.blocks->len; i++) {
        CacheBlock *b = &g_array_index(cache.blocks, CacheBlock, i);

        if (!cache_restore_length(b, errp)) {
            return false;
        }
        cache.diverged +=
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

static size_t block_words(CacheBlock *b)
{
    return BITS_TO_LONGS(b->length >> TARGET_PAGE_BITS);
}

/* TCG has translated code from this RAM; where there is none the bit is set */
static bool write_back_has_code(ram_addr_t start, ram_addr_t size)
{
    return tcg_enabled() &&
        cpu_physical_memory_range_includes_clean(start, size,
                                                 1 << DIRTY_MEMORY_CODE);
}

/*
 * A page from which TCG has translated code.  Written behind TCG's back, the
 * code must go, as with a guest's store.  Mostly it is the same on both sides
 * and may stay: worth a comparison, which costs as much as copying does.
 */
static void write_back_code(RAMBlock *rb, ram_addr_t offset)
{
    uint8_t *dst = rb->host + offset, *src = rb->colo_cache + offset;
    ram_addr_t start = rb->offset + offset;

    if (memcmp(dst, src, TARGET_PAGE_SIZE)) {
        memcpy(dst, src, TARGET_PAGE_SIZE);
        tb_invalidate_phys_range(start, start + TARGET_PAGE_SIZE);
    }
}

static void write_back_mixed(RAMBlock *rb, ram_addr_t offset, ram_addr_t size)
{
    ram_addr_t end = offset + size;

    for (; offset < end; offset += TARGET_PAGE_SIZE) {
        if (write_back_has_code(rb->offset + offset, TARGET_PAGE_SIZE)) {
            write_back_code(rb, offset);
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

    if (write_back_has_code(rb->offset + offset, size)) {
        write_back_mixed(rb, offset, size);
    } else {
        memcpy(rb->host + offset, rb->colo_cache + offset, size);
    }
    if (b->vga) {
        cpu_physical_memory_set_dirty_range(rb->offset + offset, size,
                                            1 << DIRTY_MEMORY_VGA);
    }
}

static void write_back_words(CacheBlock *b, size_t begin, size_t end)
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

    for (i = 0; i < cache.blocks->len; i++) {
        CacheBlock *b = &g_array_index(cache.blocks, CacheBlock, i);
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
    WriteBack wb = { 0 };
    uint64_t pages = cache.received + cache.diverged;
    int64_t start = g_get_monotonic_time();

    if (!pages) {
        return;
    }
    WITH_RCU_READ_LOCK_GUARD() {
        if (pages >= SHARE_PAGES) {
            colo_workers_run(cache.workers, write_back_share, &wb);
        } else {
            write_back_share(&wb);
        }
    }
    trace_colo_ram_write_back(cache.received, cache.diverged,
                              g_get_monotonic_time() - start);
    colo_ram_count(pages_received, cache.received);
    colo_ram_count(pages_diverged, cache.diverged);
    cache.received = cache.diverged = 0;
}

bool colo_ram_write_back(Error **errp)
{
    int64_t start = g_get_monotonic_time(), locked, unlocked;
    bool ok;

    code_current = false;
    qemu_mutex_lock_iothread();
    locked = g_get_monotonic_time();
    ok = cache_take_diverged(errp);
    unlocked = g_get_monotonic_time();
    qemu_mutex_unlock_iothread();
    if (ok) {
        write_back_all();
    }
    cache.us = g_get_monotonic_time() - start;
    cache.bql_us = unlocked - locked;
    return ok;
}

bool colo_ram_write_back_end(Error **errp)
{
    int64_t start = g_get_monotonic_time(), us;

    if (!cache_take_diverged(errp)) {
        return false;
    }
    write_back_all();
    us = g_get_monotonic_time() - start;
    qatomic_set_i64(&colo_ram_counters.write_back_us, cache.us + us);
    qatomic_set_i64(&colo_ram_counters.write_back_bql_us, cache.bql_us + us);
    cache.us = cache.bql_us = 0;
    code_current = true;
    colo_ram_checkpoint_done();
    return true;
}

void colo_ram_tb_flush(CPUState *cpu)
{
    if (!code_current) {
        tb_flush(cpu);
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
