/*
 * COLO: the primary, as its two files share it
 *
 * Private to colo-primary.c, which has its life and its triggers, and to
 * colo-checkpoint.c.  All in the migration thread, without the BQL where not said
 * otherwise.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef MIGRATION_COLO_PRIMARY_H
#define MIGRATION_COLO_PRIMARY_H

#include "io/channel-buffer.h"
#include "colo-disks.h"
#include "colo-internal.h"
#include "colo-ram.h"
#include "colo-talk.h"

typedef struct Primary {
    MigrationState *s;
    ColoTalk talk;
    QIOChannelBuffer *devices;
    QEMUFile *devices_file;     /* writes to @devices */
    ColoRamSend *ram;
    Notifier mismatch;
    VMChangeStateEntry *guest_watch;
    bool disks_started;
    bool guest_started;
    bool discards_disabled;     /* of RAM, by a balloon for instance */
    GQueue slices;              /* on their way: ColoDebt.asked of each */
} Primary;

/* colo-primary.c */

/* Nanoseconds, the clock of all times here */
static inline int64_t colo_primary_now_ns(void)
{
    return qemu_clock_get_ns(QEMU_CLOCK_REALTIME);
}

/*
 * A checkpoint begins because of @cause.  Returns when the first mismatch was
 * reported that it is for, or 0.
 */
int64_t colo_primary_begin_trigger(ColoTriggerCause cause);

/* QEMU ends: the guest is not to run any more.  Any thread. */
bool colo_primary_quits(void);

/* How long to look for rest, from the trigger on, while the disks are in @state */
int64_t colo_primary_rest_ns(ColoTriggerCause cause, ColoDisksState state);

/* The epoch is over: its output may go. */
void colo_primary_tell_compares(Primary *p);

/* @event: enum colo_event.  With the BQL. */
void colo_primary_tell_filters(int event);

/* The guest runs again, until the next trigger. */
void colo_primary_end_epoch(Primary *p, int64_t pause_ns);

/* colo-checkpoint.c */

/* All of a checkpoint; where it fails it is as if it had never begun. */
bool colo_checkpoint_make(Primary *p, ColoTriggerCause cause, Error **errp);

/*
 * S has what our guest, which stands still, is: a first checkpoint.  From here on
 * nothing leaves uncompared, as it did since the last failover, and our HELLO says
 * that S's disks lack nothing.  Flushes are deferred: until S has started, too.
 */
bool colo_checkpoint_first(Primary *p, Error **errp);

/*
 * Wait until nobody is in the middle of stopping or starting the guest; false, with
 * @errp set, also if there is no use in waiting.  With the BQL, which it drops.
 */
bool colo_checkpoint_settle(Primary *p, Error **errp);

/* The slices that S has taken are on their way no more. */
void colo_checkpoint_note_slices(Primary *p);

#endif
