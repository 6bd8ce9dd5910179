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
 * waits; false, with @errp set, after @timeout_ms.
 */
bool colo_guest_settle(uint32_t timeout_ms, Error **errp);

/*
 * P: hold the guest.  A guest that runs is stopped (run state "colo", event
 * STOP); one that does not, because somebody or an error has stopped it, keeps
 * its run state.  Disk requests may still be in flight, and nothing is
 * flushed: the guest goes on afterwards, and so do its flushes.
 */
void colo_guest_hold(void);

/*
 * P: what the guest's disks do at this instant.  Without the BQL, which it takes.
 */
typedef enum ColoDisksState {
    COLO_DISKS_REST,    /* nothing, or the guest does not run anyway */
    COLO_DISKS_BUSY,    /* what takes a page cache and a network its time */
    COLO_DISKS_FLUSH,   /* what takes a platter its time, or is much */
} ColoDisksState;
ColoDisksState colo_guest_disks(void);

/*
 * P: wait until no disk request is in flight, then until the block layer has
 * come to rest.  Drops the BQL while it waits; false, with @errp set, after
 * @timeout_ms.
 */
bool colo_guest_drain(uint32_t timeout_ms, Error **errp);

bool colo_guest_is_held(void);

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
 * P: the end of a migration has stopped the guest, which ran: it is held as by
 * colo_guest_hold(), so that a "stop" meanwhile counts.
 */
void colo_guest_hold_stopped(void);

/*
 * P: the guest, stopped, is falling asleep: who starts it next, if it is not reset
 * before, makes it "suspended".
 */
void colo_guest_sleep_on(void);

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
 * S: stop the guest whatever it does, run state "colo", and drain its disks.
 * From here to the start it is held: "stop" and "cont" do nothing.
 */
void colo_guest_stop(void);

/* S: it is P's now, of a checkpoint which was loaded; it stands still as before. */
void colo_guest_loaded(ColoFate fate);

/* Start it, if it does not run. */
void colo_guest_start(void);

/*
 * S: after colo_guest_stop(), nobody holds it any more.  migration.c starts it as
 * it ends; but one that P's user had stopped is "paused", and one that sleeps,
 * whether P's did or it has fallen asleep itself since, is "suspended".
 */
void colo_guest_let_go(void);

#endif
