/*
 * Stopping and starting the guest for a checkpoint
 *
 * All of this with the BQL held.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef MIGRATION_COLO_GUEST_H
#define MIGRATION_COLO_GUEST_H

/*
 * P: hold the guest.  A guest that runs is stopped (run state "colo", event
 * STOP); one that does not, because somebody or an error has stopped it, keeps
 * its run state.  Disk requests may still be in flight, and nothing is
 * flushed: the guest goes on afterwards, and so do its flushes.
 */
void colo_guest_hold(void);

/*
 * P: wait until no disk request is in flight, then until the block layer has
 * come to rest.  Drops the BQL while it waits; false, with @errp set, after
 * @timeout_ms.
 */
bool colo_guest_drain(uint32_t timeout_ms, Error **errp);

/* P: whether it is held, and whether it will run after colo_guest_release() */
bool colo_guest_is_held(void);
bool colo_guest_will_run(void);

/*
 * P: the end of colo_guest_hold().  It runs if it ran before, unless somebody
 * has said "stop" or "cont" in between: then that counts.
 */
void colo_guest_release(void);

/* S: stop the guest whatever it does, run state "colo", and drain its disks. */
void colo_guest_stop(void);

/* Start it, if it does not run. */
void colo_guest_start(void);

#endif
