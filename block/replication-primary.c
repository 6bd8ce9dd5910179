/*
 * The primary's part: a bounded queue to the secondary's disk
 *
 * The guest's own disk is another child of the quorum above.  A request is
 * accepted here as soon as its data are copied, so that the guest waits for its
 * own disk only.  Why no promise is broken by that:
 *
 *  - What the primary writes in an epoch counts for the secondary only from
 *    the commit on: should the primary die before, the secondary goes back to
 *    the last commit plus what its own guest has written (the hold filter).
 *  - A commit needs all of it.  Stopping the primary drains all its nodes, and
 *    each queued request counts as one in flight; repl_primary_settle()
 *    drains once more.  A request that failed makes the commit refuse.
 *  - What follows from a write that was acknowledged leaves the primary when the
 *    secondary's guest has sent the same, having done the same write, or with
 *    the commit.  So the world never learns of a write that could vanish.
 *  - While the primary lives, its own disk has everything.
 *
 * Order: that of replication-queue.h.  Flushes: see replication-flush.c.
 * Bounds: those of the queue, and a time-out; see replication-send.c.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/memalign.h"
#include "qemu/units.h"
#include "qemu/yank.h"
#include "qapi/error.h"
#include "qapi/qapi-commands-yank.h"
#include "qapi/qapi-events-colo-disk.h"
#include "block/replication-primary.h"

/*
 * What the secondary has to merge after a failover, and to keep until then, is
 * bounded by the writes of one epoch: when it is this much, a checkpoint is due.
 * The guest's first flush after the failover waits for twice as much (what it
 * wrote, and what the other guest did), and guests give up one that takes 30 s:
 * so a disk of 10 MB/s will do.  Less would mean many checkpoints for a guest that
 * writes hundreds of MB/s, with little room in the queue before each.
 */
#define EPOCH_BYTES     (128 * MiB)
#define REQUEST_COST    (16 * KiB)  /* what a request costs besides its bytes */

ReplPrimary *repl_primary_new(BDRVReplicationState *s, uint32_t timeout_ms,
                              bool ordered)
{
    ReplPrimary *p = g_new0(ReplPrimary, 1);

    p->timeout_ms = timeout_ms;
    p->flush_timer = aio_timer_new(qemu_get_aio_context(), QEMU_CLOCK_REALTIME,
                                   SCALE_MS, repl_flush_due, s);
    repl_queue_init(&p->queue, ordered);
    QTAILQ_INIT(&p->waiters);
    return p;
}

void repl_primary_free(ReplPrimary *p)
{
    if (p) {
        assert(QTAILQ_EMPTY(&p->queue.requests));
        assert(QTAILQ_EMPTY(&p->waiters));
        timer_free(p->flush_timer);
        g_free(p->reason);
        g_free(p);
    }
}

/* All connections of the nodes below @bs: their requests fail at once */
static void shut_down(BlockDriverState *bs)
{
    YankInstanceList list = { .value = BLOCKDEV_YANK_INSTANCE(bs->node_name) };
    Error *err = NULL;
    BdrvChild *child;

    qmp_yank(&list, &err);
    error_free(err);            /* a node without a connection */
    if (qemu_in_main_thread()) {
        bdrv_cancel_in_flight(bs);
    }
    QLIST_FOREACH(child, &bs->children, next) {
        shut_down(child->bs);
    }
}

void repl_primary_abandon(BDRVReplicationState *s, bool lost)
{
    repl_send_drop_waiting(s);
    /* To close the node flushes the one below, which would wait for ever */
    if (lost) {
        shut_down(s->bs->file->bs);
    }
    repl_room_wake(s);
}

void repl_primary_lost(BDRVReplicationState *s, const char *reason)
{
    if (repl_event(s->role, &s->stage, REPL_LOST, NULL) != REPL_DO) {
        return;
    }
    s->primary->reason = g_strdup(reason);
    qapi_event_send_replication_broken(s->bs->node_name, reason,
                                       replication_epoch());
    repl_primary_abandon(s, true);
}

const char *repl_primary_reason(BDRVReplicationState *s)
{
    return s->primary->reason ?: "unknown";
}

/*
 * A node that is attached and not yet started sends as well: the secondary's
 * guest does not run yet, and the disks stay equal.
 */
bool repl_primary_accepts(BDRVReplicationState *s)
{
    return s->stage == REPL_IDLE || s->stage == REPL_RUNNING;
}

static void count_for_epoch(ReplPrimary *p, int64_t bytes)
{
    uint64_t before;

    if (p->epoch != replication_epoch()) {
        p->epoch = replication_epoch();
        p->epoch_bytes = 0;
    }
    before = p->epoch_bytes;
    p->epoch_bytes += bytes + REQUEST_COST;
    if (before < EPOCH_BYTES && p->epoch_bytes >= EPOCH_BYTES) {
        replication_ask_for_checkpoint();
    }
}

/* A request of the guest that waits for room; on the stack of its coroutine */
typedef struct ReplWaiter {
    QTAILQ_ENTRY(ReplWaiter) next;
    Coroutine *co;
    ReplRequestType type;
    int64_t bytes;
    bool woken;                 /* it will run, and then wake up the next one */
} ReplWaiter;

/* It takes no room, whoever else waits for some */
static bool needs_no_room(BDRVReplicationState *s, ReplRequestType type)
{
    return !repl_primary_accepts(s) ||
           (type == REPL_FLUSH && repl_flush_later(s));
}

/*
 * First come, first served: else what is large would wait for as long as there is
 * something small.  One at a time, for each takes room when it runs, which may be
 * later, or in another thread.
 */
void repl_room_wake(BDRVReplicationState *s)
{
    ReplPrimary *p = s->primary;
    ReplWaiter *w;
    bool first = true;

    QTAILQ_FOREACH(w, &p->waiters, next) {
        if (!w->woken && (needs_no_room(s, w->type) ||
                          (first && repl_queue_has_room(&p->queue, w->bytes)))) {
            w->woken = true;
            aio_co_wake(w->co);
            return;
        }
        first = false;
    }
}

/* False: the secondary is lost, or replication has ended */
static bool coroutine_fn wait_for_room(BDRVReplicationState *s,
                                       ReplRequestType type, int64_t bytes)
{
    ReplPrimary *p = s->primary;
    ReplWaiter w = { .co = qemu_coroutine_self(), .type = type, .bytes = bytes };

    if (!needs_no_room(s, type) && (!QTAILQ_EMPTY(&p->waiters) ||
                                    !repl_queue_has_room(&p->queue, bytes))) {
        QTAILQ_INSERT_TAIL(&p->waiters, &w, next);
        do {
            w.woken = false;
            qemu_coroutine_yield();
        } while (!needs_no_room(s, type) &&
                 !repl_queue_has_room(&p->queue, bytes));
        QTAILQ_REMOVE(&p->waiters, &w, next);
    }
    p->dropped += !repl_primary_accepts(s);
    return repl_primary_accepts(s);
}

/* With a copy of the data, if it has any */
static ReplRequest *new_request(BDRVReplicationState *s, ReplRequest like,
                                QEMUIOVector *qiov, size_t qiov_offset)
{
    ReplRequest *r;

    if (like.type == REPL_WRITE && like.bytes) {
        like.data = qemu_try_blockalign(s->bs->file->bs, like.bytes);
        if (!like.data) {
            repl_primary_lost(s, "no memory for a write to the secondary");
            return NULL;
        }
        qemu_iovec_to_buf(qiov, qiov_offset, like.data, like.bytes);
    }
    r = g_new(ReplRequest, 1);
    *r = like;
    return r;
}

/* Is a flush, if this is one, done with?  It is owed, or a write is it as well */
static bool flush_is_spared(BDRVReplicationState *s, ReplRequestType type,
                            BdrvRequestFlags *flags)
{
    ReplPrimary *p = s->primary;

    if (repl_flush_later(s) && (type == REPL_FLUSH || *flags & BDRV_REQ_FUA)) {
        repl_flush_owe(s);
        *flags &= ~BDRV_REQ_FUA;
        return type == REPL_FLUSH;
    }
    if (type == REPL_FLUSH && !p->owed &&
        repl_queue_flush_with_write(&p->queue)) {
        repl_send_next(s);
        return true;
    }
    return false;
}

static int coroutine_fn submit(BDRVReplicationState *s, ReplRequest like,
                               QEMUIOVector *qiov, size_t qiov_offset)
{
    ReplPrimary *p = s->primary;
    /* Not yet a replica: that this is sent all the same is for the disks */
    int ret = s->stage == REPL_IDLE && like.type != REPL_FLUSH ? -EIO : 0;
    ReplRequest *r;

    if (!wait_for_room(s, like.type, like.bytes)) {
        return -EIO;
    }
    if (flush_is_spared(s, like.type, &like.flags)) {
        return ret;
    }
    r = new_request(s, like, qiov, qiov_offset);
    if (!r) {
        return -EIO;
    }
    if (like.type == REPL_FLUSH) {
        p->owed = false;
    } else {
        count_for_epoch(p, like.bytes);
    }
    repl_send_add(s, r);
    repl_send_soon(s);
    return ret;
}

int coroutine_fn repl_primary_submit(BDRVReplicationState *s,
                                     ReplRequestType type, int64_t offset,
                                     int64_t bytes, QEMUIOVector *qiov,
                                     size_t qiov_offset,
                                     BdrvRequestFlags flags)
{
    ReplRequest like = {
        .opaque = s, .type = type, .offset = offset, .bytes = bytes, .flags = flags,
    };
    int ret = submit(s, like, qiov, qiov_offset);

    /* Each who waits is woken up by one: whatever that did, it passes this on */
    repl_room_wake(s);
    return ret;
}

void repl_primary_settle(BDRVReplicationState *s)
{
    if (!QTAILQ_EMPTY(&s->primary->queue.requests)) {
        bdrv_drain(s->bs);
    }
}

void repl_primary_settle_flushed(BDRVReplicationState *s)
{
    repl_flush_send(s);
    repl_primary_settle(s);
}

/* A quorum whose children differ in size refuses everything, later */
static void check_sizes(BDRVReplicationState *s, Error **errp)
{
    int64_t mine = bdrv_getlength(s->bs);
    BdrvChild *c;

    if (mine < 0) {
        error_setg_errno(errp, -mine, "the secondary's disk ('%s') does not "
                         "tell its size", s->bs->node_name);
        return;
    }
    QLIST_FOREACH(c, &s->bs->parents, next_parent) {
        BlockDriverState *top = c->klass == &child_of_bds ? c->opaque : NULL;
        BdrvChild *other;

        if (!top) {
            continue;
        }
        QLIST_FOREACH(other, &top->children, next) {
            int64_t size = bdrv_getlength(other->bs);

            if (size >= 0 && size != mine) {
                error_setg(errp, "the secondary's disk ('%s') has %" PRId64
                           " bytes, the primary's ('%s') has %" PRId64 ": make "
                           "them equal with qemu-img resize",
                           s->bs->node_name, mine, other->bs->node_name, size);
                return;
            }
        }
    }
}

void repl_primary_start(BDRVReplicationState *s, Error **errp)
{
    ERRP_GUARD();

    check_sizes(s, errp);
    if (!*errp) {
        repl_flush_resume(s);
    }
}

void repl_primary_stats(BDRVReplicationState *s,
                        BlockStatsSpecificReplication *stats)
{
    ReplPrimary *p = s->primary;

    stats->sent_bytes = p->sent_bytes;
    stats->sent_requests = p->sent_requests;
    stats->queued_bytes = p->queue.bytes;
    stats->queued_bytes_peak = p->queue.bytes_peak;
    stats->dropped_requests = p->dropped;
}
