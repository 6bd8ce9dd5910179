/*
 * COLO: figures, and where a side stands, for query-colo
 *
 * Any thread; there is a lock inside.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef MIGRATION_COLO_STATS_H
#define MIGRATION_COLO_STATS_H

#include "qapi/qapi-types-colo.h"
#include "colo-channel.h"

/* COLO starts: all is 0, the state "starting". */
void colo_stats_start(COLOMode mode);

/* @reason: NULL, or why, copied */
void colo_stats_set_state(ColoState state, const char *reason);
void colo_stats_set_epoch(uint64_t epoch);
/*
 * Whose bytes are counted, from now on and as they go; NULL, before the channel
 * does: they stay.
 */
void colo_stats_set_channel(ColoChannel *channel);
void colo_stats_add_background(uint64_t bytes);

/* A phase took @ns. */
void colo_stats_phase(ColoPhase phase, int64_t ns);

/*
 * For phases that follow each other: adds the time since *@since, and sets
 * that to now, nanoseconds of QEMU_CLOCK_REALTIME.
 */
void colo_stats_lap(ColoPhase phase, int64_t *since);

#endif
