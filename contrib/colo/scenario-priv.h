/*
 * Scenario: what its parts share
 *
 * Private to scenario*.c, and to bench-guest.c, which prepares and watches
 * its guests in the same way.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef COLO_SCENARIO_PRIV_H
#define COLO_SCENARIO_PRIV_H

#include "ledger.h"
#include "pair-run.h"
#include "sandbox.h"
#include "scenario.h"
#include "stream.h"

#define GUEST SANDBOX_GUEST_IP4

/* Bounds for a machine much slower than ours; they only end what hangs. */
#define BOOT_MS (180 * 1000)
#define PROTECT_MS (300 * 1000)
#define FAILOVER_MS (120 * 1000)
#define ANSWER_MS (60 * 1000)
#define TOOL_MS (120 * 1000)

/* Where the background load of a busy guest writes, KiB */
#define LOAD_START_KIB 196608
#define LOAD_SPAN_KIB 8192

typedef struct Scenario {
    const ScenarioConfig *config;
    Timeline *timeline;
    ScenarioReport *report;
    const char *dir;
    char *node_dir[PAIR_NODES];
    Procedure *procedure;
    GHashTable *vars;
    char *local;
    PairRun *run;
    Stream *stream;
    uint64_t stream_checkpoints;          /* when it was about to be opened */
    Ledger *ledger;
    uint64_t resync_done, resync_total;   /* bytes */
    double resync_start;                  /* timeline's seconds */
    int64_t seed_start;    /* us, when RAM began to be sent; 0: it is not */
    int64_t seed_stop;     /* us, when a join stopped the guest, or 0 */
    uint64_t seed_records; /* received until then */
    GRand *rand;           /* when somebody dies who joins */
    int join_ms;           /* how long a join takes, by the last one */
    bool killing;          /* we are killing hosts: a loss is no trouble */
    char *trouble;         /* what went wrong by itself, or NULL */
    uint64_t load_highest; /* of the background load, when last verified */
    guint status_timer, console_timer;
} Scenario;

extern const char *const scenario_addresses[PAIR_NODES];

/* scenario-setup.c */
/* @opaque is for @ops. */
bool scenario_prepare(Scenario *s, const PairRunOps *ops, void *opaque,
                      Error **errp);
void scenario_clean_up(Scenario *s);
/* Runs the expanded shell @lines with @dir for their log; bounded. */
bool scenario_shell(Scenario *s, const char *dir, char *const *lines,
                    GHashTable *vars, Error **errp);

/* scenario-check.c */

/*
 * Something happened that nobody has caused: takes note of the first such
 * thing, dumps both sides, and ends all waits for the guest.
 */
void G_GNUC_PRINTF(2, 3) scenario_trouble(Scenario *s, const char *fmt, ...);
/* False with @errp set where there was trouble. */
bool scenario_check_trouble(Scenario *s, Error **errp);
void scenario_dump(Scenario *s);
/*
 * No guest may have complained on its console, the dead ones included.  If
 * @all, each must have one; a QEMU that has just been started has not yet.
 */
bool scenario_check_consoles(Scenario *s, bool all, Error **errp);
/* The guest has been up: one of the consoles says so. */
bool scenario_check_booted(Scenario *s, Error **errp);
bool scenario_check_stream(Scenario *s, Error **errp);
/* Waits until the client has had @count more records. */
bool scenario_await_records(Scenario *s, unsigned count, Error **errp);
bool scenario_command(Scenario *s, const char *command, Error **errp);
/*
 * What the background load has written and the guest was told to be on the
 * disk is there, and more than last time.  One guest alone must be running,
 * or the load be stopped, for two would answer differently.
 */
bool scenario_check_load(Scenario *s, Error **errp);
/* Both hosts are dead: their images are equal, and hold what they must. */
bool scenario_check_images(Scenario *s, Error **errp);

#endif
