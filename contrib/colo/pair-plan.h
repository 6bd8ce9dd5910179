/*
 * Pair controller: what is done in a state, and where that leads
 *
 * A state is one row of pair_rows[]: what is done in it, where it leads
 * when that is done, where when a host vanishes, and how long it may take.
 * A plan is a list of steps, carried out one after the other.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef COLO_PAIR_PLAN_H
#define COLO_PAIR_PLAN_H

#include "pair.h"

/* Whom a step concerns, by the role of the moment. */
typedef enum Role { ROLE_PRIMARY, ROLE_SECONDARY } Role;

/* When a step is carried out; otherwise it is skipped. */
typedef enum When {
    ALWAYS,
    ONLY_REJOIN,          /* the pair existed before: its disks differ */
    ONLY_RUNNING,         /* ... and the guest may run meanwhile */
    ONLY_FIRST_PRIMARY,   /* ... and the primary never was a secondary */
    ONLY_PROMOTED,        /* ... and it was one: it has a rewriter */
} When;

typedef struct PlanStep {
    PairActionType type;
    Role role;
    const char *step;         /* its name in docs/COLO-FT.txt, if it has one */
    When when;
    bool lenient;             /* its failure is not one of the plan */
} PlanStep;

typedef struct PairRow {
    const char *text;
    const char *why;          /* reason, where the plan before led here */
    const PlanStep *plan;     /* NULL: chosen at run time, or nothing to do */
    int64_t limit;            /* ms without any progress, 0: for ever */
    bool checkpoints;         /* ... and that is to be a checkpoint */
    /* Where to go next; EMPTY: stay here, it means nothing now. */
    PairState done;           /* after the plan */
    PairState failed;         /* a step failed, or the time is over */
    PairState primary_gone;
    PairState secondary_gone;
} PairRow;

extern const PairRow pair_rows[PAIR_STATE__MAX];

/* Plans that a state alone does not choose; one ends with an empty step */
extern const PlanStep plan_primary_failover[];
extern const PlanStep plan_secondary_failover[];
extern const PlanStep plan_seed_end[];

#endif
