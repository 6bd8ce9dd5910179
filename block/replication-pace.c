/*
 * The secondary's disk before replication starts: its platter keeps pace
 *
 * What the primary writes there, a resync or its guest, it doesn't flush before the
 * start (replication-flush.c).  Its first flush then would have to wait for all of
 * that, for longer than its time-out, where this host's memory takes more than the
 * platter can take in that time.  So the disk is flushed from here, again and again,
 * each time PACE_MS after the last flush has ended: what the first one of the primary
 * finds is what has been written since.  If the platter takes it at all, that is: with
 * r for the share of the platter's speed that the primary needs, a flush takes
 * PACE_MS * r / (1 - r).  Longer breaks would make it longer; and nobody else uses
 * this disk.
 *
 * What is flushed is the file below the image's format, and nobody waits for that:
 * it is a request of the file alone, so that neither writes nor the start, with the
 * primary's guest standing still, are held up by it.  (qcow2 would hold up writes that
 * need a new cluster while it flushes.)  What a format has in its caches is little.
 *
 * Its result is of no interest: who fails goes on failing, as block/file-posix.c does
 * where pages were lost, and the primary's flush comes to the same.
 *
 * Main loop, as all of a secondary's disk.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/main-loop.h"
#include "block/replication-int.h"

#define PACE_MS     250

/* Of the node, and after its end of a flush that is still under way */
struct ReplPace {
    BDRVReplicationState *s;    /* NULL: the node has been closed */
    QEMUTimer *timer;
    BlockDriverState *file;     /* is being flushed, and lives until that ends */
};

static void next_time(ReplPace *pace)
{
    timer_mod(pace->timer, qemu_clock_get_ms(QEMU_CLOCK_REALTIME) + PACE_MS);
}

static void coroutine_fn pace_entry(void *opaque)
{
    ReplPace *pace = opaque;

    bdrv_co_flush(pace->file);
    pace->file = NULL;
    if (pace->s) {
        next_time(pace);
    } else {
        g_free(pace);
    }
}

/* Without its formats; NULL: there is none yet */
static BlockDriverState *find_file(BDRVReplicationState *s)
{
    BlockDriverState *bs = repl_secondary_disk(s);

    while (bs && bs->drv && bs->drv->is_format && bs->file) {
        bs = bs->file->bs;
    }
    return bs;
}

/* Has it been written to since it was flushed, and may it be flushed now? */
static bool wants_flush(BlockDriverState *file)
{
    return !(file->open_flags & BDRV_O_INACTIVE) &&
           !qatomic_read(&file->quiesce_counter) &&
           qatomic_read(&file->write_gen) != file->flushed_gen;
}

/* The timer; it is not set again when replication has started. */
static void pace_due(void *opaque)
{
    ReplPace *pace = opaque;
    BDRVReplicationState *s = pace->s;
    AioContext *ctx = bdrv_get_aio_context(s->bs);
    BlockDriverState *file;

    if (s->stage != REPL_IDLE) {
        return;
    }
    aio_context_acquire(ctx);
    file = find_file(s);
    if (file && wants_flush(file)) {
        pace->file = file;
        bdrv_coroutine_enter(file, qemu_coroutine_create(pace_entry, pace));
    } else {
        next_time(pace);
    }
    aio_context_release(ctx);
}

ReplPace *repl_pace_begin(BDRVReplicationState *s)
{
    ReplPace *pace = g_new0(ReplPace, 1);

    pace->s = s;
    pace->timer = aio_timer_new(qemu_get_aio_context(), QEMU_CLOCK_REALTIME,
                                SCALE_MS, pace_due, pace);
    next_time(pace);
    return pace;
}

void repl_pace_end(ReplPace *pace)
{
    if (!pace) {
        return;
    }
    timer_free(pace->timer);
    pace->timer = NULL;
    pace->s = NULL;
    if (!pace->file) {
        g_free(pace);
    }
}
