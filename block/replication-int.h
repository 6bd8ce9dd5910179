/*
 * The parts of the replication driver, and what they share
 *
 *   replication.c            the BlockDriver: children, the role's part
 *   replication-options.c    its options
 *   replication-primary.c    P: accept what the guest writes; the secondary is lost
 *   replication-send.c       P: to the secondary, within a time
 *   replication-flush.c      P: flushes that are owed there
 *   replication-queue.c      (pure) P: in what order, and how much at once
 *   replication-secondary.c  S: what the guest sees, commit, failover
 *   replication-chain.c      S: nodes that are taken at the start, and given back
 *   replication-pace.c       S: its disk is flushed now and then, before the start
 *   replication-hold.c       S: the filter on the parent disk, first-touch copy
 *   replication-export.c     S: cut the exports of the disk, in QEMU only
 *   replication-merge.c      S: overlays into the parent after failover
 *   replication-overlay.c    S: a run of the disk into a layer
 *   replication-store.c      S: where overlay data lie: images, or RAM and a file
 *   replication-map.c        (pure) S: what is where
 *   replication-state.c      (pure) what may happen in which state
 *
 * Everything runs in the AioContext of the node, or with it acquired.  Nothing
 * is locked otherwise: between two yields a coroutine is alone.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef BLOCK_REPLICATION_INT_H
#define BLOCK_REPLICATION_INT_H

#include "block/block_int.h"
#include "block/replication.h"
#include "block/reqlist.h"
#include "qemu/coroutine.h"
#include "qemu/ratelimit.h"
#include "block/replication-map.h"
#include "block/replication-queue.h"
#include "block/replication-state.h"

#define REPL_OPT_MODE       "mode"
#define REPL_OPT_TOP_ID     "top-id"

/*
 * Zeroes and discards of the primary, in one request: what they replace the
 * secondary has to read and to write elsewhere, within the time-out.
 */
#define REPL_ZEROES_MAX     (4 * MiB)

typedef struct ReplStore ReplStore;
typedef struct ReplPrimary ReplPrimary;
typedef struct ReplPace ReplPace;

/* How much RAM the stores of a node share, and where the rest goes */
typedef struct ReplBudget {
    uint64_t limit, used;       /* bytes */
    bool exhausted;             /* once; see replication-store.c */
    char *directory;            /* NULL: no spilling */
    int fd;                     /* of a file there, without a name; or -1 */
} ReplBudget;

typedef enum ReplGuard {
    REPL_GUARD_NONE,            /* the node, and whoever may */
    REPL_GUARD_CHANGES,         /* these, and the hold filter */
    REPL_GUARD_ON,              /* none but the hold filter */
} ReplGuard;

typedef struct ReplSecondary {
    char *top_id;
    BlockDriverState *top;      /* what it was at the start; to compare only */
    bool in_memory;
    BlockBackend *anchor;       /* until @hold has one: the same as that */
    ReplBudget budget;
    BdrvChild *hidden;          /* NULL if @in_memory */
    BdrvChild *parent;          /* the disk below the hold filter */
    BlockDriverState *hold;     /* the filter; we hold a reference */
    ReplMap *map;
    ReplStore *store[REPL_STORES];
    BlockReqList holds;         /* ranges being copied, from the hold filter */
    BlockReqList merges;        /* clusters being merged or written meanwhile */
    RateLimit limit;
    uint64_t speed;
    Coroutine *merger;          /* the background one */
    QemuCoSleep merger_sleep;
    int drains;                 /* drained sections: @merger keeps away */
    bool release_later;         /* when the drained section has ended */
    ReplPace *pace;             /* flushes of the disk before the start */
    ReplGuard guard;            /* who may write to the parent */
    bool fenced;                /* failed over: nobody writes to the parent */
    uint64_t copied_bytes, copied_requests, checkpoints;
    uint64_t empty_ns, empty_ns_max, merged_bytes;
} ReplSecondary;

typedef struct BDRVReplicationState {
    BlockDriverState *bs;
    ReplRole role;
    ReplStage stage;
    ReplicationState *rs;
    ReplPrimary *primary;       /* REPL_PRIMARY only */
    ReplSecondary sec;          /* REPL_SECONDARY only */
} BDRVReplicationState;

/* Sets up the role's part; false: nothing of it is left. */
bool repl_open_options(BDRVReplicationState *s, QDict *options, Error **errp);

/*
 * primary: accept a request for the secondary.  Returns 0 once it is queued,
 * with the data copied; waits while the queue is full, at most the time-out.
 * -EIO when the secondary is lost, or replication has ended; and before its
 * start, though the request is sent then as well.
 */
ReplPrimary *repl_primary_new(BDRVReplicationState *s, uint32_t timeout_ms,
                              bool ordered);
void repl_primary_free(ReplPrimary *p);
int coroutine_fn repl_primary_submit(BDRVReplicationState *s,
                                     ReplRequestType type, int64_t offset,
                                     int64_t bytes, QEMUIOVector *qiov,
                                     size_t qiov_offset,
                                     BdrvRequestFlags flags);
/* A drained section must not last long, whatever the secondary does. */
void coroutine_fn repl_primary_drain_begin(BDRVReplicationState *s);
void coroutine_fn repl_primary_drain_end(BDRVReplicationState *s);
void repl_primary_start(BDRVReplicationState *s, Error **errp);
/* Wait for the queue to become empty; it does within the time-out. */
void repl_primary_settle(BDRVReplicationState *s);
/*
 * From now on, or no longer, the guest's flushes are answered and owed, and
 * there is less room in the queue; see replication-flush.c.
 */
void repl_primary_defer(BDRVReplicationState *s, bool deferring);
/* Will the queue, with flushes deferred, be empty soon? */
bool repl_primary_is_short(BDRVReplicationState *s);
/* Settle, and the secondary's disk is flushed if that is owed to the guest. */
void repl_primary_settle_flushed(BDRVReplicationState *s);
/* The secondary's disk is not equal any more: why, for the event. */
void repl_primary_lost(BDRVReplicationState *s, const char *reason);
/* Send nothing more; if the secondary is @lost, wait for nothing. */
void repl_primary_abandon(BDRVReplicationState *s, bool lost);
const char *repl_primary_reason(BDRVReplicationState *s);
void repl_primary_stats(BDRVReplicationState *s,
                        BlockStatsSpecificReplication *stats);

/* secondary: what its guest reads and writes; the stage decides where */
int coroutine_fn repl_secondary_read(BDRVReplicationState *s, int64_t offset,
                                     int64_t bytes, QEMUIOVector *qiov,
                                     size_t qiov_offset);
int coroutine_fn repl_secondary_write(BDRVReplicationState *s,
                                      ReplRequestType type, int64_t offset,
                                      int64_t bytes, QEMUIOVector *qiov,
                                      size_t qiov_offset,
                                      BdrvRequestFlags flags);
int coroutine_fn repl_secondary_flush(BDRVReplicationState *s);
/* The options have been read.  If it fails, repl_secondary_close() is due. */
bool repl_secondary_open(BDRVReplicationState *s, Error **errp);
void repl_secondary_start(BDRVReplicationState *s, Error **errp);
/* Before the start: the disk, at the bottom of the chain; NULL if that is too short */
BlockDriverState *repl_secondary_disk(BDRVReplicationState *s);
/* Does the chain above allow a commit? */
void repl_secondary_prepare(BDRVReplicationState *s, Error **errp);
void repl_secondary_checkpoint(BDRVReplicationState *s);
/*
 * A drained section of the node and of the filter, with the parents of both: the
 * guest, and the export.  With images neither is above the other.  To merge, if
 * that is due, begins with its end.
 */
void repl_secondary_quiesce(BDRVReplicationState *s);
void repl_secondary_resume(BDRVReplicationState *s);
/* The stage is the new one; in such a section */
void repl_secondary_stop(BDRVReplicationState *s, bool failover);
/* The overlays have been merged: release them soon. */
void repl_secondary_merged(BDRVReplicationState *s);
/* Give everything back, whatever the stage. */
void repl_secondary_close(BDRVReplicationState *s);
void repl_secondary_stats(BDRVReplicationState *s,
                          BlockStatsSpecificReplication *stats);

/* pace: from now on flush the disk again and again, until replication starts. */
ReplPace *repl_pace_begin(BDRVReplicationState *s);
void repl_pace_end(ReplPace *pace);
/* From now on, or no longer, none is begun.  Is none under way? */
void repl_pace_defer(ReplPace *pace, bool deferring);
bool repl_pace_rests(const ReplPace *pace);
/* Replication has not started after all. */
void repl_pace_again(ReplPace *pace);
/* Has none failed so far? */
bool repl_pace_check(const ReplPace *pace, Error **errp);

/* hold: the filter above @parent; NULL and @errp on failure */
BlockDriverState *repl_hold_insert(BDRVReplicationState *s,
                                   BlockDriverState *parent, Error **errp);
void repl_hold_remove(BlockDriverState *hold);
bool repl_hold_is(BlockDriverState *bs);
/*
 * While @guarded nobody can attach below the filter who would write there: the
 * node itself, which merges later, neither.  To end that does not fail.
 */
bool repl_hold_guard(BDRVReplicationState *s, bool guarded, Error **errp);

/*
 * Shut down the NBD exports of @bs: true if there were any.  NULL in programs
 * without exports.  Main loop
 */
extern bool (*repl_cut_exports)(BlockDriverState *bs);

/*
 * merge: begin to merge in the background, from any thread with the BQL; end
 * that when a drained section begins, and begin again after it.
 */
void repl_merge_start(BDRVReplicationState *s);
void coroutine_fn repl_merge_drain_begin(BDRVReplicationState *s);
void coroutine_fn repl_merge_drain_end(BDRVReplicationState *s);
/* Merge all that is left, at once and without a limit.  0 or -errno */
int coroutine_fn repl_merge_all(BDRVReplicationState *s);
/* A write of the guest while merging: to the parent, over the overlays */
int coroutine_fn repl_merge_write(BDRVReplicationState *s,
                                  ReplRequestType type, int64_t offset,
                                  int64_t bytes, QEMUIOVector *qiov,
                                  size_t qiov_offset, BdrvRequestFlags flags);
/* To the parent, as it is; the parts share this. */
int coroutine_fn repl_parent_write(BDRVReplicationState *s,
                                   ReplRequestType type, int64_t offset,
                                   int64_t bytes, QEMUIOVector *qiov,
                                   size_t qiov_offset, BdrvRequestFlags flags);

/*
 * overlay: put what the secondary's guest has written, or old content, into its
 * layer; then the map says so.  0 or -errno
 */
int coroutine_fn repl_overlay_write(ReplSecondary *sec, ReplStoreId id,
                                    int64_t offset, int64_t bytes,
                                    QEMUIOVector *qiov, size_t qiov_offset);

/* budget: @directory has been set, or is not to be; @fd is -1 */
bool repl_budget_open(ReplBudget *budget, Error **errp);
void repl_budget_close(ReplBudget *budget);

/*
 * store: @slot and @offset in it; 0 or -errno.  One reads at most to the end of
 * the slot, and may write to those that follow it.
 */
ReplStore *repl_store_new_image(BdrvChild *child);
ReplStore *repl_store_new_memory(ReplBudget *budget, ReplStoreId id);
void repl_store_free(ReplStore *store);
uint64_t repl_store_slots(ReplStore *store);
int coroutine_fn repl_store_read(ReplStore *store, uint32_t slot, int64_t offset,
                                 int64_t bytes, QEMUIOVector *qiov,
                                 size_t qiov_offset);
int coroutine_fn repl_store_write(ReplStore *store, uint32_t slot,
                                  int64_t offset, int64_t bytes,
                                  QEMUIOVector *qiov, size_t qiov_offset);

#endif
