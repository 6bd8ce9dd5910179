/*
 * The primary's queue to the secondary's disk: what may start when (pure)
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "block/replication-queue.h"

void repl_queue_init(ReplQueue *q, bool ordered)
{
    *q = (ReplQueue) { .ordered = ordered };
    QTAILQ_INIT(&q->requests);
}

bool repl_queue_has_room(const ReplQueue *q, int64_t bytes)
{
    uint64_t max = q->deferring ? REPL_QUEUE_BYTES_DEFERRED : REPL_QUEUE_BYTES;

    return !q->count ||
           (q->count < REPL_QUEUE_REQUESTS && q->bytes + bytes <= max);
}

static void account_added(ReplQueue *q, ReplRequest *r)
{
    if (r->type == REPL_FLUSH) {
        q->clean = true;
        q->single = NULL;
    } else {
        q->single = q->clean ? r : NULL;
        q->clean = false;
    }
}

/* What was, or would have been, durable with an earlier flush is not */
static void account_unflushed(ReplQueue *q)
{
    q->clean = false;
    q->single = NULL;
}

void repl_queue_add(ReplQueue *q, ReplRequest *r)
{
    account_added(q, r);
    QTAILQ_INSERT_TAIL(&q->requests, r, next);
    q->count++;
    q->bytes += r->bytes;
    q->bytes_peak = MAX(q->bytes_peak, q->bytes);
}

/* Does the secondary answer it only when its platter has it? */
static bool is_durable(const ReplRequest *r)
{
    return r->type == REPL_FLUSH || r->flags & BDRV_REQ_FUA;
}

void repl_queue_remove(ReplQueue *q, ReplRequest *r)
{
    QTAILQ_REMOVE(&q->requests, r, next);
    if (q->single == r) {
        q->single = NULL;
    }
    q->count--;
    q->bytes -= r->bytes;
    if (r->started) {
        q->started--;
        q->started_flushes -= is_durable(r);
    }
}

bool repl_queue_flush_with_write(ReplQueue *q)
{
    ReplRequest *r = q->single;

    if (!r || r->started || !q->ordered || q->deferring ||
        r->type == REPL_DISCARD) {
        return false;
    }
    r->flags |= BDRV_REQ_FUA;
    r->with_flush = true;
    q->clean = true;
    q->single = NULL;
    return true;
}

static bool is_flush(const ReplRequest *r)
{
    return r->type == REPL_FLUSH || r->with_flush;
}

static bool overlap(const ReplRequest *a, const ReplRequest *b)
{
    return a->offset < b->offset + b->bytes && b->offset < a->offset + a->bytes;
}

/* May @r start, with those before it still there? */
static bool may_start(const ReplQueue *q, const ReplRequest *r)
{
    const ReplRequest *before;

    if (q->started >= REPL_QUEUE_STARTED) {
        return false;
    }
    QTAILQ_FOREACH(before, &q->requests, next) {
        if (before == r) {
            return true;
        }
        if (r->type == REPL_FLUSH || overlap(before, r) ||
            (is_flush(before) && q->ordered && !q->deferring)) {
            return false;
        }
    }
    return true;
}

ReplRequest *repl_queue_next(ReplQueue *q)
{
    ReplRequest *r;

    QTAILQ_FOREACH(r, &q->requests, next) {
        if (!r->started) {
            if (!may_start(q, r)) {
                return NULL;
            }
            r->started = true;
            q->started++;
            q->started_flushes += is_durable(r);
            return r;
        }
    }
    return NULL;
}

ReplRequest *repl_queue_defer(ReplQueue *q, bool *owed)
{
    ReplRequest *r;

    q->deferring = true;
    QTAILQ_FOREACH(r, &q->requests, next) {
        if (r->started || !is_durable(r)) {
            continue;
        }
        *owed = true;
        account_unflushed(q);
        r->flags &= ~BDRV_REQ_FUA;
        r->with_flush = false;
        if (r->type == REPL_FLUSH) {
            return r;
        }
    }
    return NULL;
}

void repl_queue_resume(ReplQueue *q)
{
    q->deferring = false;
}

bool repl_queue_is_short(const ReplQueue *q)
{
    return !q->started_flushes && q->bytes <= REPL_QUEUE_BYTES_DEFERRED;
}
