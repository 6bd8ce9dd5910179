/*
 * COLO: the primary sends its memory, while the guest runs and when it stops
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 * Copyright (c) 2026 the qemu-colo developers
 *
 * The pages go through QEMU's own savevm handlers.  What the background adds
 * is colo_ram_next_dirty(), by which ram.c looks for the next dirty page: it
 * leaves out hot pages and ends a slice when it has been long enough.
 */
#include "qemu/osdep.h"
#include "qemu/bitmap.h"
#include "qemu/rcu.h"
#include "exec/memory.h"
#include "exec/ramblock.h"
#include "exec/target_page.h"
#include "migration.h"
#include "qemu-file.h"
#include "ram.h"
#include "savevm.h"
#include "trace.h"
#include "colo-ram.h"
#include "colo-ram-heat.h"
#include "colo-ram-int.h"
#include "colo-ram-policy.h"

/* A slice ends after that long, even if the pages cost more than expected */
#define SLICE_MAX_US 2000
#define SLICE_CLOCK_PAGES 16    /* look at the clock that often */

/*
 * Slices on their way at a time, and pages in them: enough to keep both sides
 * at work, and little to wait for when a checkpoint is wanted at once
 */
#define SLICES_MAX 4
#define UNDER_WAY_PAGES 512

/* A page that gets dirty again so soon had better been left to the pause */
#define SOON_US 30000

typedef enum SendMode {
    SEND_ALL,                   /* not our business */
    SEND_SLICE,
    SEND_FINAL,
} SendMode;

typedef struct SendBlock {
    RAMBlock *rb;
    ColoHeat heat;
} SendBlock;

typedef struct SendSlice {
    int64_t begin;
    size_t pages;
} SendSlice;

struct ColoRamSend {
    ColoPolicy policy;
    GArray *blocks;             /* of SendBlock, from the start */
    SendBlock *last;            /* looked up */
    SendMode mode;
    bool yield;                 /* atomic */
    size_t budget;              /* pages that this slice may send, */
    int64_t slice_end;          /* and until when */
    SendSlice slices[SLICES_MAX];       /* on their way, oldest first */
    unsigned under_way;         /* how many */
    size_t pages_under_way;
    int64_t last_taken;
    size_t pages;               /* given to ram.c by this slice or final */
    size_t fresh;               /* of a final: would have been worth it */
    bool soon;                  /* of a final: after the last sync */
    ram_addr_t last_page;       /* given to ram.c, asks often come twice */
};

/* For the hook.  Set and used by the COLO thread alone. */
static ColoRamSend *current;

static int64_t now_us(void)
{
    return g_get_monotonic_time();
}

static void send_clear_block(gpointer opaque)
{
    SendBlock *b = opaque;

    colo_heat_destroy(&b->heat);
    memory_region_unref(b->rb->mr);
}

/* RAM blocks don't come, go or change their size while they are migrated. */
static void send_init_blocks(ColoRamSend *s)
{
    RAMBlock *rb;

    s->blocks = g_array_new(false, true, sizeof(SendBlock));
    g_array_set_clear_func(s->blocks, send_clear_block);
    RCU_READ_LOCK_GUARD();
    RAMBLOCK_FOREACH_NOT_IGNORED(rb) {
        SendBlock b = { .rb = rb };

        if (rb->bmap) {
            memory_region_ref(rb->mr);
            colo_heat_init(&b.heat, rb->used_length >> qemu_target_page_bits());
            g_array_append_val(s->blocks, b);
        }
    }
}

ColoRamSend *colo_ram_send_new(void)
{
    ColoRamSend *s = g_new0(ColoRamSend, 1);

    colo_policy_init(&s->policy, qemu_target_page_size());
    send_init_blocks(s);
    memset(&colo_ram_counters, 0, sizeof(colo_ram_counters));
    return s;
}

void colo_ram_send_free(ColoRamSend *s)
{
    if (s) {
        g_array_unref(s->blocks);
        g_free(s);
    }
}

static SendBlock *send_find_block(ColoRamSend *s, RAMBlock *rb)
{
    guint i;

    if (s->last && s->last->rb == rb) {
        return s->last;
    }
    for (i = 0; i < s->blocks->len; i++) {
        SendBlock *b = &g_array_index(s->blocks, SendBlock, i);

        if (b->rb == rb) {
            s->last = b;
            return b;
        }
    }
    return NULL;
}

void colo_ram_send_set_bandwidth(ColoRamSend *s, uint64_t bytes_per_s)
{
    s->policy.bytes_per_s = bytes_per_s;
}

void colo_ram_send_epoch(ColoRamSend *s, int64_t deadline_us)
{
    qatomic_set(&s->yield, false);
    colo_policy_epoch(&s->policy, now_us(), deadline_us);
}

void colo_ram_send_yield(ColoRamSend *s)
{
    qatomic_set(&s->yield, true);
}

/* --- the hook ----------------------------------------------------------- */

static bool send_slice_is_over(ColoRamSend *s)
{
    if (s->pages >= s->budget) {
        return true;
    }
    return s->pages && s->pages % SLICE_CLOCK_PAGES == 0 &&
        now_us() >= s->slice_end;
}

/* Count @page as given to ram.c, once; false: no more */
static bool send_count(ColoRamSend *s, RAMBlock *rb, unsigned long page)
{
    ram_addr_t offset = (ram_addr_t)page << qemu_target_page_bits();
    ram_addr_t addr = rb->offset + offset;

    if (addr == s->last_page) {
        return true;
    }
    if (s->mode == SEND_SLICE && send_slice_is_over(s)) {
        return false;
    }
    s->last_page = addr;
    s->pages++;
    return true;
}

static unsigned long send_next_in_slice(ColoRamSend *s, SendBlock *b,
                                        const unsigned long *map,
                                        unsigned long size,
                                        unsigned long start)
{
    unsigned long page;

    if (qatomic_read(&s->yield)) {
        return size;
    }
    page = colo_heat_next(&b->heat, map, size, start);
    return page < size && send_count(s, b->rb, page) ? page : size;
}

static unsigned long send_next_in_final(ColoRamSend *s, SendBlock *b,
                                        const unsigned long *map,
                                        unsigned long size,
                                        unsigned long start)
{
    unsigned long page = find_next_bit(map, size, start);
    size_t before = s->pages;

    if (page < size && send_count(s, b->rb, page) && s->pages > before) {
        s->fresh += colo_heat_final(&b->heat, page);
    }
    return page;
}

/* Called by ram.c, for COLO in the COLO thread */
unsigned long colo_ram_next_dirty(RAMBlock *rb, const unsigned long *map,
                                  unsigned long size, unsigned long start)
{
    ColoRamSend *s = current;
    SendBlock *b = s ? send_find_block(s, rb) : NULL;

    if (b && s->mode == SEND_SLICE) {
        return send_next_in_slice(s, b, map, size, start);
    }
    if (b && s->mode == SEND_FINAL) {
        return send_next_in_final(s, b, map, size, start);
    }
    return find_next_bit(map, size, start);
}

static void send_begin(ColoRamSend *s, SendMode mode, size_t budget)
{
    s->mode = mode;
    s->budget = budget;
    s->pages = 0;
    s->fresh = 0;
    s->last_page = RAM_ADDR_INVALID;
    current = s;
}

static void send_end(ColoRamSend *s)
{
    current = NULL;
    s->mode = SEND_ALL;
}

/* --- while the guest runs ----------------------------------------------- */

static void send_account(ColoRamSend *s)
{
    guint i;

    for (i = 0; i < s->blocks->len; i++) {
        SendBlock *b = &g_array_index(s->blocks, SendBlock, i);

        colo_heat_sent(&b->heat, b->rb->bmap);
    }
}

/* What has been sent since the last sync was sent just now. */
static bool send_was_soon(ColoRamSend *s, int64_t now)
{
    return now - s->policy.last_sync < SOON_US;
}

static void send_sync(ColoRamSend *s)
{
    uint64_t precopy = 0, compatible = 0, postcopy = 0;
    int64_t begin, end;
    size_t pages = 0;
    guint i;

    send_account(s);
    begin = now_us();
    /* Takes the BQL.  No size is too large not to sync: UINT64_MAX */
    qemu_savevm_state_pending(migrate_get_current()->to_dst_file, UINT64_MAX,
                              &precopy, &compatible, &postcopy);
    end = now_us();
    for (i = 0; i < s->blocks->len; i++) {
        SendBlock *b = &g_array_index(s->blocks, SendBlock, i);

        pages += colo_heat_synced(&b->heat, b->rb->bmap,
                                  send_was_soon(s, end));
    }
    colo_policy_synced(&s->policy, end, end - begin, pages);
    colo_ram_count(syncs, 1);
    qatomic_set_i64(&colo_ram_counters.sync_us, end - begin);
    trace_colo_ram_sync(pages, end - begin);
}

int64_t colo_ram_send_poll(ColoRamSend *s)
{
    for (;;) {
        int64_t now = now_us();
        ColoPolicyStep step;

        if (qatomic_read(&s->yield)) {
            colo_policy_stop(&s->policy);
        }
        step = colo_policy_next(&s->policy, now);
        switch (step.action) {
        case COLO_POLICY_SYNC:
            send_sync(s);
            break;
        case COLO_POLICY_SEND:
            s->budget = step.pages;
            return 0;
        case COLO_POLICY_WAIT:
            return MAX(step.until - now, 1);
        case COLO_POLICY_DONE:
            return INT64_MAX;
        }
    }
}

void colo_ram_send_slice(ColoRamSend *s, QEMUFile *f)
{
    int64_t begin = now_us(), end;
    uint64_t bytes = qemu_file_total_transferred_fast(f);
    size_t budget = s->budget;
    int ret;

    s->slice_end = MIN(begin + SLICE_MAX_US, s->policy.deadline);
    send_begin(s, SEND_SLICE, budget);
    ret = qemu_savevm_state_iterate(f, false);
    send_end(s);
    qemu_put_byte(f, QEMU_VM_EOF);
    qemu_fflush(f);

    end = now_us();
    bytes = qemu_file_total_transferred_fast(f) - bytes;
    colo_policy_sent(&s->policy, end, end - begin, s->pages,
                     ret > 0 && s->pages < budget && end < s->slice_end);
    s->slices[s->under_way++] = (SendSlice) {
        .begin = begin, .pages = s->pages,
    };
    s->pages_under_way += s->pages;
    colo_ram_count(pages_background, s->pages);
    colo_ram_count(bytes_background, bytes);
    trace_colo_ram_send(s->pages, bytes, end - begin);
}

bool colo_ram_send_has_room(const ColoRamSend *s)
{
    return s->under_way < SLICES_MAX && s->pages_under_way < UNDER_WAY_PAGES;
}

void colo_ram_send_taken(ColoRamSend *s)
{
    SendSlice slice = s->slices[0];
    int64_t now = now_us();

    assert(s->under_way);
    s->under_way--;
    memmove(&s->slices[0], &s->slices[1], s->under_way * sizeof(slice));
    s->pages_under_way -= slice.pages;
    /* Before, S was busy with the one ahead of it */
    colo_policy_taken(&s->policy, now - MAX(slice.begin, s->last_taken),
                      slice.pages);
    s->last_taken = now;
}

/* --- when it stands still ----------------------------------------------- */

void colo_ram_send_final(ColoRamSend *s, QEMUFile *f)
{
    uint64_t bytes = qemu_file_total_transferred_fast(f);
    int64_t begin = now_us();

    send_account(s);
    s->soon = send_was_soon(s, begin);
    send_begin(s, SEND_FINAL, 0);
    qemu_savevm_live_state(f);
    send_end(s);
    bytes = qemu_file_total_transferred_fast(f) - bytes;
    colo_policy_final(&s->policy, begin, now_us() - begin, s->pages, s->fresh);
    colo_ram_count(pages_pause, s->pages);
    colo_ram_count(bytes_pause, bytes);
    trace_colo_ram_send(s->pages, bytes, now_us() - begin);
    colo_ram_checkpoint_done();
}

void colo_ram_send_done(ColoRamSend *s)
{
    guint i;

    for (i = 0; i < s->blocks->len; i++) {
        colo_heat_epoch(&g_array_index(s->blocks, SendBlock, i).heat, s->soon);
    }
}
