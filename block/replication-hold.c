/*
 * The filter on the secondary's disk: what stood there at the last commit is
 * kept before the primary's writes replace it
 *
 * The NBD export, and whoever else has the disk open, is moved above it when
 * replication starts.  The replication node itself keeps a child below it.
 *
 * A range is copied once per epoch, and only the sectors that are overwritten:
 * not those held already, and not those that the secondary's guest has
 * written itself, for these it sees anyway.  A sector is marked as held before
 * the primary's write is passed on.  So a reader that found it to be the
 * parent's, and finds the same after it has read, has read the old content.
 *
 * If old content cannot be kept, the primary's write fails; it then declares
 * the secondary lost, and this side still has its last commit in full.
 *
 * A drained section waits for a request that the primary has sent in part.  If
 * the primary stops in the middle, that would be for ever, with the BQL: neither
 * QMP nor a failover would get through.  So its connection is cut when it is the
 * only thing that a drained section still waits for after DRAIN_MS.
 *
 * QEMU's NBD server aborts when a client leaves whose disk is in an iothread, and an
 * incoming migration with COLO hangs on one there.  So the secondary's is kept in
 * the main loop, by a BlockBackend that lets nobody move it, from when the
 * node is opened: a device with an iothread then does without.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/memalign.h"
#include "qemu/cutils.h"
#include "qapi/error.h"
#include "qapi/qapi-events-colo-disk.h"
#include "qemu/timer.h"
#include "sysemu/block-backend.h"
#include "block/replication-int.h"

#define DRAIN_MS    700     /* QMP is to answer within a second */
#define KEEP_BYTES  (8 * REPL_CLUSTER)      /* copied at once */

typedef struct HoldState {
    BDRVReplicationState *owner;    /* NULL: on its way in or out */
    QEMUTimer *guard;               /* of the main loop */
    int drains;                     /* drained sections; atomic */
    BlockBackend *anchor;           /* the node stays in the main loop */
} HoldState;

bool (*repl_cut_exports)(BlockDriverState *bs);

/* How much of it, cluster by cluster, is zeroes; or is not, if none is */
static int64_t alike(const char *buffer, int64_t offset, int64_t bytes,
                     bool *zero)
{
    int64_t n = repl_in_cluster(offset, bytes);

    *zero = buffer_is_zero(buffer, n);
    while (n < bytes) {
        int64_t more = repl_in_cluster(offset + n, bytes - n);

        if (buffer_is_zero(buffer + n, more) != *zero) {
            break;
        }
        n += more;
    }
    return n;
}

/* Copy one run, which may span clusters */
static int coroutine_fn keep_run(BDRVReplicationState *s, int64_t offset,
                                 int64_t bytes, char *buffer)
{
    ReplSecondary *sec = &s->sec;
    QEMUIOVector qiov = QEMU_IOVEC_INIT_BUF(qiov, buffer, bytes);
    int64_t done = 0;
    int ret = bdrv_co_preadv(sec->parent, offset, bytes, &qiov, 0);

    while (ret >= 0 && done < bytes) {
        bool zero;
        int64_t n = alike(buffer + done, offset + done, bytes - done, &zero);

        ret = zero ? repl_map_set(sec->map, REPL_HELD, true, offset + done, n)
                   : repl_overlay_write(sec, REPL_HELD, offset + done, n, &qiov,
                                        done);
        if (ret >= 0) {
            sec->copied_bytes += n;
        }
        done += n;
    }
    return ret;
}

/* The first run that is not held, KEEP_BYTES at most; or -1 */
static int64_t next_run(ReplMap *map, int64_t offset, int64_t *bytes)
{
    int64_t end = offset + *bytes;
    int64_t run = repl_map_unheld(map, offset, bytes);

    while (run >= 0 && run + *bytes < end) {
        int64_t more = end - run - *bytes;

        if (repl_map_unheld(map, run + *bytes, &more) != run + *bytes ||
            *bytes + more > KEEP_BYTES) {
            break;
        }
        *bytes += more;
    }
    return run;
}

static int coroutine_fn keep(BDRVReplicationState *s, int64_t offset,
                             int64_t bytes)
{
    ReplSecondary *sec = &s->sec;
    int64_t n = bytes;
    void *buffer;
    BlockReq req;
    int ret = 0;

    if (repl_map_unheld(sec->map, offset, &n) < 0) {
        return 0;
    }
    buffer = qemu_try_blockalign(s->bs, MIN(bytes, KEEP_BYTES));
    if (!buffer) {
        return -ENOMEM;
    }
    /* Whoever copies the same range is to be done before we look */
    reqlist_wait_all(&sec->holds, offset, bytes, NULL);
    reqlist_init_req(&sec->holds, &req, offset, bytes);
    sec->copied_requests++;
    while (ret >= 0) {
        int64_t run;

        n = bytes;
        run = next_run(sec->map, offset, &n);
        if (run < 0) {
            break;
        }
        ret = keep_run(s, run, n, buffer);
    }
    reqlist_remove_req(&req);
    qemu_vfree(buffer);
    return ret;
}

static int coroutine_fn before_write(BlockDriverState *bs, int64_t offset,
                                     int64_t bytes)
{
    HoldState *hold = bs->opaque;
    BDRVReplicationState *s = hold->owner;

    if (!s) {
        return 0;
    }
    if (s->sec.fenced) {
        /* A primary that is not dead yet, after our failover */
        return -EPERM;
    }
    return s->stage == REPL_RUNNING && bytes ? keep(s, offset, bytes) : 0;
}

static int coroutine_fn hold_preadv(BlockDriverState *bs, int64_t offset,
                                    int64_t bytes, QEMUIOVector *qiov,
                                    BdrvRequestFlags flags)
{
    return bdrv_co_preadv(bs->backing, offset, bytes, qiov, flags);
}

static int coroutine_fn hold_pwritev(BlockDriverState *bs, int64_t offset,
                                     int64_t bytes, QEMUIOVector *qiov,
                                     BdrvRequestFlags flags)
{
    int ret = before_write(bs, offset, bytes);

    return ret < 0 ? ret
                   : bdrv_co_pwritev(bs->backing, offset, bytes, qiov, flags);
}

static int coroutine_fn hold_pwrite_zeroes(BlockDriverState *bs, int64_t offset,
                                           int64_t bytes,
                                           BdrvRequestFlags flags)
{
    int ret = before_write(bs, offset, bytes);

    return ret < 0 ? ret
                   : bdrv_co_pwrite_zeroes(bs->backing, offset, bytes, flags);
}

static int coroutine_fn hold_pdiscard(BlockDriverState *bs, int64_t offset,
                                      int64_t bytes)
{
    int ret = before_write(bs, offset, bytes);

    return ret < 0 ? ret : bdrv_co_pdiscard(bs->backing, offset, bytes);
}

static int coroutine_fn hold_flush(BlockDriverState *bs)
{
    return bs->backing ? bdrv_co_flush(bs->backing->bs) : 0;
}

static bool parents_are_busy(BlockDriverState *bs)
{
    BdrvChild *c, *next;

    QLIST_FOREACH_SAFE(c, &bs->parents, next_parent, next) {
        if (!c->klass->parent_is_bds && c->klass->drained_poll &&
            c->klass->drained_poll(c)) {
            return true;
        }
    }
    return false;
}

static void guard_expired(void *opaque)
{
    BlockDriverState *bs = opaque;
    HoldState *hold = bs->opaque;
    AioContext *ctx = bdrv_get_aio_context(bs);

    aio_context_acquire(ctx);
    if (!qatomic_read(&hold->drains)) {
        /* It was over when this began */
    } else if (qatomic_read(&bs->in_flight)) {
        /* Our own disk is slow; that is waited for */
        timer_mod(hold->guard, qemu_clock_get_ms(QEMU_CLOCK_REALTIME) +
                               DRAIN_MS);
    } else if (parents_are_busy(bs) && repl_cut_exports &&
               repl_cut_exports(bs) && hold->owner) {
        qapi_event_send_replication_broken(hold->owner->bs->node_name,
            "the primary has sent a request in part only: its connections to "
            "this disk are shut down", replication_epoch());
    }
    aio_context_release(ctx);
}

static void coroutine_fn hold_drain_begin(BlockDriverState *bs)
{
    HoldState *hold = bs->opaque;

    if (!qatomic_fetch_inc(&hold->drains)) {
        timer_mod(hold->guard, qemu_clock_get_ms(QEMU_CLOCK_REALTIME) +
                               DRAIN_MS);
    }
}

static void coroutine_fn hold_drain_end(BlockDriverState *bs)
{
    HoldState *hold = bs->opaque;

    if (qatomic_fetch_dec(&hold->drains) == 1) {
        timer_del(hold->guard);
    }
}

static void hold_close(BlockDriverState *bs)
{
    HoldState *hold = bs->opaque;

    timer_free(hold->guard);
}

static void hold_refresh_limits(BlockDriverState *bs, Error **errp)
{
    bs->bl.request_alignment = REPL_SECTOR;
}

static void hold_refresh_filename(BlockDriverState *bs)
{
    if (bs->backing) {
        pstrcpy(bs->exact_filename, sizeof(bs->exact_filename),
                bs->backing->bs->filename);
    }
}

static void hold_child_perm(BlockDriverState *bs, BdrvChild *c,
                            BdrvChildRole role, BlockReopenQueue *reopen_queue,
                            uint64_t perm, uint64_t shared, uint64_t *nperm,
                            uint64_t *nshared)
{
    HoldState *hold = bs->opaque;

    *nperm = perm;
    *nshared = shared;
    if (hold->owner && hold->owner->sec.guard != REPL_GUARD_NONE) {
        *nperm |= BLK_PERM_WRITE;
    }
    if (hold->owner && hold->owner->sec.guard == REPL_GUARD_ON) {
        *nshared &= ~BLK_PERM_WRITE;
    }
}

/* Not registered: nobody but repl_hold_insert() makes one. */
static BlockDriver bdrv_replication_hold = {
    .format_name                = "replication-hold",
    .instance_size              = sizeof(HoldState),

    .bdrv_co_preadv             = hold_preadv,
    .bdrv_co_pwritev            = hold_pwritev,
    .bdrv_co_pwrite_zeroes      = hold_pwrite_zeroes,
    .bdrv_co_pdiscard           = hold_pdiscard,
    .bdrv_co_flush              = hold_flush,
    .bdrv_close                 = hold_close,
    .bdrv_co_drain_begin        = hold_drain_begin,
    .bdrv_co_drain_end          = hold_drain_end,
    .bdrv_refresh_limits        = hold_refresh_limits,
    .bdrv_refresh_filename      = hold_refresh_filename,
    .bdrv_child_perm            = hold_child_perm,

    .is_filter                  = true,
    .filtered_child_is_backing  = true,
};

bool repl_hold_is(BlockDriverState *bs)
{
    return bs->drv == &bdrv_replication_hold;
}

static bool set_guard(BDRVReplicationState *s, ReplGuard guard, Error **errp)
{
    BlockDriverState *hold = s->sec.hold, *bs = s->bs;
    BdrvChild *child = s->sec.parent;
    /* Whoever gives up something first */
    bool hold_first = guard == REPL_GUARD_CHANGES;

    s->sec.guard = guard;
    if (hold_first && bdrv_child_refresh_perms(hold, hold->backing, errp) < 0) {
        return false;
    }
    if (bdrv_child_refresh_perms(bs, child, errp) < 0) {
        return false;
    }
    return hold_first ||
           bdrv_child_refresh_perms(hold, hold->backing, errp) >= 0;
}

bool repl_hold_guard(BDRVReplicationState *s, bool guarded, Error **errp)
{
    /* Somebody has to write at any time, or the image might be opened anew */
    return set_guard(s, REPL_GUARD_CHANGES, guarded ? errp : &error_abort) &&
           set_guard(s, guarded ? REPL_GUARD_ON : REPL_GUARD_NONE,
                     guarded ? errp : &error_abort);
}

BlockDriverState *repl_hold_insert(BDRVReplicationState *s,
                                   BlockDriverState *parent, Error **errp)
{
    ERRP_GUARD();
    BlockDriverState *bs;
    HoldState *hold;
    int ret;

    bs = bdrv_new_open_driver(&bdrv_replication_hold, NULL,
                              BDRV_O_RDWR | (parent->open_flags & BDRV_O_UNMAP),
                              errp);
    if (!bs) {
        return NULL;
    }
    hold = bs->opaque;
    hold->guard = aio_timer_new(qemu_get_aio_context(), QEMU_CLOCK_REALTIME,
                                SCALE_MS, guard_expired, bs);
    /* query-block and the like shall show the disk, not this */
    bs->implicit = true;
    bs->never_freeze = true;
    bs->total_sectors = parent->total_sectors;
    bs->supported_write_flags = BDRV_REQ_WRITE_UNCHANGED |
        (BDRV_REQ_FUA & parent->supported_write_flags);
    bs->supported_zero_flags = BDRV_REQ_WRITE_UNCHANGED |
        ((BDRV_REQ_FUA | BDRV_REQ_MAY_UNMAP | BDRV_REQ_NO_FALLBACK) &
         parent->supported_zero_flags);

    bdrv_drained_begin(parent);
    ret = bdrv_append(bs, parent, errp);
    hold->owner = ret < 0 ? NULL : s;
    bdrv_drained_end(parent);
    if (ret < 0) {
        bdrv_unref(bs);
        return NULL;
    }
    /* It neither asks for a permission nor denies one */
    hold->anchor = blk_new(qemu_get_aio_context(), 0, BLK_PERM_ALL);
    if (blk_insert_bs(hold->anchor, bs, errp) < 0) {
        error_append_hint(errp, "The secondary's disk has to be in the main "
                          "loop: leave out iothread= on this host.\n");
        repl_hold_remove(bs);
        return NULL;
    }
    return bs;
}

void repl_hold_remove(BlockDriverState *bs)
{
    HoldState *hold = bs->opaque;

    blk_unref(hold->anchor);
    hold->anchor = NULL;
    bdrv_drained_begin(bs);
    hold->owner = NULL;
    bdrv_drop_filter(bs, &error_abort);
    bdrv_drained_end(bs);
    bdrv_unref(bs);
}
