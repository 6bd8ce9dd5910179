/*
 * The primary's part, between its own files
 *
 *   replication-primary.c    accept a request, lose the secondary, the end
 *   replication-send.c       what is queued goes to the secondary, in time
 *   replication-flush.c      flushes that the guest was told of, and are owed
 *
 * As everywhere in the driver: all of it in the AioContext of the node, or with it
 * acquired.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef BLOCK_REPLICATION_PRIMARY_H
#define BLOCK_REPLICATION_PRIMARY_H

#include "qemu/timer.h"
#include "block/replication-int.h"

/*
 * A drained section waits with the BQL, and QMP with it.  The engine waits for
 * the queue with the main loop running, before it drains; stop, and the end of
 * the first copy, don't.  So a secondary that answers may take longer than one
 * that is silent, but not for ever.
 */
#define REPL_DRAIN_MS       700     /* without an answer */
#define REPL_DRAIN_MAX_MS   3000    /* in all */

struct ReplPrimary {
    uint32_t timeout_ms;
    ReplQueue queue;            /* @opaque of each: BDRVReplicationState */
    QTAILQ_HEAD(, ReplWaiter) waiters;      /* for room, as they came */
    QEMUTimer *timer;           /* runs while there are requests */
    QEMUTimer *hold;            /* exists while there are; see HOLD_NS */
    bool late;                  /* it has expired once for the oldest one */
    int drains;                 /* drained sections */
    /* In these: for the next answer, for the last one; as in ReplRequest */
    int64_t drain_deadline, drain_end;
    int64_t drain_left_ns;      /* until the latter, when the queue was empty last */
    bool starting;              /* repl_send_now() is on the stack */
    bool owed;                  /* a flush: the guest was told of it */
    QEMUTimer *flush_timer;     /* of the main loop: when to send that */
    char *reason;               /* why the secondary was lost */
    uint64_t sent_bytes, sent_requests, dropped;
    uint64_t epoch, epoch_bytes;        /* of this epoch, costs included */
};

static inline int64_t repl_now_ns(void)
{
    return qemu_clock_get_ns(QEMU_CLOCK_REALTIME);
}

/* Does the secondary's disk get what the guest writes? */
bool repl_primary_accepts(BDRVReplicationState *s);

/* There may be room in the queue, or no hope for any: who is the next goes on. */
void repl_room_wake(BDRVReplicationState *s);

/* Takes @r, which counts as one in flight of the node; starts nothing yet */
void repl_send_add(BDRVReplicationState *s, ReplRequest *r);
/*
 * Start what may start: at once; when what runs now has returned, if it is much; or
 * in HOLD_NS, if more may come to go with it
 */
void repl_send_now(BDRVReplicationState *s);
void repl_send_next(BDRVReplicationState *s);
void repl_send_soon(BDRVReplicationState *s);
/* Frees one, or all that have not started. */
void repl_send_drop(BDRVReplicationState *s, ReplRequest *r);
void repl_send_drop_waiting(BDRVReplicationState *s);

/* Is a flush of the guest answered, and owed? */
bool repl_flush_later(BDRVReplicationState *s);
void repl_flush_owe(BDRVReplicationState *s);
/* Nothing defers flushes any more: send what is owed, or soon. */
void repl_flush_resume(BDRVReplicationState *s);
/* Send what is owed, if anything is. */
void repl_flush_send(BDRVReplicationState *s);
/* The timer for that; @opaque: BDRVReplicationState */
void repl_flush_due(void *opaque);

#endif
