/*
 * Whoever replicates a disk, and whoever runs the checkpoints
 *
 * A block driver that takes part in replication registers each of its nodes
 * here.  The engine that runs the checkpoints does not know the nodes; what it
 * asks for concerns all of them.
 *
 *     engine                      replication.c           block driver
 *     replication_start_all() ---------------------> ops->start() of each
 *     replication_get_error_all() -----------------> ops->get_error()
 *     replication_do_checkpoint_all() --> 1. ops->prepare() of each,
 *                                         2. ops->checkpoint() of each
 *     replication_stop_all() ----------------------> ops->stop()
 *     replication_defer_flushes_all() -------------> ops->defer_flushes()
 *     replication_is_short_all() ------------------> ops->is_short()
 *
 * All functions are called with the BQL held, in any thread, unless said otherwise.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef REPLICATION_H
#define REPLICATION_H

#include "qapi/qapi-types-block-core.h"
#include "qemu/queue.h"

typedef struct ReplicationOps ReplicationOps;
typedef struct ReplicationState ReplicationState;

/* One node; @opaque is the driver's. */
struct ReplicationState {
    void *opaque;
    ReplicationOps *ops;
    QLIST_ENTRY(ReplicationState) node;
};

/* Any of these may be NULL: there is nothing to be done then. */
struct ReplicationOps {
    void (*start)(ReplicationState *rs, ReplicationMode mode, Error **errp);
    void (*stop)(ReplicationState *rs, bool failover, Error **errp);
    /* Whether @checkpoint, called next, will succeed */
    void (*prepare)(ReplicationState *rs, Error **errp);
    void (*checkpoint)(ReplicationState *rs, Error **errp);
    void (*get_error)(ReplicationState *rs, Error **errp);
    void (*defer_flushes)(ReplicationState *rs, bool deferring);
    bool (*is_short)(ReplicationState *rs);
};

/* @ops and @opaque have to live until replication_remove(), which frees @rs. */
ReplicationState *replication_new(void *opaque, ReplicationOps *ops);
void replication_remove(ReplicationState *rs);

/*
 * Replication begins, with the guest stopped.  If one node refuses, those which
 * had started are stopped again.
 */
void replication_start_all(ReplicationMode mode, Error **errp);

/*
 * Commit, with both guests stopped: the secondary's overlays are emptied, all
 * of them or, where one node cannot, none.  On the primary this makes sure that
 * everything has reached the secondary.
 */
void replication_do_checkpoint_all(Error **errp);

/*
 * Is what one side has written complete on the other?  The primary waits, not
 * longer than its time-out, for what is under way.  An error means that the
 * pair is lost, and must not commit.
 */
void replication_get_error_all(Error **errp);

/*
 * The primary is about to make a checkpoint, or has made it: meanwhile what its
 * guest flushes is not flushed on the secondary's platter, but owed, and flushed
 * afterwards, in one.  On the secondary, whose disks flush by themselves until
 * replication starts: it is about to start.  Waits for nothing.
 */
void replication_defer_flushes_all(bool deferring);

/*
 * With flushes deferred: nothing takes long any more of what the secondary's
 * disks have to do before a commit.  Stays so, but for one large request.  On the
 * secondary: none of its own flushes is under way.
 */
bool replication_is_short_all(void);

/*
 * Replication ends.  With @failover the secondary keeps what its guest sees,
 * and the primary gives up its peer at once; without it the secondary's
 * overlays are thrown away.  All nodes are stopped, whichever refuses; the first
 * refusal is returned.
 */
void replication_stop_all(bool failover, Error **errp);

/*
 * The number of the current epoch: 1 after the start, one more with each
 * checkpoint, 0 while nothing replicates.  Any thread.
 */
uint64_t replication_epoch(void);

/*
 * The primary's guest has written so much in this epoch that a checkpoint should
 * come: calls what the engine has set, if any.  Any thread; it must not block.
 */
void replication_ask_for_checkpoint(void);
void replication_set_asked(void (*func)(void));

/*
 * Does @bs accept a write when it is only queued for the other host?  Then its
 * success means no copy yet.  In the AioContext of @bs.
 */
#ifdef CONFIG_REPLICATION
bool replication_only_queues(BlockDriverState *bs);
#else
static inline bool replication_only_queues(BlockDriverState *bs)
{
    return false;
}
#endif

#endif
