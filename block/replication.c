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
#include "qemu/option.h"
#include "qapi/error.h"
#include "qapi/util.h"
#include "block/qdict.h"
#include "qapi/qmp/qdict.h"
#include "block/replication-int.h"

#define OPT_MODE            "mode"
#define OPT_TOP_ID          "top-id"
#define OPT_TIMEOUT         "timeout"
#define OPT_FLUSH           "flush"
#define OPT_LIMIT           "overlay.limit"
#define OPT_DIRECTORY       "overlay.directory"
#define OPT_MERGE_SPEED     "merge-speed"

#define TIMEOUT_MS          5000
#define TIMEOUT_MS_MAX      600000

static QemuOptsList runtime_opts = {
    .name = "replication",
    .head = QTAILQ_HEAD_INITIALIZER(runtime_opts.head),
    .desc = {
        { .name = OPT_MODE, .type = QEMU_OPT_STRING,
          .help = "primary or secondary" },
        { .name = OPT_TOP_ID, .type = QEMU_OPT_STRING,
          .help = "secondary: the drive that the guest uses" },
        { .name = OPT_TIMEOUT, .type = QEMU_OPT_NUMBER,
          .help = "primary: ms until a silent secondary is given up" },
        { .name = OPT_FLUSH, .type = QEMU_OPT_STRING,
          .help = "primary: background, or ordered among the writes" },
        { .name = OPT_LIMIT, .type = QEMU_OPT_SIZE,
          .help = "secondary: bytes of RAM for the overlays, without images" },
        { .name = OPT_DIRECTORY, .type = QEMU_OPT_STRING,
          .help = "secondary: where overlays go that exceed overlay.limit" },
        { .name = OPT_MERGE_SPEED, .type = QEMU_OPT_SIZE,
          .help = "secondary: bytes per second to merge after failover" },
        { /* end of list */ }
    },
};

static bool refuse_options(QemuOpts *opts, const char *side,
                           const char *const *names, Error **errp)
{
    for (; *names; names++) {
        if (qemu_opt_get(opts, *names)) {
            error_setg(errp, "The %s side does not support option %s", side,
                       *names);
            return false;
        }
    }
    return true;
}

static bool open_primary(BDRVReplicationState *s, QemuOpts *opts, Error **errp)
{
    static const char *const others[] = {
        OPT_TOP_ID, OPT_LIMIT, OPT_DIRECTORY, OPT_MERGE_SPEED, NULL,
    };
    uint64_t timeout = qemu_opt_get_number(opts, OPT_TIMEOUT, TIMEOUT_MS);
    int flush = qapi_enum_parse(&ReplicationFlush_lookup,
                                qemu_opt_get(opts, OPT_FLUSH),
                                REPLICATION_FLUSH_ORDERED, errp);

    if (flush < 0 || !refuse_options(opts, "primary", others, errp)) {
        return false;
    }
    if (!timeout || timeout > TIMEOUT_MS_MAX) {
        error_setg(errp, "timeout has to be from 1 to %d ms", TIMEOUT_MS_MAX);
        return false;
    }
    s->role = REPL_PRIMARY;
    s->primary = repl_primary_new(s, timeout,
                                  flush == REPLICATION_FLUSH_ORDERED);
    return true;
}

static bool open_secondary(BDRVReplicationState *s, QemuOpts *opts,
                           Error **errp)
{
    static const char *const others[] = { OPT_TIMEOUT, OPT_FLUSH, NULL };
    ReplSecondary *sec = &s->sec;
    const char *top_id = qemu_opt_get(opts, OPT_TOP_ID);

    if (!refuse_options(opts, "secondary", others, errp)) {
        return false;
    }
    if (!top_id) {
        error_setg(errp, "Missing the option top-id: the drive that the "
                   "guest uses");
        return false;
    }
    if (qemu_opt_get(opts, OPT_DIRECTORY) && !qemu_opt_get(opts, OPT_LIMIT)) {
        error_setg(errp, "overlay.directory needs overlay.limit");
        return false;
    }
    s->role = REPL_SECONDARY;
    sec->top_id = g_strdup(top_id);
    sec->in_memory = qemu_opt_get(opts, OPT_LIMIT);
    sec->budget.limit = qemu_opt_get_size(opts, OPT_LIMIT, 0);
    sec->budget.directory = g_strdup(qemu_opt_get(opts, OPT_DIRECTORY));
    sec->speed = qemu_opt_get_size(opts, OPT_MERGE_SPEED, 0);
    QLIST_INIT(&sec->holds);
    QLIST_INIT(&sec->merges);
    ratelimit_init(&sec->limit);
    return true;
}

static ReplicationOps replication_ops;

static int replication_open(BlockDriverState *bs, QDict *options, int flags,
                            Error **errp)
{
    BDRVReplicationState *s = bs->opaque;
    QemuOpts *opts;
    const char *mode;
    bool ok = false;
    int ret;

    ret = bdrv_open_file_child(NULL, options, "file", bs, errp);
    if (ret < 0) {
        return ret;
    }
    s->bs = bs;
    opts = qemu_opts_create(&runtime_opts, NULL, 0, &error_abort);
    if (!qemu_opts_absorb_qdict(opts, options, errp)) {
        goto out;
    }
    mode = qemu_opt_get(opts, OPT_MODE);
    if (!mode) {
        error_setg(errp, "Missing the option mode: primary or secondary");
    } else if (!strcmp(mode, "primary")) {
        ok = open_primary(s, opts, errp);
    } else if (!strcmp(mode, "secondary")) {
        ok = open_secondary(s, opts, errp);
    } else {
        error_setg(errp, "mode=%s: it has to be primary or secondary", mode);
    }
out:
    qemu_opts_del(opts);
    if (!ok) {
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
    bool reads_only = s->role == REPL_SECONDARY && s->sec.in_memory &&
                      c == bs->file;

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
    bs->bl.request_alignment = REPL_SECTOR;
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

static void replication_stop(ReplicationState *rs, bool failover, Error **errp)
{
    BlockDriverState *bs = rs->opaque;
    BDRVReplicationState *s = bs->opaque;
    AioContext *ctx = bdrv_get_aio_context(bs);

    aio_context_acquire(ctx);
    if (s->role == REPL_PRIMARY && !failover) {
        repl_primary_settle_flushed(s);
    }
    if (happens(s, failover ? REPL_FAILOVER : REPL_STOP, errp) == REPL_DO) {
        if (s->role == REPL_PRIMARY) {
            repl_primary_abandon(s, failover);
        } else {
            repl_secondary_stop(s, failover);
        }
    }
    aio_context_release(ctx);
}

static void replication_defer_flushes(ReplicationState *rs, bool deferring)
{
    BlockDriverState *bs = rs->opaque;
    BDRVReplicationState *s = bs->opaque;
    AioContext *ctx = bdrv_get_aio_context(bs);

    if (s->role == REPL_PRIMARY) {
        aio_context_acquire(ctx);
        repl_primary_defer(s, deferring);
        aio_context_release(ctx);
    }
}

static bool replication_is_short(ReplicationState *rs)
{
    BlockDriverState *bs = rs->opaque;
    BDRVReplicationState *s = bs->opaque;
    AioContext *ctx = bdrv_get_aio_context(bs);
    bool is_short = true;

    if (s->role == REPL_PRIMARY) {
        aio_context_acquire(ctx);
        is_short = repl_primary_is_short(s);
        aio_context_release(ctx);
    }
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
    OPT_MODE,
    OPT_TOP_ID,
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
    BDRVReplicationState *s = bs->opaque;

    return bs->drv == &bdrv_replication && s->role == REPL_PRIMARY;
}

static void replication_init(void)
{
    bdrv_register(&bdrv_replication);
}

block_init(replication_init);
