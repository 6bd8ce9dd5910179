/*
 * The primary's part: the guest's flushes, on the secondary's disk
 *
 * Each is sent, waits for all before it and is waited for.  So the
 * secondary's disk alone, after both hosts or both processes have failed at once
 * (an image may have a part in the memory of its process), is what a disk may be
 * after a power cut.  A secondary that takes over needs none of that: it flushes
 * its disk before its guest's next flush is acknowledged.  With flush=background
 * one is sent for all of the guest's in FLUSH_MS, and no write waits for it;
 * after both have failed, the primary's disk alone then has everything.
 *
 * Before replication starts none is sent at all: the disk is no replica yet, and the
 * drained sections of the start would wait for the platter.  All become one that
 * is owed when both sides have started.  It is no more than any other, whatever was
 * written before: until then the secondary flushes its disk by itself
 * (replication-pace.c).
 *
 * A commit needs the writes, for what outlives a lost primary is the secondary's
 * process; it does not need the flushes, and a platter takes its time.  So for a
 * checkpoint they are deferred (repl_primary_defer()): one that has started is
 * the last, all others become one that is owed, and is sent when the checkpoint
 * is over.  What this gives up: until that one has ended, the secondary's disk
 * alone may have later writes without earlier ones.  The primary's disk has all
 * that its guest has flushed, at any time.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/main-loop.h"
#include "block/replication-primary.h"

#define FLUSH_MS        1000

static bool is_deferring(BDRVReplicationState *s)
{
    return s->primary->queue.deferring || s->stage == REPL_IDLE;
}

/* The node is about to be closed: this is its last flush */
static bool is_closing(BDRVReplicationState *s)
{
    return s->primary->drains && !s->bs->refcnt;
}

bool repl_flush_later(BDRVReplicationState *s)
{
    return (!s->primary->queue.ordered || is_deferring(s)) && !is_closing(s);
}

void repl_flush_send(BDRVReplicationState *s)
{
    ReplPrimary *p = s->primary;
    ReplRequest *r;

    timer_del(p->flush_timer);
    if (!p->owed || !repl_primary_accepts(s)) {
        return;
    }
    p->owed = false;
    r = g_new0(ReplRequest, 1);
    *r = (ReplRequest) { .opaque = s, .type = REPL_FLUSH };
    repl_send_add(s, r);
    repl_send_now(s);
}

static void flush_soon(ReplPrimary *p)
{
    if (!timer_pending(p->flush_timer)) {
        timer_mod(p->flush_timer,
                  qemu_clock_get_ms(QEMU_CLOCK_REALTIME) + FLUSH_MS);
    }
}

/* The guest has been told that something is durable: so it shall be there */
void repl_flush_owe(BDRVReplicationState *s)
{
    s->primary->owed = true;
    if (!is_deferring(s)) {
        flush_soon(s->primary);
    }
}

void repl_flush_due(void *opaque)
{
    BDRVReplicationState *s = opaque;
    AioContext *ctx = bdrv_get_aio_context(s->bs);

    aio_context_acquire(ctx);
    if (s->primary->drains) {
        flush_soon(s->primary);
    } else if (!is_deferring(s)) {
        repl_flush_send(s);
    }
    aio_context_release(ctx);
}

static void defer(BDRVReplicationState *s)
{
    ReplPrimary *p = s->primary;
    ReplRequest *r;

    while ((r = repl_queue_defer(&p->queue, &p->owed))) {
        repl_send_drop(s, r);
    }
    /* Some may have waited for one of these, or for one under way */
    repl_send_now(s);
    repl_room_wake(s);
}

void repl_flush_resume(BDRVReplicationState *s)
{
    ReplPrimary *p = s->primary;

    if (is_deferring(s)) {
        return;
    }
    if (p->queue.ordered) {
        repl_flush_send(s);
    } else if (p->owed) {
        flush_soon(p);
    }
}

static void resume(BDRVReplicationState *s)
{
    repl_queue_resume(&s->primary->queue);
    repl_flush_resume(s);
    repl_room_wake(s);
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
