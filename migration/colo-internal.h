/*
 * COLO: what its two roles and its entry points share
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef MIGRATION_COLO_INTERNAL_H
#define MIGRATION_COLO_INTERNAL_H

#include "migration/colo.h"
#include "migration.h"

/*
 * A migration begins that is to end in COLO: from here on a failover may be asked
 * for, even before the migration thread gets to colo_primary_run().  Main loop.
 */
void colo_primary_prepare(void);

/* Primary: its whole life, in the migration thread, without the BQL */
void colo_primary_run(MigrationState *s);

/* Secondary: its whole life, in its thread, without the BQL */
void colo_secondary_run(MigrationIncomingState *mis);

/* Go on alone.  Main loop. */
void colo_primary_fail_over(void);
void colo_secondary_fail_over(void);

/* S: false, with the reason, when it has no whole guest.  With the BQL. */
bool colo_secondary_is_fit(Error **errp);

/* QEMU ends.  Main loop. */
void colo_primary_shutdown(void);
void colo_secondary_shutdown(void);

/* P: the counters of its triggers.  Any thread. */
void colo_primary_get_triggers(uint64_t *count);

/* P: of sending in the background, bytes per second, 0: no limit.  Any thread. */
void colo_primary_set_bandwidth(uint64_t bytes_per_s);
uint64_t colo_primary_get_bandwidth(void);

/*
 * The peer is lost, as @error says: the event, and the log.  Not where
 * somebody has asked for it.  Any thread.
 */
void colo_report_loss(COLOMode mode, uint64_t epoch, const Error *error);

#endif
