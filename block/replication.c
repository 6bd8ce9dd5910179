/*
 * The block driver "replication": a disk of a COLO pair
 *
 *   mode=primary    the child is the secondary's disk, an NBD client; takes what
 *                   the guest writes
 *   mode=secondary  the child is the active image, above the hidden one, above
 *                   the disk; or, with overlay.limit, the disk itself
 *
 * docs/block-replication.txt tells how it is used; replication-int.h, which part
 * is where.
 *
 * Not a filter: on neither side is what the node holds that of its child.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/module.h"
#include "qapi/error.h"
#include "block/replication-int.h"

static ReplicationOps replication_ops;

static int replication_open(BlockDriverState *bs, QDict *options, int flags,
                            Error **errp)
{
    BDRVReplicationState *s = bs->opaque;
    int ret;

    ret = bdrv_open_file_child(NULL, options, "file", bs, errp);
    if (ret < 0) {
        return ret;
    }
    s->bs = bs;
    if (!repl_open_options(s, options, errp)) {
        return -EINVAL;
    }
    bs->supported_write_flags = BDRV_REQ_FUA;
    bs->supported_zero_flags = BDRV_REQ_FUA | BDRV_REQ_MAY_UNMAP |
                               BDRV_REQ_NO_FALLBACK;
    s->rs = replication_new(bs, &replication_ops);
    return 0;
}

static void replication_close(BlockDriverState *bs)
{
    BDRVReplicationState *s = bs->opaque;

    replication_remove(s->rs);
    if (s->role == REPL_PRIMARY) {
        repl_primary_free(s->primary);
    } else {
        repl_secondary_close(s);
    }
}

static void replication_child_perm(BlockDriverState *bs, BdrvChild *c,
                                   BdrvChildRole role,
                                   BlockReopenQueue *reopen_queue,
                                   uint64_t perm, uint64_t shared,
                                   uint64_t *nperm, uint64_t *nshared)
{
    BDRVReplicationState *s = bs->opaque;
    /* The disk is written to below the hold filter, by another child */
    bool reads_only = s->role == REPL_SECONDARY &&
                      ((s->sec.in_memory && c == bs->file) ||
                       (s->sec.guard == REPL_GUARD_ON && c == s->sec.parent));

    *nperm = BLK_PERM_CONSISTENT_READ;
    if ((bs->open_flags & (BDRV_O_INACTIVE | BDRV_O_RDWR)) == BDRV_O_RDWR &&
        !reads_only) {
        *nperm |= BLK_PERM_WRITE;
    }
    /* Nobody may resize it: the other host has one of the same size */
    *nshared = BLK_PERM_CONSISTENT_READ | BLK_PERM_WRITE |
               BLK_PERM_WRITE_UNCHANGED;
}

static int64_t replication_getlength(BlockDriverState *bs)
{
    return bdrv_getlength(bs->file->bs);
}

static void replication_refresh_limits(BlockDriverState *bs, Error **errp)
{
    BDRVReplicationState *s = bs->opaque;

    bs->bl.request_alignment = REPL_SECTOR;
    if (s->role == REPL_PRIMARY) {
        bs->bl.max_pwrite_zeroes = REPL_ZEROES_MAX;
        bs->bl.max_pdiscard = REPL_ZEROES_MAX;
    }
}

static int coroutine_fn replication_preadv(BlockDriverState *bs, int64_t offset,
                                           int64_t bytes, QEMUIOVector *qiov,
                                           size_t qiov_offset,
                                           BdrvRequestFlags flags)
{
    BDRVReplicationState *s = bs->opaque;

    if (s->role == REPL_PRIMARY) {
        return -EIO;    /* the primary reads its own disk */
    }
    return repl_secondary_read(s, offset, bytes, qiov, qiov_offset);
}

static int coroutine_fn submit(BlockDriverState *bs, ReplRequestType type,
                               int64_t offset, int64_t bytes,
                               QEMUIOVector *qiov, size_t qiov_offset,
                               BdrvRequestFlags flags)
{
    BDRVReplicationState *s = bs->opaque;

    if (s->role == REPL_PRIMARY) {
        /* When it is found that zeroes are slow there, it is too late to say */
        return repl_primary_submit(s, type, offset, bytes, qiov, qiov_offset,
                                   flags & ~(BDRV_REQ_NO_FALLBACK |
                                             BDRV_REQ_REGISTERED_BUF));
    }
    return repl_secondary_write(s, type, offset, bytes, qiov, qiov_offset,
                                flags);
}

static int coroutine_fn replication_pwritev(BlockDriverState *bs,
                                            int64_t offset, int64_t bytes,
                                            QEMUIOVector *qiov,
                                            size_t qiov_offset,
                                            BdrvRequestFlags flags)
{
    return submit(bs, REPL_WRITE, offset, bytes, qiov, qiov_offset, flags);
}

static int coroutine_fn replication_pwrite_zeroes(BlockDriverState *bs,
                                                  int64_t offset, int64_t bytes,
                                                  BdrvRequestFlags flags)
{
    return submit(bs, REPL_ZEROES, offset, bytes, NULL, 0, flags);
}

static int coroutine_fn replication_pdiscard(BlockDriverState *bs,
                                             int64_t offset, int64_t bytes)
{
    return submit(bs, REPL_DISCARD, offset, bytes, NULL, 0, 0);
}

static int coroutine_fn replication_flush(BlockDriverState *bs)
{
    BDRVReplicationState *s = bs->opaque;

    if (s->role == REPL_SECONDARY) {
        return repl_secondary_flush(s);
    }
    /* Afterwards there is nothing that could have been written */
    return s->stage == REPL_DONE ? 0
                                 : submit(bs, REPL_FLUSH, 0, 0, NULL, 0, 0);
}

static void coroutine_fn replication_drain_begin(BlockDriverState *bs)
{
    BDRVReplicationState *s = bs->opaque;

    if (s->role == REPL_PRIMARY) {
        repl_primary_drain_begin(s);
    } else {
        repl_merge_drain_begin(s);
    }
}

static void coroutine_fn replication_drain_end(BlockDriverState *bs)
{
    BDRVReplicationState *s = bs->opaque;

    if (s->role == REPL_PRIMARY) {
        repl_primary_drain_end(s);
    } else {
        repl_merge_drain_end(s);
    }
}

/* Once all is merged a resync may skip what is empty; before, all is data */
static int coroutine_fn replication_block_status(BlockDriverState *bs,
                                                 bool want_zero,
                                                 int64_t offset, int64_t bytes,
                                                 int64_t *pnum, int64_t *map,
                                                 BlockDriverState **file)
{
    BDRVReplicationState *s = bs->opaque;

    *pnum = bytes;
    *map = offset;
    if (s->role == REPL_SECONDARY && s->stage == REPL_DONE && s->sec.parent) {
        *file = s->sec.parent->bs;
        return BDRV_BLOCK_RAW | BDRV_BLOCK_OFFSET_VALID;
    }
    return BDRV_BLOCK_DATA;
}

static BlockStatsSpecific *replication_stats(BlockDriverState *bs)
{
    BDRVReplicationState *s = bs->opaque;
    BlockStatsSpecific *specific = g_new0(BlockStatsSpecific, 1);
    BlockStatsSpecificReplication *stats = &specific->u.replication;

    specific->driver = BLOCKDEV_DRIVER_REPLICATION;
    QEMU_BUILD_BUG_ON((int)REPL_DONE != (int)REPLICATION_STAGE_DONE);
    stats->stage = (ReplicationStage)s->stage;
    stats->epoch = replication_epoch();
    if (s->role == REPL_PRIMARY) {
        repl_primary_stats(s, stats);
    } else {
        repl_secondary_stats(s, stats);
    }
    return specific;
}

/*
 * What the engine asks for.  "Which event, what is done about it" is the same
 * for all; the AioContext is held meanwhile.
 */
static ReplVerdict happens(BDRVReplicationState *s, ReplEvent event,
                           Error **errp)
{
    ERRP_GUARD();
    ReplVerdict verdict = repl_event(s->role, &s->stage, event, errp);

    if (verdict == REPL_REFUSED) {
        if (s->stage == REPL_BROKEN) {
            error_prepend(errp, "%s: ", repl_primary_reason(s));
        }
        error_prepend(errp, "disk '%s': ", s->bs->node_name);
    }
    return verdict;
}

static void start_locked(BDRVReplicationState *s, ReplicationMode mode,
                         Error **errp)
{
    ERRP_GUARD();
    ReplStage before;

    if (s->role == REPL_PRIMARY) {
        repl_primary_settle(s);
    }
    before = s->stage;
    if (happens(s, mode == REPLICATION_MODE_PRIMARY ? REPL_START_PRIMARY
                                                  : REPL_START_SECONDARY,
              errp) != REPL_DO) {
        return;
    }
    if (s->role == REPL_PRIMARY) {
        repl_primary_start(s, errp);
    } else {
        repl_secondary_start(s, errp);
    }
    if (*errp) {
        s->stage = before;
        if (s->role == REPL_SECONDARY) {
            repl_pace_again(s->sec.pace);
        }
    }
}

static void replication_start(ReplicationState *rs, ReplicationMode mode,
                              Error **errp)
{
    BlockDriverState *bs = rs->opaque;
    AioContext *ctx = bdrv_get_aio_context(bs);

    aio_context_acquire(ctx);
    start_locked(bs->opaque, mode, errp);
    aio_context_release(ctx);
}

/* Returns what a commit would meet now */
static void ask(ReplicationState *rs, ReplEvent what, Error **errp)
{
    BlockDriverState *bs = rs->opaque;
    BDRVReplicationState *s = bs->opaque;
    AioContext *ctx = bdrv_get_aio_context(bs);

    aio_context_acquire(ctx);
    if (s->role == REPL_PRIMARY) {
        repl_primary_settle(s);
    }
    if (happens(s, what, errp) == REPL_DO && s->role == REPL_SECONDARY) {
        repl_secondary_prepare(s, errp);
    }
    aio_context_release(ctx);
}

static void replication_prepare(ReplicationState *rs, Error **errp)
{
    ask(rs, REPL_CHECKPOINT, errp);
}

static void replication_get_error(ReplicationState *rs, Error **errp)
{
    ask(rs, REPL_GET_ERROR, errp);
}

static void replication_checkpoint(ReplicationState *rs, Error **errp)
{
    BlockDriverState *bs = rs->opaque;
    BDRVReplicationState *s = bs->opaque;
    AioContext *ctx = bdrv_get_aio_context(bs);

    aio_context_acquire(ctx);
    if (happens(s, REPL_CHECKPOINT, errp) == REPL_DO &&
        s->role == REPL_SECONDARY) {
        repl_secondary_checkpoint(s);
    }
    aio_context_release(ctx);
}

static void stop_primary(BDRVReplicationState *s, bool failover, Error **errp)
{
    if (!failover) {
        repl_primary_settle_flushed(s);
    }
    if (happens(s, failover ? REPL_FAILOVER : REPL_STOP, errp) == REPL_DO) {
        repl_primary_abandon(s, failover);
    }
}

/* What has begun in one stage has to end in it: hence the drained section */
static void stop_secondary(BDRVReplicationState *s, bool failover, Error **errp)
{
    repl_secondary_quiesce(s);
    if (happens(s, failover ? REPL_FAILOVER : REPL_STOP, errp) == REPL_DO) {
        repl_secondary_stop(s, failover);
    }
    repl_secondary_resume(s);
}

static void replication_stop(ReplicationState *rs, bool failover, Error **errp)
{
    BlockDriverState *bs = rs->opaque;
    BDRVReplicationState *s = bs->opaque;
    AioContext *ctx = bdrv_get_aio_context(bs);

    aio_context_acquire(ctx);
    if (s->role == REPL_PRIMARY) {
        stop_primary(s, failover, errp);
    } else {
        stop_secondary(s, failover, errp);
    }
    aio_context_release(ctx);
}

static void replication_defer_flushes(ReplicationState *rs, bool deferring)
{
    BlockDriverState *bs = rs->opaque;
    BDRVReplicationState *s = bs->opaque;
    AioContext *ctx = bdrv_get_aio_context(bs);

    aio_context_acquire(ctx);
    if (s->role == REPL_PRIMARY) {
        repl_primary_defer(s, deferring);
    } else {
        repl_pace_defer(s->sec.pace, deferring);
    }
    aio_context_release(ctx);
}

static bool replication_is_short(ReplicationState *rs)
{
    BlockDriverState *bs = rs->opaque;
    BDRVReplicationState *s = bs->opaque;
    AioContext *ctx = bdrv_get_aio_context(bs);
    bool is_short;

    aio_context_acquire(ctx);
    is_short = s->role == REPL_PRIMARY ? repl_primary_is_short(s)
                                       : repl_pace_rests(s->sec.pace);
    aio_context_release(ctx);
    return is_short;
}

static ReplicationOps replication_ops = {
    .start = replication_start,
    .stop = replication_stop,
    .prepare = replication_prepare,
    .checkpoint = replication_checkpoint,
    .get_error = replication_get_error,
    .defer_flushes = replication_defer_flushes,
    .is_short = replication_is_short,
};

static const char *const strong_runtime_opts[] = {
    REPL_OPT_MODE,
    REPL_OPT_TOP_ID,
    NULL
};

static BlockDriver bdrv_replication = {
    .format_name                = "replication",
    .instance_size              = sizeof(BDRVReplicationState),

    .bdrv_open                  = replication_open,
    .bdrv_close                 = replication_close,
    .bdrv_child_perm            = replication_child_perm,
    .bdrv_getlength             = replication_getlength,
    .bdrv_refresh_limits        = replication_refresh_limits,

    .bdrv_co_preadv_part        = replication_preadv,
    .bdrv_co_pwritev_part       = replication_pwritev,
    .bdrv_co_pwrite_zeroes      = replication_pwrite_zeroes,
    .bdrv_co_pdiscard           = replication_pdiscard,
    .bdrv_co_flush              = replication_flush,
    .bdrv_co_block_status       = replication_block_status,
    .bdrv_co_drain_begin        = replication_drain_begin,
    .bdrv_co_drain_end          = replication_drain_end,
    .bdrv_get_specific_stats    = replication_stats,

    .strong_runtime_opts        = strong_runtime_opts,
};

bool replication_only_queues(BlockDriverState *bs)
{
    BDRVReplicationState *s;

    bs = bdrv_skip_filters(bs);
    s = bs->opaque;
    return bs->drv == &bdrv_replication && s->role == REPL_PRIMARY;
}

static void replication_init(void)
{
    bdrv_register(&bdrv_replication);
}

block_init(replication_init);
