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
 * What is flushed is the file below the image's format, as a request of that alone:
 * qcow2 would hold up writes that need a new cluster while it flushes.  What a format
 * has in its caches is little.  But whoever drains all of the block layer waits for it,
 * as for any request.  So whoever starts replication has these flushes deferred first,
 * and waits until none is under way (replication_defer_flushes_all(),
 * replication_is_short_all()), which it can do without the BQL.
 *
 * An error is kept, for nobody may hear of it a second time: Linux reports what it
 * couldn't write back once per open file.  Such a disk lacks what the primary takes for
 * written; it doesn't become a replica.
 *
 * Main loop, as all of a secondary's disk.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/main-loop.h"
#include "qapi/error.h"
#include "block/replication-int.h"

#define PACE_MS     250

/* Of the node, and after its end of a flush that is still under way */
struct ReplPace {
    BDRVReplicationState *s;    /* NULL: the node has been closed */
    QEMUTimer *timer;
    BlockDriverState *file;     /* is being flushed, and lives until that ends */
    bool deferring;
    int error;                  /* the first one: -errno, or 0 */
};

static void next_time(ReplPace *pace)
{
    timer_mod(pace->timer, qemu_clock_get_ms(QEMU_CLOCK_REALTIME) + PACE_MS);
}

static void coroutine_fn pace_entry(void *opaque)
{
    ReplPace *pace = opaque;
    int ret = bdrv_co_flush(pace->file);

    pace->file = NULL;
    if (!pace->error) {
        pace->error = ret;
    }
    if (pace->s) {
        next_time(pace);
    } else {
        g_free(pace);
    }
}

/* Directly below its lowest format, or the disk itself; NULL: there is none yet */
static BlockDriverState *find_file(BDRVReplicationState *s)
{
    BlockDriverState *bs = repl_secondary_disk(s), *file = bs;

    while (bs && bs->drv) {
        if (bs->drv->is_format && bs->file) {
            bs = file = bs->file->bs;
        } else {
            bs = bdrv_filter_bs(bs);
        }
    }
    return file;
}

/* Has it been written to since it was flushed, and may it be flushed now? */
static bool wants_flush(BlockDriverState *file)
{
    return !(file->open_flags & BDRV_O_INACTIVE) &&
           !qatomic_read(&file->quiesce_counter) &&
           qatomic_read(&file->write_gen) != file->flushed_gen;
}

/* The timer; it is not set again when replication has started, or is about to. */
static void pace_due(void *opaque)
{
    ReplPace *pace = opaque;
    BDRVReplicationState *s = pace->s;
    AioContext *ctx = bdrv_get_aio_context(s->bs);
    BlockDriverState *file;

    if (s->stage != REPL_IDLE || pace->deferring || pace->file) {
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

void repl_pace_defer(ReplPace *pace, bool deferring)
{
    pace->deferring = deferring;
    if (!deferring && pace->s->stage == REPL_IDLE) {
        next_time(pace);
    }
}

bool repl_pace_rests(const ReplPace *pace)
{
    return !pace->file;
}

void repl_pace_again(ReplPace *pace)
{
    next_time(pace);
}

bool repl_pace_check(const ReplPace *pace, Error **errp)
{
    if (pace->error) {
        error_setg_errno(errp, -pace->error, "a flush of the secondary's disk has "
                         "failed before replication started, so that it lacks "
                         "data: give up this secondary, and resync to a good disk");
    }
    return !pace->error;
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
