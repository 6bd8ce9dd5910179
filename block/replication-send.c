/*
 * The primary's part: what is queued goes to the secondary
 *
 * Nobody waits for a request but a commit, and each costs both hosts: to be
 * sent, to be woken up, to be answered.  So one is held back for HOLD_NS, for
 * others to go with it, or the flush behind it.  While a checkpoint is due and in
 * drained sections nothing is.
 *
 * What is large takes the kernel a while to copy, and the main loop with the BQL is
 * what the guest waits for when its own disk has answered.  So it is not sent from
 * within a request of the guest, but by a timer after it, while the guest makes use
 * of the answer.
 *
 * Bounds: a request that has not been answered within the time-out, counted from
 * its submission, ends it all: the connection is shut down (yank), what is queued
 * is dropped, and whoever waits goes on.  So does a drained section in which
 * nothing is answered for REPL_DRAIN_MS, or which lasts for REPL_DRAIN_MAX_MS.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/main-loop.h"
#include "qemu/memalign.h"
#include "qemu/units.h"
#include "block/replication-primary.h"

#define DRAIN_GRACE_MS  100     /* see judge() */
#define HOLD_NS         500000
#define HOLD_BYTES      (512 * KiB)
#define HOLD_REQUESTS   8
#define LARGE_BYTES     (64 * KiB)

void repl_send_drop(BDRVReplicationState *s, ReplRequest *r)
{
    ReplPrimary *p = s->primary;

    repl_queue_remove(&p->queue, r);
    qemu_vfree(r->data);
    g_free(r);
    if (QTAILQ_EMPTY(&p->queue.requests)) {
        p->drain_left_ns = p->drain_end - repl_now_ns();
    }
    if (QTAILQ_EMPTY(&p->queue.requests) && p->timer) {
        timer_free(p->timer);
        timer_free(p->hold);
        p->timer = p->hold = NULL;
        p->late = false;
    }
    bdrv_dec_in_flight(s->bs);
}

void repl_send_drop_waiting(BDRVReplicationState *s)
{
    ReplRequest *r, *next;

    QTAILQ_FOREACH_SAFE(r, &s->primary->queue.requests, next, next) {
        if (!r->started) {
            s->primary->dropped++;
            repl_send_drop(s, r);
        }
    }
}

/* The oldest request is another one, or an answer has come */
static void arm(BDRVReplicationState *s)
{
    ReplPrimary *p = s->primary;
    ReplRequest *oldest = QTAILQ_FIRST(&p->queue.requests);
    int64_t deadline;

    if (!oldest) {
        return;
    }
    deadline = oldest->deadline;
    if (p->drains) {
        if (p->late && repl_now_ns() >= p->drain_end) {
            return;     /* this was the last chance */
        }
        deadline = MIN(deadline, MIN(p->drain_deadline, p->drain_end));
    }
    p->late = false;
    timer_mod(p->timer, deadline);
}

/*
 * From now on a drained section waits for the secondary: so long in all, however
 * often there is nothing to wait for in between.
 */
static void begin_to_wait(ReplPrimary *p)
{
    p->late = false;
    p->drain_deadline = repl_now_ns() + REPL_DRAIN_MS * SCALE_MS;
    p->drain_end = repl_now_ns() + p->drain_left_ns;
}

static void answered(BDRVReplicationState *s, bool oldest)
{
    ReplPrimary *p = s->primary;

    if (p->drains) {
        p->drain_deadline = repl_now_ns() + REPL_DRAIN_MS * SCALE_MS;
    }
    if (oldest || p->drains) {
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
        timer_mod(p->timer, repl_now_ns() + grace_ms * (int64_t)SCALE_MS);
        return;
    }
    if (p->drains && p->drain_deadline > p->drain_end) {
        text = g_strdup_printf("the secondary's disk needs more than %u ms in a "
                               "drained section", REPL_DRAIN_MAX_MS);
    } else {
        text = g_strdup_printf("no answer from the secondary's disk for %u ms%s",
                               p->drains ? REPL_DRAIN_MS : p->timeout_ms,
                               p->drains ? " in a drained section" : "");
    }
    repl_primary_lost(s, text);
}

static void timed_out(void *opaque)
{
    BDRVReplicationState *s = opaque;
    AioContext *ctx = bdrv_get_aio_context(s->bs);

    /*
     * A timer is called without, and may be that of an iothread: while this has
     * waited here, the queue may have become empty, or the timer be set anew.
     */
    aio_context_acquire(ctx);
    if (s->primary->timer && !timer_pending(s->primary->timer)) {
        judge(s);
    }
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
    repl_send_drop(s, r);
    answered(s, oldest);
    repl_send_now(s);
    repl_room_wake(s);
    bdrv_dec_in_flight(s->bs);
}

void repl_send_now(BDRVReplicationState *s)
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

void coroutine_fn repl_primary_drain_begin(BDRVReplicationState *s)
{
    ReplPrimary *p = s->primary;

    if (!p->drains++) {
        p->drain_left_ns = REPL_DRAIN_MAX_MS * (int64_t)SCALE_MS;
        begin_to_wait(p);
        arm(s);
        repl_send_now(s);
    }
}

void coroutine_fn repl_primary_drain_end(BDRVReplicationState *s)
{
    if (!--s->primary->drains) {
        arm(s);
    }
}

static void held_long_enough(void *opaque)
{
    BDRVReplicationState *s = opaque;
    AioContext *ctx = bdrv_get_aio_context(s->bs);

    aio_context_acquire(ctx);
    repl_send_now(s);
    aio_context_release(ctx);
}

void repl_send_next(BDRVReplicationState *s)
{
    ReplPrimary *p = s->primary;

    if (p->drains || p->queue.deferring || p->queue.bytes < LARGE_BYTES) {
        repl_send_now(s);
    } else {
        timer_mod(p->hold, repl_now_ns());
    }
}

void repl_send_soon(BDRVReplicationState *s)
{
    ReplPrimary *p = s->primary;
    ReplQueue *q = &p->queue;

    if (p->drains || q->deferring || q->bytes >= HOLD_BYTES ||
        q->count - q->started >= HOLD_REQUESTS) {
        repl_send_next(s);
    } else if (!timer_pending(p->hold)) {
        timer_mod(p->hold, repl_now_ns() + HOLD_NS);
    }
}

void repl_send_add(BDRVReplicationState *s, ReplRequest *r)
{
    ReplPrimary *p = s->primary;

    r->deadline = repl_now_ns() + p->timeout_ms * (int64_t)SCALE_MS;
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
        begin_to_wait(p);
        arm(s);
    }
}
