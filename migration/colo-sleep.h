/*
 * A guest that sleeps (ACPI S3), or was asked to wake up
 *
 * To wake up is to be reset: a request, by a device's timer or a monitor, makes the
 * guest "running" at once; the main loop resets it a little later, and only then lets
 * its vCPUs run.  What was decided between the two would concern a guest that is gone.
 *
 * All of this with the BQL held.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef MIGRATION_COLO_SLEEP_H
#define MIGRATION_COLO_SLEEP_H

/*
 * Whether it sleeps, whatever its run state: it has fallen asleep, and was not reset
 * since.
 */
bool colo_sleep_is_on(void);

/* Whether it has been asked to wake up, and the main loop has yet to reset it */
bool colo_sleep_is_ending(void);

/* It stands still when it is awake, "paused", until somebody says "cont". */
bool colo_sleep_stays(void);
void colo_sleep_set_stays(bool stays);

/*
 * All has been started but the vCPUs, and the run state says that the guest runs: if it
 * sleeps it becomes "suspended", so that they stay where they are.
 */
void colo_sleep_started(void);

/* S: the guest, which stands still, is one of P's that sleeps: "suspended" */
void colo_sleep_begin(void);

/*
 * S: the guest that sleeps does not count any more: run state "colo", in which nothing
 * wakes it up.  It must not be about to wake up.
 */
void colo_sleep_forget(void);

#endif
