/*
 * Pair controller: the state table and the plans
 *
 * Nothing but tables, which pair.c goes through.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "pair-plan.h"

static const PlanStep plan_alone[] = {
    { PAIR_ACT_LAUNCH, ROLE_PRIMARY, "primary-start" },
    { }
};

static const PlanStep plan_join[] = {
    { PAIR_ACT_SHELL, ROLE_SECONDARY, "secondary-disk", ONLY_REJOIN },
    { PAIR_ACT_SHELL, ROLE_SECONDARY, "secondary-overlays" },
    { PAIR_ACT_LAUNCH, ROLE_SECONDARY, "secondary-start" },
    { PAIR_ACT_QMP, ROLE_SECONDARY, "secondary-export" },
    { }
};

static const PlanStep plan_resync[] = {
    { PAIR_ACT_QMP, ROLE_PRIMARY, "resync" },
    { }
};

static const PlanStep plan_seed[] = {
    { PAIR_ACT_QMP, ROLE_PRIMARY, "resync-end", ONLY_REJOIN },
    { PAIR_ACT_QMP, ROLE_PRIMARY, "disk-attach" },
    { PAIR_ACT_QMP, ROLE_PRIMARY, "seed-running", ONLY_RUNNING },
    { PAIR_ACT_QMP, ROLE_PRIMARY, "channels-renew", ONLY_REJOIN },
    { PAIR_ACT_QMP, ROLE_PRIMARY, "compare-attach", ONLY_FIRST_PRIMARY },
    { PAIR_ACT_QMP, ROLE_PRIMARY, "compare-attach-promoted", ONLY_PROMOTED },
    { PAIR_ACT_QMP, ROLE_PRIMARY, "checkpoint-delay" },
    { PAIR_ACT_QMP, ROLE_PRIMARY, "migrate" },
    { }
};

const PlanStep plan_seed_end[] = {
    { PAIR_ACT_QMP, ROLE_PRIMARY, "seed-end" },
    { }
};

/* The survivor is the primary by now; the peer must not come back to life. */
const PlanStep plan_primary_failover[] = {
    { PAIR_ACT_KILL, ROLE_SECONDARY },
    { PAIR_ACT_QMP, ROLE_PRIMARY, "primary-failover" },
    { }
};

const PlanStep plan_secondary_failover[] = {
    { PAIR_ACT_KILL, ROLE_SECONDARY },
    { PAIR_ACT_QMP, ROLE_PRIMARY, "secondary-failover" },
    { }
};

/* A join may have failed anywhere, so any of these may find nothing to do. */
static const PlanStep plan_abandon[] = {
    { PAIR_ACT_KILL, ROLE_SECONDARY },
    { PAIR_ACT_QMP, ROLE_PRIMARY, "resync-abandon", .lenient = true },
    { PAIR_ACT_QMP, ROLE_PRIMARY, "primary-failover", .lenient = true },
    { PAIR_ACT_QMP, ROLE_PRIMARY, "resume" },
    { }
};

const PairRow pair_rows[PAIR_STATE__MAX] = {
    [PAIR_EMPTY] = {
        .text = "empty",
    },
    [PAIR_ALONE] = {
        .text = "alone", .plan = plan_alone,
        .failed = PAIR_ENDED, .primary_gone = PAIR_ENDED,
    },
    [PAIR_JOINING] = {
        .text = "joining", .plan = plan_join, .limit = 60 * 1000,
        .done = PAIR_RESYNCING, .failed = PAIR_ABANDONING,
        .primary_gone = PAIR_ENDED, .secondary_gone = PAIR_ABANDONING,
    },
    [PAIR_RESYNCING] = {
        .text = "resyncing", .why = "the disk is being made equal",
        .plan = plan_resync, .limit = 60 * 1000,
        .done = PAIR_SEEDING, .failed = PAIR_ABANDONING,
        .primary_gone = PAIR_ENDED, .secondary_gone = PAIR_ABANDONING,
    },
    [PAIR_SEEDING] = {
        .text = "seeding", .why = "RAM and devices are being sent",
        .plan = plan_seed, .limit = 120 * 1000, .checkpoints = true,
        .failed = PAIR_ABANDONING,
        .primary_gone = PAIR_ENDED, .secondary_gone = PAIR_ABANDONING,
    },
    [PAIR_PROTECTED] = {
        .text = "protected", .limit = 60 * 1000, .checkpoints = true,
        .failed = PAIR_LOST,
        .primary_gone = PAIR_LOST, .secondary_gone = PAIR_LOST,
    },
    [PAIR_LOST] = {
        .text = "lost",
    },
    [PAIR_FAILING_OVER] = {
        .text = "failing over", .limit = 60 * 1000,
        .done = PAIR_FAILED_OVER, .failed = PAIR_ENDED,
        .primary_gone = PAIR_ENDED,
    },
    [PAIR_FAILED_OVER] = {
        .text = "failed over", .why = "the survivor runs alone",
        .primary_gone = PAIR_ENDED,
    },
    [PAIR_ABANDONING] = {
        .text = "abandoning", .plan = plan_abandon, .limit = 60 * 1000,
        .done = PAIR_FAILED_OVER, .failed = PAIR_ENDED,
        .primary_gone = PAIR_ENDED,
    },
    [PAIR_ENDED] = {
        .text = "ended",
    },
};
