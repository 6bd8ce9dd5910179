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
 * Order: that of replication-queue.h.
 *
 * Nobody waits for a request but a commit, and each costs both hosts: to be
 * sent, to be woken up, to be answered.  So a small one is held back for HOLD_NS,
 * for others to go with it, or the flush behind it.  While a checkpoint is due
 * and in drained sections nothing is.
 *
 * Flushes: each is sent, waits for all before it and is waited for.  So the
 * secondary's disk alone, after both hosts or both processes have failed at once
 * (an image may have a part in the memory of its process), is what a disk may be
 * after a power cut.  A secondary that takes over needs none of that: it flushes
 * its disk before its guest's next flush is acknowledged.  With flush=background
 * one is sent for all of the guest's in FLUSH_MS, and no write waits for it;
 * after both have failed, the primary's disk alone then has everything.
 *
 * A commit needs the writes, for what outlives a lost primary is the secondary's
 * process; it does not need the flushes, and a platter takes its time.  So for a
 * checkpoint they are deferred (repl_primary_defer()): one that has started is
 * the last, all others become one that is owed, and is sent when the checkpoint
 * is over.  What this gives up: until that one has ended, the secondary's disk
 * alone may have later writes without earlier ones.  The primary's disk has all
 * that its guest has flushed, at any time.
 *
 * Bounds: those of the queue; a request that has not been answered within the
 * time-out, counted from its submission, ends it all: the connection is shut
 * down (yank), what is queued is dropped, and whoever waits goes on.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/memalign.h"
#include "qemu/main-loop.h"
#include "qemu/timer.h"
#include "qemu/units.h"
#include "qemu/yank.h"
#include "qapi/error.h"
#include "qapi/qapi-commands-yank.h"
#include "qapi/qapi-events-colo-disk.h"
#include "block/replication-int.h"

/*
 * A drained section waits with the BQL, and QMP with it.  The engine waits for
 * the queue with the main loop running, before it drains.
 */
#define DRAIN_MS        700
#define DRAIN_GRACE_MS  100     /* see timed_out() */
#define FLUSH_MS        1000
#define HOLD_NS         500000
#define HOLD_BYTES      (64 * KiB)
#define HOLD_REQUESTS   8
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

struct ReplPrimary {
    uint32_t timeout_ms;
    ReplQueue queue;            /* @opaque of each: BDRVReplicationState */
    CoQueue room;
    QEMUTimer *timer;           /* runs while there are requests */
    QEMUTimer *hold;            /* exists while there are; see HOLD_NS */
    bool late;                  /* it has expired once for the oldest one */
    int drains;                 /* drained sections */
    int64_t drain_deadline;     /* of the first of these; as in ReplRequest */
    bool starting;              /* start_requests() is on the stack */
    bool owed;                  /* a flush: the guest was told of it */
    QEMUTimer *flush_timer;     /* of the main loop: when to send that */
    char *reason;               /* why the secondary was lost */
    uint64_t sent_bytes, sent_requests, dropped;
    uint64_t epoch, epoch_bytes;        /* of this epoch, costs included */
};

static void flush_due(void *opaque);

ReplPrimary *repl_primary_new(BDRVReplicationState *s, uint32_t timeout_ms,
                              bool ordered)
{
    ReplPrimary *p = g_new0(ReplPrimary, 1);

    p->timeout_ms = timeout_ms;
    p->flush_timer = aio_timer_new(qemu_get_aio_context(), QEMU_CLOCK_REALTIME,
                                   SCALE_MS, flush_due, s);
    repl_queue_init(&p->queue, ordered);
    qemu_co_queue_init(&p->room);
    return p;
}

void repl_primary_free(ReplPrimary *p)
{
    if (p) {
        assert(QTAILQ_EMPTY(&p->queue.requests));
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

static void wake_waiting(ReplPrimary *p)
{
    qemu_co_enter_next(&p->room, NULL);
}

static void forget(BDRVReplicationState *s, ReplRequest *r)
{
    ReplPrimary *p = s->primary;

    repl_queue_remove(&p->queue, r);
    qemu_vfree(r->data);
    g_free(r);
    if (QTAILQ_EMPTY(&p->queue.requests) && p->timer) {
        timer_free(p->timer);
        timer_free(p->hold);
        p->timer = p->hold = NULL;
    }
    bdrv_dec_in_flight(s->bs);
}

static void drop_waiting(BDRVReplicationState *s)
{
    ReplRequest *r, *next;

    QTAILQ_FOREACH_SAFE(r, &s->primary->queue.requests, next, next) {
        if (!r->started) {
            s->primary->dropped++;
            forget(s, r);
        }
    }
}

void repl_primary_abandon(BDRVReplicationState *s, bool lost)
{
    drop_waiting(s);
    /* To close the node flushes the one below, which would wait for ever */
    if (lost) {
        shut_down(s->bs->file->bs);
    }
    wake_waiting(s->primary);
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

static int64_t now_ns(void)
{
    return qemu_clock_get_ns(QEMU_CLOCK_REALTIME);
}

static void arm(BDRVReplicationState *s)
{
    ReplPrimary *p = s->primary;
    ReplRequest *oldest = QTAILQ_FIRST(&p->queue.requests);

    if (!p->drains) {
        p->late = false;
    }
    if (oldest && !p->late) {
        timer_mod(p->timer, p->drains ? MIN(oldest->deadline, p->drain_deadline)
                                      : oldest->deadline);
    }
}

static void start_requests(BDRVReplicationState *s);

void coroutine_fn repl_primary_drain_begin(BDRVReplicationState *s)
{
    ReplPrimary *p = s->primary;

    if (!p->drains++) {
        p->late = false;
        p->drain_deadline = now_ns() + DRAIN_MS * SCALE_MS;
        arm(s);
        start_requests(s);
    }
}

void coroutine_fn repl_primary_drain_end(BDRVReplicationState *s)
{
    if (!--s->primary->drains) {
        arm(s);
    }
}

/*
 * If this process itself stood still, the answer may be there, unread: give it
 * another chance before the judgement.
 */
static void judge(BDRVReplicationState *s)
{
    ReplPrimary *p = s->primary;
    unsigned grace_ms = p->drains ? DRAIN_GRACE_MS : p->timeout_ms / 8;
    g_autofree char *text = NULL;

    if (!p->late) {
        p->late = true;
        timer_mod(p->timer, now_ns() + grace_ms * (int64_t)SCALE_MS);
        return;
    }
    text = g_strdup_printf("no answer from the secondary's disk for %u ms%s",
                           p->drains ? DRAIN_MS : p->timeout_ms,
                           p->drains ? " in a drained section" : "");
    repl_primary_lost(s, text);
}

static void timed_out(void *opaque)
{
    BDRVReplicationState *s = opaque;
    AioContext *ctx = bdrv_get_aio_context(s->bs);

    /* A timer is called without, and may be that of an iothread */
    aio_context_acquire(ctx);
    judge(s);
    aio_context_release(ctx);
}

static int coroutine_fn perform(ReplRequest *r)
{
    BDRVReplicationState *s = r->opaque;
    BdrvChild *child = s->bs->file;
    QEMUIOVector qiov = QEMU_IOVEC_INIT_BUF(qiov, r->data, r->bytes);

    switch (r->type) {
    case REPL_WRITE:
        return bdrv_co_pwritev(child, r->offset, r->bytes, &qiov, r->flags);
    case REPL_ZEROES:
        return bdrv_co_pwrite_zeroes(child, r->offset, r->bytes, r->flags);
    case REPL_DISCARD:
        return bdrv_co_pdiscard(child, r->offset, r->bytes);
    case REPL_FLUSH:
        return bdrv_co_flush(child->bs);
    }
    return -EINVAL;
}

static void coroutine_fn request_entry(void *opaque)
{
    ReplRequest *r = opaque;
    BDRVReplicationState *s = r->opaque;
    ReplPrimary *p = s->primary;
    bool oldest = r == QTAILQ_FIRST(&p->queue.requests);
    int ret = perform(r);

    if (ret < 0) {
        static const char *const what[] = { "write", "zeroes", "discard",
                                            "flush" };
        g_autofree char *text =
            g_strdup_printf("%s on the secondary's disk: %s", what[r->type],
                            strerror(-ret));

        p->dropped++;
        repl_primary_lost(s, text);
    } else {
        p->sent_requests++;
        p->sent_bytes += r->bytes;
    }
    oldest = oldest || r == QTAILQ_FIRST(&p->queue.requests);
    /* The last thing that may end a drained section: keep the node until then */
    bdrv_inc_in_flight(s->bs);
    forget(s, r);
    if (oldest) {
        arm(s);
    }
    start_requests(s);
    wake_waiting(p);
    bdrv_dec_in_flight(s->bs);
}

static void start_requests(BDRVReplicationState *s)
{
    ReplPrimary *p = s->primary;
    ReplRequest *r;

    if (p->starting) {
        return;     /* the loop below, further up on the stack, goes on */
    }
    p->starting = true;
    if (p->hold) {
        timer_del(p->hold);
    }
    while ((r = repl_queue_next(&p->queue))) {
        bdrv_coroutine_enter(s->bs, qemu_coroutine_create(request_entry, r));
    }
    p->starting = false;
}

static void held_long_enough(void *opaque)
{
    BDRVReplicationState *s = opaque;
    AioContext *ctx = bdrv_get_aio_context(s->bs);

    aio_context_acquire(ctx);
    start_requests(s);
    aio_context_release(ctx);
}

/* Start what may start now, or soon, if more may come to go with it */
static void start_or_hold(BDRVReplicationState *s)
{
    ReplPrimary *p = s->primary;
    ReplQueue *q = &p->queue;

    if (p->drains || q->deferring || q->bytes >= HOLD_BYTES ||
        q->count - q->started >= HOLD_REQUESTS) {
        start_requests(s);
    } else if (!timer_pending(p->hold)) {
        timer_mod(p->hold, now_ns() + HOLD_NS);
    }
}

static void enqueue(BDRVReplicationState *s, ReplRequest *r)
{
    ReplPrimary *p = s->primary;

    r->deadline = now_ns() + p->timeout_ms * (int64_t)SCALE_MS;
    bdrv_inc_in_flight(s->bs);
    if (!p->timer) {
        AioContext *ctx = bdrv_get_aio_context(s->bs);

        p->timer = aio_timer_new(ctx, QEMU_CLOCK_REALTIME, SCALE_NS, timed_out,
                                 s);
        p->hold = aio_timer_new(ctx, QEMU_CLOCK_REALTIME, SCALE_NS,
                                held_long_enough, s);
    }
    repl_queue_add(&p->queue, r);
    if (p->queue.count == 1) {
        arm(s);
    }
}

/*
 * A node that is attached and not yet started sends as well: the secondary's
 * guest does not run yet, and the disks stay equal.
 */
static bool accepts(BDRVReplicationState *s)
{
    return s->stage == REPL_IDLE || s->stage == REPL_RUNNING;
}

/* Sends what is owed, if anything is */
static void send_flush(BDRVReplicationState *s)
{
    ReplPrimary *p = s->primary;
    ReplRequest *r;

    timer_del(p->flush_timer);
    if (!p->owed || !accepts(s)) {
        return;
    }
    p->owed = false;
    r = g_new0(ReplRequest, 1);
    *r = (ReplRequest) { .opaque = s, .type = REPL_FLUSH };
    enqueue(s, r);
    start_requests(s);
}

static void flush_soon(ReplPrimary *p)
{
    if (!timer_pending(p->flush_timer)) {
        timer_mod(p->flush_timer,
                  qemu_clock_get_ms(QEMU_CLOCK_REALTIME) + FLUSH_MS);
    }
}

/* The guest has been told that something is durable: so it shall be there */
static void owe_flush(ReplPrimary *p)
{
    p->owed = true;
    if (!p->queue.deferring) {
        flush_soon(p);
    }
}

static void flush_due(void *opaque)
{
    BDRVReplicationState *s = opaque;
    AioContext *ctx = bdrv_get_aio_context(s->bs);

    aio_context_acquire(ctx);
    if (s->primary->drains) {
        flush_soon(s->primary);
    } else if (!s->primary->queue.deferring) {
        send_flush(s);
    }
    aio_context_release(ctx);
}

static void defer(BDRVReplicationState *s)
{
    ReplPrimary *p = s->primary;
    ReplRequest *r;

    while ((r = repl_queue_defer(&p->queue, &p->owed))) {
        forget(s, r);
    }
    /* Some may have waited for one of these, or for one under way */
    start_requests(s);
}

static void resume(BDRVReplicationState *s)
{
    ReplPrimary *p = s->primary;

    repl_queue_resume(&p->queue);
    if (p->queue.ordered) {
        send_flush(s);
    } else if (p->owed) {
        flush_soon(p);
    }
    wake_waiting(p);
}

void repl_primary_defer(BDRVReplicationState *s, bool deferring)
{
    if (deferring && !s->primary->queue.deferring) {
        defer(s);
    } else if (!deferring && s->primary->queue.deferring) {
        resume(s);
    }
}

bool repl_primary_is_short(BDRVReplicationState *s)
{
    return repl_queue_is_short(&s->primary->queue);
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

/*
 * Is a flush of the guest answered, and owed?  Not in a drained section: there
 * the node is about to be closed, and this is its last one.
 */
static bool flushes_later(ReplPrimary *p)
{
    return (!p->queue.ordered || p->queue.deferring) && !p->drains;
}

int coroutine_fn repl_primary_submit(BDRVReplicationState *s,
                                     ReplRequestType type, int64_t offset,
                                     int64_t bytes, QEMUIOVector *qiov,
                                     size_t qiov_offset,
                                     BdrvRequestFlags flags)
{
    ReplPrimary *p = s->primary;
    int64_t size = type == REPL_WRITE ? bytes : 0;
    /* Not yet a replica: that this is sent all the same is for the disks */
    int ret = s->stage == REPL_IDLE && type != REPL_FLUSH ? -EIO : 0;
    ReplRequest *r;

    while (accepts(s) && !repl_queue_has_room(&p->queue, size) &&
           !(type == REPL_FLUSH && flushes_later(p))) {
        qemu_co_queue_wait(&p->room, NULL);
    }
    if (!accepts(s)) {
        p->dropped++;
        wake_waiting(p);
        return -EIO;
    }
    if (flushes_later(p) && (type == REPL_FLUSH || flags & BDRV_REQ_FUA)) {
        owe_flush(p);
        flags &= ~BDRV_REQ_FUA;
        if (type == REPL_FLUSH) {
            return 0;
        }
    }
    if (type == REPL_FLUSH && !p->owed &&
        repl_queue_flush_with_write(&p->queue)) {
        start_requests(s);
        return ret;
    }
    r = g_new0(ReplRequest, 1);
    *r = (ReplRequest) {
        .opaque = s, .type = type, .offset = offset, .bytes = bytes, .flags = flags,
    };
    if (size) {
        r->data = qemu_try_blockalign(s->bs->file->bs, size);
        if (!r->data) {
            g_free(r);
            repl_primary_lost(s, "no memory for a write to the secondary");
            return -EIO;
        }
        qemu_iovec_to_buf(qiov, qiov_offset, r->data, size);
    }
    if (type == REPL_FLUSH) {
        p->owed = false;
    }
    if (type != REPL_FLUSH) {
        count_for_epoch(p, bytes);
    }
    enqueue(s, r);
    start_or_hold(s);
    if (repl_queue_has_room(&p->queue, 0)) {
        wake_waiting(p);
    }
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
    send_flush(s);
    repl_primary_settle(s);
}

/* A quorum whose children differ in size refuses everything, later */
void repl_primary_start(BDRVReplicationState *s, Error **errp)
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
