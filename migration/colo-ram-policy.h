/*
 * COLO: when to send dirty pages in the background, and how many (pure)
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 * Copyright (c) 2026 the qemu-colo developers
 *
 * The aim: few dirty pages when the guest stops at the deadline, for little
 * work before.  Pages come in passes; a pass begins with a sync of the dirty
 * log, which disturbs the guest, and sends what the sync found, in slices.
 * The next pass begins when sync and sending would take half of the time
 * left, so that the last of them leaves only what the guest writes during a
 * small part of the epoch.
 *
 * What a page and a sync cost, and how fast pages get dirty, is measured all
 * the time.  An epoch has a sync in its middle, if not before, which finds out
 * that this has changed, and a busy guest is looked at up to twice more, each time
 * in the middle of what is left; what is found is sent when a pass is due.  There
 * are no more passes in an epoch
 *   - when the pages expected at the deadline take less time than four syncs,
 *   - when one could not repay its sync before the deadline, by which nothing
 *     is delayed: the last pass is cut short there,
 *   - after colo_policy_stop(): a checkpoint is wanted at once.
 *
 * Time is in microseconds of any monotonic clock.  One thread, no lock.
 */
#ifndef MIGRATION_COLO_RAM_POLICY_H
#define MIGRATION_COLO_RAM_POLICY_H

typedef enum ColoPolicyAction {
    COLO_POLICY_WAIT,           /* ask again at .until */
    COLO_POLICY_SYNC,           /* sync, then colo_policy_synced() */
    COLO_POLICY_SEND,           /* .pages at most, then colo_policy_sent() */
    COLO_POLICY_DONE,           /* nothing more in this epoch */
} ColoPolicyAction;

typedef struct ColoPolicyStep {
    ColoPolicyAction action;
    int64_t until;
    size_t pages;
} ColoPolicyStep;

typedef struct ColoPolicy {
    uint64_t bytes_per_s;       /* see colo_policy_set_bandwidth() */
    size_t page_size;

    double page_us;             /* to send one page, until S has taken it */
    double sync_us;             /* to sync the dirty log */
    double dirty_per_us;        /* pages worth sending */

    bool done;                  /* with this epoch */
    unsigned looks;             /* syncs in this epoch */
    int64_t deadline;
    int64_t last_sync;          /* or the epoch's begin */
    int64_t not_before;         /* the next slice, of any epoch: the bandwidth */
    size_t left;                /* pages found, not sent */
    bool pass;                  /* they are being sent */
} ColoPolicy;

void colo_policy_init(ColoPolicy *p, size_t page_size);

/* An epoch begins; INT64_MAX: it has no deadline, and nothing is sent */
void colo_policy_epoch(ColoPolicy *p, int64_t now, int64_t deadline);

/* The most to send in the background, over any time; 0: any.  At once */
void colo_policy_set_bandwidth(ColoPolicy *p, uint64_t bytes_per_s);

/* No more in this epoch */
void colo_policy_stop(ColoPolicy *p);

ColoPolicyStep colo_policy_next(ColoPolicy *p, int64_t now);

/* The sync ended at @now, took @us and found @pages that are worth sending */
void colo_policy_synced(ColoPolicy *p, int64_t now, int64_t us, size_t pages);

/* @pages were sent within @us until @now; @last: there are no more */
void colo_policy_sent(ColoPolicy *p, int64_t now, int64_t us, size_t pages,
                      bool last);

/* Both sides were busy for @us with @pages, until S had taken them. */
void colo_policy_taken(ColoPolicy *p, int64_t us, size_t pages);

/*
 * The guest was stopped at @now and @pages were sent, after a sync, within
 * @us; @fresh of them would have been worth sending before.  It keeps the
 * estimates true while there is nothing to do in the background.
 */
void colo_policy_final(ColoPolicy *p, int64_t now, int64_t us, size_t pages,
                       size_t fresh);

#endif /* MIGRATION_COLO_RAM_POLICY_H */
