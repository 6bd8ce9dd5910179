/*
 * Pair controller: what to do next with two hosts and one guest
 *
 * Pure: no I/O, no clock, no process, no QMP.  Commands, events and the
 * time go in; states and actions come out.  What an action means (the
 * commands that are typed) stands in docs/COLO-FT.txt under the name of its
 * step; who carries it out is pair-run.c, or a test with a virtual clock.
 *
 *     pair_command(pair, PAIR_CMD_START, 0, now, &err);
 *     while (pair_next_action(pair, &action)) {
 *         ... carry it out; when it ended: pair_step_done(pair, action.id..)
 *     }
 *
 * Nodes are the two hosts, 0 and 1; which of them is the primary changes
 * with each failover of the secondary.  All times are milliseconds of any
 * monotonic clock.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef COLO_PAIR_H
#define COLO_PAIR_H

#include "qapi/error.h"

#define PAIR_NODES 2

typedef enum PairState {
    PAIR_EMPTY,         /* nothing has been started */
    PAIR_ALONE,         /* a first primary, never yet protected */
    PAIR_JOINING,       /* a secondary is being started */
    PAIR_RESYNCING,     /* its disk is being made equal */
    PAIR_SEEDING,       /* RAM and devices are on their way */
    PAIR_PROTECTED,     /* either host may die */
    PAIR_LOST,          /* a peer is gone, the survivor waits for failover */
    PAIR_FAILING_OVER,  /* the survivor is taking over */
    PAIR_FAILED_OVER,   /* the survivor runs alone */
    PAIR_ABANDONING,    /* a join failed and is being undone */
    PAIR_ENDED,         /* no host is left that could go on */
    PAIR_STATE__MAX
} PairState;

typedef enum PairCommand {
    PAIR_CMD_START,     /* node: the first primary */
    PAIR_CMD_JOIN,      /* start a secondary on the other node */
    PAIR_CMD_FAILOVER,  /* node: the survivor; the other one is given up */
} PairCommand;

typedef enum PairActionType {
    PAIR_ACT_LAUNCH,    /* start a QEMU with the command of @step */
    PAIR_ACT_SHELL,     /* run the host's commands of @step */
    PAIR_ACT_QMP,       /* send the monitor's commands of @step */
    PAIR_ACT_KILL,      /* make sure that no QEMU runs on @node */
} PairActionType;

typedef struct PairAction {
    PairActionType type;
    unsigned id;        /* to be given to pair_step_done(); never 0 */
    int node;
    const char *step;   /* name in docs/COLO-FT.txt; NULL for KILL */
    bool lenient;       /* carry on where a command of the step fails */
} PairAction;

typedef struct Pair Pair;

/*
 * @interval is the longest time between two checkpoints; how long the pair
 * is waited for depends on it.
 */
Pair *pair_new(int64_t interval);
void pair_free(Pair *pair);

/* False with @errp set where the present state does not allow @cmd. */
bool pair_command(Pair *pair, PairCommand cmd, int node, int64_t now,
                  Error **errp);

/*
 * The next action, oldest first; false where there is none.  An action is
 * given out only after the one before it has ended.
 */
bool pair_next_action(Pair *pair, PairAction *action);

/*
 * The action @id ended; @error is NULL where it succeeded.  LAUNCH ends when
 * the process runs, KILL when it is reaped.  An @id which is not the present
 * action's is ignored: its state was left meanwhile.
 */
void pair_step_done(Pair *pair, unsigned id, const char *error, int64_t now);

/*
 * QEMU on @node answers on its monitor.  @runs_seeding: its guest may run while
 * a new secondary gets the RAM; with other builds it must stand still.
 */
void pair_node_up(Pair *pair, int node, bool runs_seeding, int64_t now);
/* QEMU on @node is no more, whoever ended it. */
void pair_node_gone(Pair *pair, int node, const char *why, int64_t now);
/*
 * query-migrate on @node says @status, and that RAM was gone through @passes
 * times; 0: not yet, or not known.
 */
void pair_migration(Pair *pair, int node, const char *status, int64_t passes,
                    int64_t now);
/*
 * A STOP event of @node, and a RESUME event.  While the primary replicates,
 * the two together are a checkpoint; a RESUME without a STOP before it is
 * the start of replication.
 */
void pair_stopped(Pair *pair, int node);
void pair_resumed(Pair *pair, int node, int64_t now);
/* A COLO_LOST or COLO_EXIT event of @node; the first @reason counts. */
void pair_colo_exit(Pair *pair, int node, const char *reason, int64_t now);
/* The disk resync, or the migration of RAM, has moved on. */
void pair_progress(Pair *pair, int64_t now);
/* Call it every now and then: something may have been waited for in vain. */
void pair_tick(Pair *pair, int64_t now);

PairState pair_state(const Pair *pair);
const char *pair_state_text(PairState state);
/* Why the present state was entered; a sentence without a full stop. */
const char *pair_reason(const Pair *pair);
/* Node of the primary, or of the survivor where there is no pair. */
int pair_primary(const Pair *pair);
/* Checkpoints of all epochs of all pairs so far. */
uint64_t pair_checkpoints(const Pair *pair);
/* The runner should ask node's query-migrate often: an answer is awaited. */
bool pair_wants_migration(const Pair *pair);

#endif
