/*
 * Pair controller: how a pair goes from state to state
 *
 * The states, and the plans of what is done in them, are in pair-plan.c.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "pair-plan.h"

/* A checkpoint may be late by some intervals before a pair is given up. */
#define LATE_INTERVALS 3

/*
 * A guest that changes its RAM faster than it can be sent would never be
 * through: after so many passes it has to stand still for the rest.
 */
#define SEED_PASSES 10

struct Pair {
    PairState state;
    int64_t interval;
    char *reason;
    int primary;
    bool up[PAIR_NODES];         /* its monitor answers */
    bool gone[PAIR_NODES];       /* launched once, and no more there */
    bool promoted[PAIR_NODES];   /* this QEMU was a secondary once */
    bool runs_seeding[PAIR_NODES];   /* this build's guest may */
    bool rejoin;                 /* disks are no longer known to be equal */
    bool seed_ends;              /* the guest was told to wait for the rest */
    bool in_colo;                /* query-migrate of the primary said so */
    bool stopped;                /* ... and its guest has stopped since */
    uint64_t checkpoints;
    int64_t deadline;
    const PlanStep *next;        /* next step of the plan; NULL: no plan */
    unsigned running;            /* id of the action given out, 0: none */
    unsigned last_id;
};

static int pair_node(const Pair *pair, Role role)
{
    return role == ROLE_PRIMARY ? pair->primary : !pair->primary;
}

static int64_t pair_limit(const Pair *pair)
{
    const PairRow *row = &pair_rows[pair->state];

    return row->limit +
           (row->checkpoints ? LATE_INTERVALS * pair->interval : 0);
}

static void pair_rearm(Pair *pair, int64_t now)
{
    int64_t limit = pair_limit(pair);

    pair->deadline = limit ? now + limit : INT64_MAX;
}

static void pair_enter_plan(Pair *pair, PairState state, const PlanStep *plan,
                            const char *reason, int64_t now)
{
    g_free(pair->reason);
    pair->reason = g_strdup(reason);
    pair->state = state;
    pair->next = plan;
    pair->running = 0;
    pair_rearm(pair, now);
}

/* @reason may be NULL where the state tells it by itself. */
static void pair_enter(Pair *pair, PairState state, const char *reason,
                       int64_t now)
{
    switch (state) {
    case PAIR_RESYNCING:
        if (!pair->rejoin) {
            state = PAIR_SEEDING;
        }
        break;
    case PAIR_ABANDONING:
        pair->rejoin = true;
        break;
    case PAIR_LOST:
        if (pair->gone[0] && pair->gone[1]) {
            state = PAIR_ENDED;
        }
        break;
    default:
        break;
    }
    if (state == PAIR_SEEDING) {
        pair->seed_ends = false;
        pair->in_colo = false;
        pair->stopped = false;
    }
    pair_enter_plan(pair, state, pair_rows[state].plan,
                    reason ?: pair_rows[state].why, now);
}

Pair *pair_new(int64_t interval)
{
    Pair *pair = g_new0(Pair, 1);

    pair->interval = interval;
    pair->reason = g_strdup("");
    pair->deadline = INT64_MAX;
    return pair;
}

void pair_free(Pair *pair)
{
    if (pair) {
        g_free(pair->reason);
        g_free(pair);
    }
}

/* Gives up the other node, whatever it is doing, and makes @survivor alone. */
static void pair_start_failover(Pair *pair, int survivor, int64_t now)
{
    bool promote = survivor != pair->primary;

    pair->primary = survivor;
    pair->promoted[survivor] |= promote;
    pair->rejoin = true;
    pair_enter_plan(pair, PAIR_FAILING_OVER,
                    promote ? plan_secondary_failover : plan_primary_failover,
                    promote ? "the secondary takes over"
                            : "the primary goes on alone", now);
}

static bool pair_allows(const Pair *pair, PairCommand cmd, int node)
{
    switch (cmd) {
    case PAIR_CMD_START:
        return pair->state == PAIR_EMPTY;
    case PAIR_CMD_JOIN:
        return pair->state == PAIR_ALONE || pair->state == PAIR_FAILED_OVER;
    case PAIR_CMD_FAILOVER:
        return (pair->state == PAIR_LOST || pair->state == PAIR_PROTECTED) &&
               !pair->gone[node];
    default:
        return false;
    }
}

bool pair_command(Pair *pair, PairCommand cmd, int node, int64_t now,
                  Error **errp)
{
    static const char *const names[] = { "start", "join", "failover" };

    if (!pair_allows(pair, cmd, node)) {
        error_setg(errp, "'%s' is not possible: the pair is %s%s%s",
                   names[cmd], pair_state_text(pair->state),
                   *pair->reason ? ": " : "", pair->reason);
        return false;
    }
    switch (cmd) {
    case PAIR_CMD_START:
        pair->primary = node;
        pair_enter(pair, PAIR_ALONE, "started", now);
        break;
    case PAIR_CMD_JOIN:
        pair->up[!pair->primary] = false;
        pair->gone[!pair->primary] = false;
        pair->promoted[!pair->primary] = false;
        pair_enter(pair, PAIR_JOINING, "a secondary joins", now);
        break;
    case PAIR_CMD_FAILOVER:
        pair_start_failover(pair, node, now);
        break;
    }
    return true;
}

static bool pair_step_applies(const Pair *pair, const PlanStep *step)
{
    switch (step->when) {
    case ONLY_REJOIN:
        return pair->rejoin;
    case ONLY_RUNNING:
        return pair->rejoin && pair->runs_seeding[pair->primary];
    case ONLY_FIRST_PRIMARY:
        return pair->rejoin && !pair->promoted[pair->primary];
    case ONLY_PROMOTED:
        return pair->rejoin && pair->promoted[pair->primary];
    default:
        return true;
    }
}

static bool pair_plan_ended(const PlanStep *step)
{
    return step->type == PAIR_ACT_LAUNCH && !step->step;
}

/* Moves ->next to a step that applies, and to the next state at the end. */
static void pair_advance(Pair *pair, int64_t now)
{
    PairState done = pair_rows[pair->state].done;

    while (!pair_plan_ended(pair->next) &&
           !pair_step_applies(pair, pair->next)) {
        pair->next++;
    }
    if (pair_plan_ended(pair->next)) {
        pair->next = NULL;
        if (pair->state == PAIR_JOINING && !pair->up[pair->primary]) {
            return; /* a first primary answers once its peer is there */
        }
        if (done != PAIR_EMPTY) {
            pair_enter(pair, done, NULL, now);
        }
    }
}

bool pair_next_action(Pair *pair, PairAction *action)
{
    const PlanStep *step = pair->next;
    int node;

    if (!step || pair->running) {
        return false;
    }
    while (!pair_plan_ended(step) && !pair_step_applies(pair, step)) {
        step++;
    }
    pair->next = step;
    node = pair_node(pair, step->role);
    if (step->type == PAIR_ACT_QMP && !pair->up[node]) {
        return false;
    }
    pair->running = ++pair->last_id;
    *action = (PairAction) {
        .type = step->type, .id = pair->running, .node = node,
        .step = step->step, .lenient = step->lenient,
    };
    return true;
}

void pair_step_done(Pair *pair, unsigned id, const char *error, int64_t now)
{
    const PlanStep *step = pair->next;

    if (!id || id != pair->running) {
        return;
    }
    pair->running = 0;
    if (error && !step->lenient) {
        g_autofree char *why = g_strdup_printf("%s: %s",
            step->step ? step->step : "kill", error);

        pair_enter(pair, pair_rows[pair->state].failed, why, now);
        return;
    }
    pair->next++;
    pair_rearm(pair, now);
    pair_advance(pair, now);
}

void pair_node_up(Pair *pair, int node, bool runs_seeding, int64_t now)
{
    pair->up[node] = true;
    pair->runs_seeding[node] = runs_seeding;
    pair->gone[node] = false;
    if (pair->state == PAIR_JOINING && !pair->next) {
        pair_enter(pair, pair_rows[pair->state].done, NULL, now);
    }
}

void pair_node_gone(Pair *pair, int node, const char *why, int64_t now)
{
    const PairRow *row = &pair_rows[pair->state];
    bool primary = node == pair->primary;
    PairState to = primary ? row->primary_gone : row->secondary_gone;
    g_autofree char *reason = g_strdup_printf("the %s (node %d) is gone: %s",
        primary ? "primary" : "secondary", node, why);

    pair->up[node] = false;
    pair->gone[node] = true;
    if (pair->gone[!node] && pair->state != PAIR_EMPTY) {
        to = PAIR_ENDED;
    }
    if (to != PAIR_EMPTY && pair->state != PAIR_ENDED) {
        pair_enter(pair, to, reason, now);
    }
}

void pair_migration(Pair *pair, int node, const char *status, int64_t passes,
                    int64_t now)
{
    if (!pair_wants_migration(pair) || node != pair->primary) {
        return;
    }
    if (g_str_equal(status, "colo")) {
        pair->in_colo = true;
    } else if (g_str_equal(status, "failed") ||
               g_str_equal(status, "cancelled") ||
               g_str_equal(status, "completed")) {
        g_autofree char *why = g_strdup_printf("migration on the primary "
                                               "has %s", status);

        pair_enter(pair, PAIR_ABANDONING, why, now);
    } else if (passes >= SEED_PASSES && !pair->seed_ends) {
        pair->seed_ends = true;
        pair->next = plan_seed_end;
    }
}

void pair_stopped(Pair *pair, int node)
{
    if (node == pair->primary && pair->in_colo) {
        pair->stopped = true;
    }
}

void pair_resumed(Pair *pair, int node, int64_t now)
{
    if (node != pair->primary || !pair->stopped) {
        return;
    }
    pair->stopped = false;
    if (pair->state == PAIR_PROTECTED) {
        pair->checkpoints++;
        pair_rearm(pair, now);
    } else if (pair->state == PAIR_SEEDING) {
        pair->checkpoints++;
        pair_enter(pair, PAIR_PROTECTED, "the first checkpoint is committed",
                   now);
    }
}

void pair_colo_exit(Pair *pair, int node, const char *reason, int64_t now)
{
    g_autofree char *why = g_strdup_printf(
        "COLO ended on the %s (node %d): %s",
        node == pair->primary ? "primary" : "secondary", node, reason);

    if (pair->state == PAIR_PROTECTED ||
        (pair->state == PAIR_SEEDING && !pair->next)) {
        pair_enter(pair, pair_rows[pair->state].failed, why, now);
    }
}

void pair_progress(Pair *pair, int64_t now)
{
    if (pair->state == PAIR_RESYNCING || pair_wants_migration(pair)) {
        pair_rearm(pair, now);
    }
}

void pair_tick(Pair *pair, int64_t now)
{
    const PairRow *row = &pair_rows[pair->state];
    g_autofree char *why = NULL;

    if (now < pair->deadline) {
        return;
    }
    why = g_strdup_printf("no progress for %" PRId64 " s while %s (%s)",
                          pair_limit(pair) / 1000, pair_state_text(pair->state),
                          pair->reason);
    pair_enter(pair, row->failed, why, now);
}

PairState pair_state(const Pair *pair)
{
    return pair->state;
}

const char *pair_state_text(PairState state)
{
    return pair_rows[state].text;
}

const char *pair_reason(const Pair *pair)
{
    return pair->reason;
}

int pair_primary(const Pair *pair)
{
    return pair->primary;
}

uint64_t pair_checkpoints(const Pair *pair)
{
    return pair->checkpoints;
}

bool pair_wants_migration(const Pair *pair)
{
    return pair->state == PAIR_SEEDING && !pair->next && !pair->in_colo;
}
