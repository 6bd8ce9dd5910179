/*
 * COLO: the primary sends its memory, while the guest runs and when it stops
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 * Copyright (c) 2026 the qemu-colo developers
 *
 * Both go through the RAM blocks page by page, take the dirty ones out of the
 * log, and put them into batches.  What is sent while the guest runs leaves out
 * hot pages, and ends when it has been long enough.
 */
#include "qemu/osdep.h"
#include "qemu/bitmap.h"
#include "qemu/cutils.h"
#include "qemu/main-loop.h"
#include "qemu/rcu.h"
#include "qapi/error.h"
#include "exec/memory.h"
#include "exec/ramblock.h"
#include "exec/target_page.h"
#include "migration.h"
#include "qemu-file.h"
#include "ram.h"
#include "trace.h"
#include "colo-ram.h"
#include "colo-ram-heat.h"
#include "colo-ram-int.h"
#include "colo-ram-log.h"
#include "colo-ram-policy.h"
#include "colo-ram-stream.h"

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

/* So many pages go to the connection at a time, for S to begin with */
#define FLUSH_PAGES 128
QEMU_BUILD_BUG_ON(FLUSH_PAGES > COLO_RAM_BATCH_PAGES);

typedef struct SendBlock {
    RAMBlock *rb;
    size_t pages;
    ColoHeat heat;
} SendBlock;

typedef struct SendSlice {
    int64_t begin;
    size_t pages;
} SendSlice;

struct ColoRamSend {
    ColoPolicy policy;
    GArray *blocks;             /* of SendBlock, from the start */
    unsigned at_block;          /* the background goes on here, */
    size_t at_page;             /* with this page of it */
    bool yield;                 /* atomic */
    size_t budget;              /* pages that the next slice may send */
    SendSlice slices[SLICES_MAX];       /* on their way, oldest first */
    unsigned under_way;         /* how many */
    size_t pages_under_way;
    int64_t last_taken;

    /* What is being sent */
    QEMUFile *f;
    ColoRamBatch batch;
    size_t pages;               /* so far */
    size_t unflushed;           /* of these */

    /* When the guest has stopped */
    int64_t stop_us;            /* when the log was looked at, and */
    size_t stop_pages;          /* so many have been sent since */
    size_t fresh;               /* of these: would have been worth it before */
    bool soon;                  /* it was soon after the last sync */
};

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

/*
 * RAM blocks don't come or go while they are migrated; nor does their size change,
 * or colo_ram_send_check_sizes() finds it.
 */
static void send_init_blocks(ColoRamSend *s)
{
    RAMBlock *rb;

    s->blocks = g_array_new(false, true, sizeof(SendBlock));
    g_array_set_clear_func(s->blocks, send_clear_block);
    RCU_READ_LOCK_GUARD();
    RAMBLOCK_FOREACH_NOT_IGNORED(rb) {
        SendBlock b = {
            .rb = rb, .pages = rb->used_length >> qemu_target_page_bits(),
        };

        if (rb->bmap) {
            memory_region_ref(rb->mr);
            colo_heat_init(&b.heat, b.pages);
            g_array_append_val(s->blocks, b);
        }
    }
}

static SendBlock *send_block(ColoRamSend *s, unsigned i)
{
    return &g_array_index(s->blocks, SendBlock, i);
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

void colo_ram_send_set_bandwidth(ColoRamSend *s, uint64_t bytes_per_s)
{
    colo_policy_set_bandwidth(&s->policy, bytes_per_s);
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

/* --- a stream ----------------------------------------------------------- */

static void send_begin(ColoRamSend *s, QEMUFile *f)
{
    s->f = f;
    s->pages = 0;
    s->unflushed = 0;
    s->batch.count = 0;
}

/* The batch, to the file; contents are read from where they are. */
static void send_batch(ColoRamSend *s, SendBlock *b)
{
    unsigned bits = qemu_target_page_bits();
    uint8_t head[COLO_RAM_BATCH_MAX];

    if (!s->batch.count) {
        return;
    }
    qemu_put_buffer(s->f, head, colo_ram_batch_encode(&s->batch, b->rb->idstr,
                                                      head));
    for (unsigned i = 0; i < s->batch.count; i++) {
        ColoRamRun *run = &s->batch.runs[i];

        if (!run->zero) {
            qemu_put_buffer_async(s->f, b->rb->host + (run->first << bits),
                                  (size_t)run->pages << bits, false);
        }
    }
    s->batch.count = 0;
}

static void send_page(ColoRamSend *s, SendBlock *b, size_t page)
{
    size_t size = qemu_target_page_size();
    bool zero;

    colo_ram_log_take(b->rb, page);
    zero = buffer_is_zero(b->rb->host + page * size, size);
    if (!colo_ram_batch_add(&s->batch, page, zero)) {
        send_batch(s, b);
        colo_ram_batch_add(&s->batch, page, zero);
    }
    s->pages++;
    if (++s->unflushed == FLUSH_PAGES) {
        send_batch(s, b);
        qemu_fflush(s->f);
        s->unflushed = 0;
    }
}

static void send_end(ColoRamSend *s)
{
    uint8_t end[COLO_RAM_BATCH_MAX];

    qemu_put_buffer(s->f, end, colo_ram_batch_encode(&s->batch, NULL, end));
}

/* --- while the guest runs ----------------------------------------------- */

static void send_account(ColoRamSend *s)
{
    guint i;

    for (i = 0; i < s->blocks->len; i++) {
        SendBlock *b = send_block(s, i);

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
    int64_t begin, end;
    size_t pages = 0;
    guint i;

    send_account(s);
    begin = now_us();
    qemu_mutex_lock_iothread();
    colo_ram_log_sync();
    qemu_mutex_unlock_iothread();
    end = now_us();
    for (i = 0; i < s->blocks->len; i++) {
        SendBlock *b = send_block(s, i);

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

static bool send_slice_is_over(ColoRamSend *s, int64_t end)
{
    if (s->pages >= s->budget || qatomic_read(&s->yield)) {
        return true;
    }
    return s->pages && s->pages % SLICE_CLOCK_PAGES == 0 && now_us() >= end;
}

/* What is worth sending of a block, from @s->at_page on; false: not all of it */
static bool send_slice_block(ColoRamSend *s, SendBlock *b, int64_t end)
{
    size_t page = s->at_page;
    bool all = false;

    while (true) {
        page = colo_heat_next(&b->heat, b->rb->bmap, b->pages, page);
        if (page >= b->pages) {
            all = true;
            break;
        }
        if (send_slice_is_over(s, end)) {
            break;
        }
        send_page(s, b, page++);
    }
    send_batch(s, b);
    s->at_page = page;
    return all;
}

/* Once around all blocks; the first one's beginning comes last. */
static bool send_slice_blocks(ColoRamSend *s, int64_t end)
{
    for (unsigned i = 0; i <= s->blocks->len; i++) {
        if (!send_slice_block(s, send_block(s, s->at_block), end)) {
            return false;
        }
        s->at_block = (s->at_block + 1) % s->blocks->len;
        s->at_page = 0;
    }
    return true;
}

void colo_ram_send_slice(ColoRamSend *s, QEMUFile *f)
{
    int64_t begin = now_us(), end;
    uint64_t bytes = qemu_file_total_transferred_fast(f);
    bool last;

    send_begin(s, f);
    last = send_slice_blocks(s, MIN(begin + SLICE_MAX_US, s->policy.deadline));
    send_end(s);
    qemu_fflush(f);

    end = now_us();
    bytes = qemu_file_total_transferred_fast(f) - bytes;
    colo_policy_sent(&s->policy, end, end - begin, s->pages, last);
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

bool colo_ram_send_check_sizes(ColoRamSend *s, Error **errp)
{
    for (unsigned i = 0; i < s->blocks->len; i++) {
        SendBlock *b = send_block(s, i);

        if (b->rb->used_length >> qemu_target_page_bits() != b->pages) {
            error_setg(errp, "memory block '%s' has got another size, 0x"
                       RAM_ADDR_FMT " bytes, which the secondary's has not",
                       b->rb->idstr, b->rb->used_length);
            return false;
        }
    }
    return true;
}

size_t colo_ram_send_stopped(ColoRamSend *s)
{
    size_t pages = 0;

    if (!s->stop_us) {
        send_account(s);
        s->stop_us = now_us();
        s->soon = send_was_soon(s, s->stop_us);
        s->stop_pages = s->fresh = 0;
    }
    colo_ram_log_sync();
    for (unsigned i = 0; i < s->blocks->len; i++) {
        SendBlock *b = send_block(s, i);

        pages += bitmap_count_one(b->rb->bmap, b->pages);
    }
    return pages;
}

void colo_ram_send_rest(ColoRamSend *s, QEMUFile *f)
{
    uint64_t bytes = qemu_file_total_transferred_fast(f);
    int64_t begin = now_us();

    send_begin(s, f);
    for (unsigned i = 0; i < s->blocks->len; i++) {
        SendBlock *b = send_block(s, i);
        size_t page = 0;

        while ((page = find_next_bit(b->rb->bmap, b->pages, page)) < b->pages) {
            s->fresh += colo_heat_final(&b->heat, page);
            send_page(s, b, page++);
        }
        send_batch(s, b);
    }
    send_end(s);
    s->stop_pages += s->pages;
    bytes = qemu_file_total_transferred_fast(f) - bytes;
    colo_ram_count(pages_pause, s->pages);
    colo_ram_count(bytes_pause, bytes);
    trace_colo_ram_send(s->pages, bytes, now_us() - begin);
}

void colo_ram_send_complete(ColoRamSend *s)
{
    colo_policy_final(&s->policy, s->stop_us, now_us() - s->stop_us,
                      s->stop_pages, s->fresh);
    colo_ram_checkpoint_done();
}

void colo_ram_send_done(ColoRamSend *s)
{
    s->stop_us = 0;
    for (unsigned i = 0; i < s->blocks->len; i++) {
        colo_heat_epoch(&send_block(s, i)->heat, s->soon);
    }
}
