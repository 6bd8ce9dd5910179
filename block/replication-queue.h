/*
 * The primary's queue to the secondary's disk: what may start when (pure)
 *
 * Requests start in the order in which they were added, so many at once as an
 * NBD client has in flight.  One that overlaps an earlier one waits for its
 * end.  A flush waits for all before it; where flushes are @ordered, all behind
 * wait for it, too.  A flush for a single write becomes a part of that.
 *
 * While flushes are deferred, see repl_queue_defer(), none is in the queue but those
 * that had started, for which nobody waits; and the queue has less room, so
 * that it soon is short.
 *
 * No I/O, no locks: the caller runs in the AioContext of the node, or is a test.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef BLOCK_REPLICATION_QUEUE_H
#define BLOCK_REPLICATION_QUEUE_H

#include "block/block.h"
#include "qemu/queue.h"
#include "qemu/units.h"

#define REPL_QUEUE_BYTES        (16 * MiB)
#define REPL_QUEUE_REQUESTS     256
#define REPL_QUEUE_STARTED      16
/* Of these while flushes are deferred: 2 ms at 1 Gbit/s */
#define REPL_QUEUE_BYTES_DEFERRED   (256 * KiB)

/* One guest request, as the parts pass it on */
typedef enum ReplRequestType {
    REPL_WRITE, REPL_ZEROES, REPL_DISCARD, REPL_FLUSH,
} ReplRequestType;

/* Belongs to whoever adds and removes it; all in bytes */
typedef struct ReplRequest {
    QTAILQ_ENTRY(ReplRequest) next;
    ReplRequestType type;
    int64_t offset, bytes;
    BdrvRequestFlags flags;
    void *data;                 /* REPL_WRITE: the caller's */
    int64_t deadline;           /* the caller's */
    void *opaque;               /* the caller's */
    bool started;
    bool with_flush;            /* it is the flush behind it as well */
} ReplRequest;

typedef struct ReplQueue {
    QTAILQ_HEAD(, ReplRequest) requests;    /* as they were added */
    unsigned count, started, started_flushes;
    uint64_t bytes, bytes_peak;
    bool ordered, deferring;
    /* All that was ever added is flushed when those in the queue have ended... */
    bool clean;
    ReplRequest *single;                    /* ... but for this one; or NULL */
} ReplQueue;

void repl_queue_init(ReplQueue *q, bool ordered);

/*
 * Whether a request of so many bytes may be added; one always may.  Zeroes and
 * discards count like data: the secondary has to copy what they replace.
 */
bool repl_queue_has_room(const ReplQueue *q, int64_t bytes);

void repl_queue_add(ReplQueue *q, ReplRequest *r);
void repl_queue_remove(ReplQueue *q, ReplRequest *r);

/*
 * The guest flushes: is there one write only that this is about, not started
 * yet?  Then it will be answered when it is durable, which BDRV_REQ_FUA does, and
 * there is no need to add a flush.
 */
bool repl_queue_flush_with_write(ReplQueue *q);

/*
 * The next request that may start, or NULL; it counts as started until it is
 * removed.
 */
ReplRequest *repl_queue_next(ReplQueue *q);

/*
 * Defer flushes: returns one that has not started, for the caller to remove;
 * call it until it returns NULL.  Sets *@owed where there is such a flush, or a
 * request has lost its BDRV_REQ_FUA.
 */
ReplRequest *repl_queue_defer(ReplQueue *q, bool *owed);
void repl_queue_resume(ReplQueue *q);

/*
 * Nothing is under way that waits for a platter, and what else there is takes
 * no longer than REPL_QUEUE_BYTES_DEFERRED.
 */
bool repl_queue_is_short(const ReplQueue *q);

#endif
