/*
 * COLO: what the rest of QEMU calls
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef QEMU_COLO_H
#define QEMU_COLO_H

#include "qapi/qapi-types-colo.h"
#include "qapi/qapi-types-migration.h"
#include "qapi/qapi-types-run-state.h"

/* What compares and filters are told */
enum colo_event {
    COLO_EVENT_NONE,
    COLO_EVENT_CHECKPOINT,      /* a new epoch begins, the guests are stopped */
    COLO_EVENT_FAILOVER,        /* this side goes on alone */
};

/*
 * Whether this QEMU is a primary, or a secondary; until it has failed over,
 * that is also after its peer was lost.  Any thread.
 */
bool migration_in_colo_state(void);
bool migration_incoming_in_colo_state(void);
COLOMode get_colo_mode(void);

/*
 * P: be a primary, in the migration thread after the first copy of all.
 * Returns after failover, or when QEMU ends.  With the BQL, which it drops.
 * The guest then is as it is to be: s->vm_was_running is false, so that
 * migration.c leaves it alone.
 */
void migrate_start_colo_process(MigrationState *s);

/*
 * P: ask for a checkpoint; the first is what migration.c calls when
 * x-checkpoint-delay was set.  Nothing happens on a QEMU that isn't primary.
 * Any thread.
 */
void colo_checkpoint_notify(void *opaque);
void colo_request_checkpoint(ColoTriggerCause cause);

/* S: be a secondary; a thread of its own, joined by migration.c. */
void *colo_process_incoming_thread(void *opaque);

/* In migration.c: whether, on S, the stream has announced COLO */
int migration_incoming_enable_colo(void);
void migration_incoming_disable_colo(void);
bool migration_incoming_colo_enabled(void);

/* QEMU ends: nothing may wait any more.  Main loop. */
void colo_shutdown(void);

/*
 * vm_stop(@state) and "cont" on a guest that a checkpoint holds: true if that
 * is so.  On P it is done at the end of it, on S the guest follows P's.  One that was
 * taken over is stopped at once, though it is yet to be started.  With the BQL.
 */
bool colo_guest_defer_stop(RunState state);
bool colo_guest_defer_cont(void);

/*
 * S: the end of an incoming migration that became COLO, after the failover: run the
 * guest, unless P's stood still, or somebody has said "stop" since.  Main loop.
 */
bool colo_guest_is_taken_over(void);
void colo_guest_go_on(void);

/* Whether no snapshot may be loaded now, with the reason */
bool colo_is_active(Error **errp);

/* Whether a migration is out of question now, or to make a snapshot, with the reason */
bool colo_is_blocking(Error **errp);

/*
 * Capabilities are to be @caps: whether that may be now, which in COLO it may not,
 * and COLO, if it is one of them, goes together with the others.
 */
bool colo_caps_check(const bool *caps, Error **errp);

/* Whether migration.c is to read a return path: there is one, not read by COLO itself */
bool colo_leaves_return_path(void);

#endif
