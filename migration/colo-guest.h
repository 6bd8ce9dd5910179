/*
 * Stopping and starting the guest for a checkpoint
 *
 * All of this with the BQL held, where not said otherwise.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef MIGRATION_COLO_GUEST_H
#define MIGRATION_COLO_GUEST_H

#include "qapi/qapi-types-run-state.h"

/*
 * Wait until nobody is in the middle of stopping or starting the guest: its run
 * state says so already, but vCPUs may run, and not all devices know.  To be
 * called by COLO's threads before they hold or stop it.  Drops the BQL while it
 * waits; false, with @errp set, after @timeout_ms, or if @over, which may be NULL, says
 * so: on S the main loop, which is waited for, waits for our thread in a failover.
 */
bool colo_guest_settle(uint32_t timeout_ms, bool (*over)(Error **), Error **errp);

/*
 * P: hold the guest.  A guest that runs is stopped (run state "colo", event
 * STOP); one that does not, because somebody or an error has stopped it, keeps
 * its run state; so does one that sleeps.  If that wakes up it is reset, and "colo"
 * until the release.  Disk requests may still be in flight, and nothing is
 * flushed: the guest goes on afterwards, and so do its flushes.
 */
void colo_guest_hold(void);

/* Also from when the end of a first copy stops it to colo_guest_drop_hold() */
bool colo_guest_is_held(void);

/* Whether somebody has stopped it: neither COLO nor the end of a migration */
bool colo_guest_is_stopped(void);

/* What becomes of the guest as it is in a checkpoint */
typedef enum ColoFate {
    COLO_FATE_RUNS,     /* on both sides, at once */
    COLO_FATE_STANDS,   /* an I/O error: a secondary that takes over tries again */
    COLO_FATE_STAYS,    /* stopped: on a secondary that takes over, too */
    COLO_FATE_SLEEPS,   /* ACPI S3: likewise */
} ColoFate;

/* P: of the guest that is held, as it will be after colo_guest_release() */
ColoFate colo_guest_fate(void);

/*
 * P: the end of colo_guest_hold().  It runs if it ran before, unless somebody
 * has said "stop" or "cont" in between, or the guest itself has come to its
 * end (panic, watchdog, I/O error, shutdown): then that counts.
 */
void colo_guest_release(void);

/*
 * P: it is not held any more; its run state stays.  Returns what it is to be:
 * if it was not held, that is @state.
 */
RunState colo_guest_drop_hold(RunState state);

/*
 * P: bring a guest that stands still into @state, and let it run if it is that.  One
 * that has fallen asleep as it was stopped sleeps on.
 */
void colo_guest_start_as(RunState state);

/*
 * S: stop the guest whatever it does, and drain its disks.  From here to the start it
 * is held: "stop" and "cont" do nothing.  Run state "colo"; but one that sleeps is
 * "suspended", and can be woken up: then it is reset, "colo", and runs if S takes over.
 */
void colo_guest_stop(void);

/*
 * S: it is P's now, of a checkpoint which was loaded; it stands still as before, and
 * is "suspended" if it sleeps.
 */
void colo_guest_loaded(ColoFate fate);

/*
 * It was reset to wake up, its vCPUs are next, and only if it still is "running" after
 * this: held it becomes "colo", and "paused" if it @stays.
 */
void colo_guest_woke_up(bool stays);

/* Make the run state "colo", whatever it is; who watches it is not told. */
void colo_guest_set_run_state_colo(void);

/* Start it, if it does not run. */
void colo_guest_start(void);

/*
 * S: after colo_guest_stop(), nobody holds it any more.  migration.c starts it as
 * it ends, unless somebody says "stop" before that; but one that P's user had stopped
 * is "paused", and one that sleeps, whether P's did or it has fallen asleep itself
 * since, is "suspended".
 */
void colo_guest_let_go(void);

#endif
