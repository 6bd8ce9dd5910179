/*
 * A guest to be measured: protected by a pair, or alone
 *
 * Alone means the same command line without what replicates: the same
 * devices, the same kind of disk, no filter and no peer.
 *
 * To be used inside the sandbox (sandbox.h).
 * Thread: the default GMainContext's.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef COLO_BENCH_GUEST_H
#define COLO_BENCH_GUEST_H

#include "bench-pause.h"
#include "bench-work.h"
#include "pair-run.h"
#include "scenario.h"

#define BENCH_ANSWER_MS (60 * 1000)
#define BENCH_PROTECT_MS (180 * 1000)
#define BENCH_FAILOVER_MS (60 * 1000)

typedef struct BenchGuest BenchGuest;

typedef enum BenchSide { BENCH_PRIMARY, BENCH_SECONDARY } BenchSide;

/*
 * Boots a guest with @config in the new directory @dir, and returns when it
 * answers, and is protected where @pair.  What goes wrong later by itself
 * makes all calls fail with that reason.
 */
BenchGuest *bench_guest_start(const ScenarioConfig *config, bool pair,
                              Timeline *timeline, const char *dir,
                              Error **errp);
/* Kills what still runs, and removes its directory. */
void bench_guest_free(BenchGuest *guest);

/* What one needs to see when it fails goes into dump.txt in its directory. */
void bench_guest_dump(BenchGuest *guest);

bool bench_guest_is_pair(const BenchGuest *guest);
/* Runs well: nobody died, and no guest complains on its console. */
bool bench_guest_check(BenchGuest *guest, Error **errp);
/* Iterates the main loop for that long. */
bool bench_guest_sleep(BenchGuest *guest, double seconds, Error **errp);
/* A command to the guest's control service; the answer is g_free()d. */
char *bench_guest_ask(BenchGuest *guest, const char *command, Error **errp);
bool bench_guest_command(BenchGuest *guest, const char *command,
                         Error **errp);
/* bench_work_run(), ended early where the guest is lost. */
bool bench_guest_work(BenchGuest *guest, BenchWorkFunc *func, void *opaque,
                      int timeout_ms, Error **errp);
/* What a monitor command returns, a new reference. */
QObject *bench_guest_qmp_ask(BenchGuest *guest, BenchSide side,
                             const char *command, Error **errp);
bool bench_guest_qmp(BenchGuest *guest, BenchSide side, const char *command,
                     Error **errp);
/*
 * Of a stopped guest alone with shared RAM: its device state, in @file as
 * xen-save-devices-state has written it, is loaded by a second QEMU, which took
 * @ms milliseconds.
 */
bool bench_guest_load_devices(BenchGuest *guest, const char *file, double *ms,
                              Error **errp);
pid_t bench_guest_pid(BenchGuest *guest, BenchSide side);

/* Of the primary, since its start. */
const BenchPauses *bench_guest_pauses(BenchGuest *guest);
/* @resumed is called when the primary's guest resumes; NULL: no more. */
void bench_guest_on_resume(BenchGuest *guest, void (*resumed)(void *opaque),
                           void *opaque);

/* Number of monitor commands in @step of the procedure, as chosen */
int bench_guest_step_commands(BenchGuest *guest, const char *step,
                              Error **errp);

/* The rest is for pairs. */

/* SIGKILL; from now on a loss is no surprise. */
void bench_guest_kill(BenchGuest *guest, BenchSide side);
/* After a kill: waits for the loss, has the survivor take over. */
bool bench_guest_fail_over(BenchGuest *guest, Error **errp);
/* A new secondary joins; returns when it is protected again. */
bool bench_guest_join(BenchGuest *guest, Error **errp);
/* What a join has cost; of the last one. */
typedef struct BenchJoin {
    double resync_ms;      /* from the resync's begin until it was ready */
    double resync_mib;     /* over NBD, to the secondary; -1: never seen */
    double stopped_ms;     /* of the guest, until it was protected */
} BenchJoin;
const BenchJoin *bench_guest_joined(const BenchGuest *guest);

#endif
