/*
 * Running a pair: carries out the controller's actions on real QEMUs
 *
 * Takes the commands from the procedure, fills in the variables, starts the
 * processes and types at the monitors, and tells the controller (pair.h)
 * what came of it.
 *
 * Thread: the default GMainContext's.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef COLO_PAIR_RUN_H
#define COLO_PAIR_RUN_H

#include "pair.h"
#include "procedure.h"
#include "vm.h"

typedef struct PairRun PairRun;

typedef struct PairRunNode {
    const char *address;   /* the other host reaches it there */
    const char *dir;       /* exists; images, logs and consoles go there */
    const char *tap;       /* for $tap */
} PairRunNode;

/* All strings stay the caller's and must outlive the PairRun. */
typedef struct PairRunConfig {
    const Procedure *procedure;
    GHashTable *vars;      /* variables equal on both hosts */
    const char *local;     /* $local, less the serial console */
    const char *qemu;      /* program to run for qemu-system-x86_64 */
    const char *qemu_img;
    int interval_ms;       /* longest time between two checkpoints */
    bool seed_stopped;     /* the guest stands still until a join is done */
    PairRunNode node[PAIR_NODES];
} PairRunConfig;

/* Each may be NULL. */
typedef struct PairRunOps {
    /*
     * The pair has entered @state because of @reason.  Nothing of what it
     * does there has begun, so that this is the time for pair_run_dump().
     */
    void (*state)(void *opaque, PairState state, const char *reason);
    /* Step @step begins on @node. */
    void (*step)(void *opaque, int node, const char *step);
    /* A QMP event of @node, @time_us microseconds since 1970 by QEMU. */
    void (*event)(void *opaque, int node, const char *name, int64_t time_us);
    /* The resync has copied @done of @total bytes. */
    void (*resync)(void *opaque, uint64_t done, uint64_t total);
} PairRunOps;

PairRun *pair_run_new(const PairRunConfig *config, const PairRunOps *ops,
                      void *opaque);
/* Kills what still runs. */
void pair_run_free(PairRun *run);

bool pair_run_command(PairRun *run, PairCommand cmd, int node, Error **errp);

/*
 * Iterates the main loop until the pair is @wanted.  False with @errp set
 * after @timeout_ms, and at once where @wanted can no longer be reached
 * without a command: the pair has ended, is lost, or a join was abandoned.
 */
bool pair_run_wait(PairRun *run, PairState wanted, int timeout_ms,
                   Error **errp);

/* Iterates the main loop for @ms, whatever happens. */
void pair_run_sleep(PairRun *run, int ms);

const Pair *pair_run_pair(PairRun *run);
/* The QEMU of @node, NULL where none was started; may be dead. */
VM *pair_run_vm(PairRun *run, int node);

/*
 * The paths of all serial console logs so far, one string per QEMU that was
 * started; NULL-terminated, belongs to @run.
 */
char *const *pair_run_consoles(PairRun *run);

/*
 * What somebody needs to see when a pair hangs: of both nodes the answers
 * of query-status, query-migrate, query-colo-status, the threads, and the
 * ends of logs and consoles.  g_free() it.
 */
char *pair_run_dump(PairRun *run);

#endif
