/*
 * When the next checkpoint is due, and why
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "colo-trigger.h"

void colo_trigger_init(ColoTrigger *t, int64_t interval_ns, int64_t now_ns)
{
    *t = (ColoTrigger) {
        .interval_ns = interval_ns,
        .last_end_ns = now_ns,
    };
}

void colo_trigger_raise(ColoTrigger *t, ColoTriggerCause cause)
{
    t->raised |= 1 << cause;
}

static ColoTriggerCause first_cause(unsigned raised)
{
    static const ColoTriggerCause order[] = {
        COLO_TRIGGER_CAUSE_MISMATCH,
        COLO_TRIGGER_CAUSE_QUEUE,
        COLO_TRIGGER_CAUSE_GUEST,
        COLO_TRIGGER_CAUSE_REQUEST,
    };

    for (int i = 0; i < ARRAY_SIZE(order); i++) {
        if (raised & (1 << order[i])) {
            return order[i];
        }
    }
    return COLO_TRIGGER_CAUSE_TIMER;
}

int64_t colo_trigger_due(const ColoTrigger *t, int64_t now_ns,
                         ColoTriggerCause *cause)
{
    int64_t spacing = MAX(COLO_MIN_SPACING_NS, t->last_pause_ns);

    *cause = first_cause(t->raised);
    if (*cause == COLO_TRIGGER_CAUSE_TIMER) {
        spacing = MAX(spacing, t->interval_ns);
    }
    return MAX(0, t->last_end_ns + spacing - now_ns);
}

void colo_trigger_begin(ColoTrigger *t, ColoTriggerCause cause)
{
    t->count[cause]++;
    t->raised = 0;
}

void colo_trigger_end(ColoTrigger *t, int64_t now_ns, int64_t pause_ns)
{
    t->last_end_ns = now_ns;
    t->last_pause_ns = pause_ns;
}
