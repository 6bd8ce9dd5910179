/*
 * When the next checkpoint is due, and why
 *
 * Pure: time comes in as nanoseconds of a monotonic clock.  The caller locks.
 *
 * The timer counts from the end of a checkpoint, so that slow checkpoints
 * don't run back to back.  Whatever the trigger, after a checkpoint the guest
 * runs for at least COLO_MIN_SPACING_NS, and for at least as long as it was
 * stopped for that checkpoint: it always gets half of the time or more.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef MIGRATION_COLO_TRIGGER_H
#define MIGRATION_COLO_TRIGGER_H

#include "qapi/qapi-types-colo.h"

#define COLO_MIN_SPACING_NS (1 * 1000 * 1000LL)

typedef struct ColoTrigger {
    int64_t interval_ns;        /* of the timer */
    int64_t last_end_ns;
    int64_t last_pause_ns;
    unsigned raised;            /* bit mask of COLO_TRIGGER_CAUSE_* */
    uint64_t count[COLO_TRIGGER_CAUSE__MAX];    /* checkpoints by cause */
} ColoTrigger;

void colo_trigger_init(ColoTrigger *t, int64_t interval_ns, int64_t now_ns);

/* Ask for a checkpoint; any cause but TIMER.  It stays until one is made. */
void colo_trigger_raise(ColoTrigger *t, ColoTriggerCause cause);

/*
 * How long until the next one is due, 0: now; *@cause says why.  With several
 * causes that of which the guest's output waits comes first.
 */
int64_t colo_trigger_due(const ColoTrigger *t, int64_t now_ns,
                         ColoTriggerCause *cause);

/* A checkpoint begins: counts it; what is raised from here on is for the next. */
void colo_trigger_begin(ColoTrigger *t, ColoTriggerCause cause);

/* It has ended; the guest was stopped for @pause_ns. */
void colo_trigger_end(ColoTrigger *t, int64_t now_ns, int64_t pause_ns);

#endif
